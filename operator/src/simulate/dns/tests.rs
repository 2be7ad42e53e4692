//! Few histories with hard rules.

use std::time::Instant;

use super::contestant::{Kind, defaults};
use super::faults::{Fault, Happening};
use super::history::{Lived, live};
use super::{compare, faults};
use crate::failover::policy::Policy;
use crate::failover::validate::validate;

fn lived(kind: Kind, faults: &[(u32, u32, Fault)]) -> Lived {
    let happenings: Vec<Happening> =
        faults.iter().map(|(from, to, fault)| Happening { from: *from, to: *to, fault: *fault }).collect();
    live(&happenings, kind, (1, 1), Instant::now())
}

#[test]
fn the_policy_is_that_of_an_object_without_a_further_word() {
    let written = serde_yaml::from_str("{hostname: turn.example.org, provider: {externalDns: {}}, failoverGroup: a}");
    let written = validate(&written.unwrap()).unwrap();
    assert_eq!(written, Policy { vantage_points: Vec::new(), ..defaults() });
}

#[test]
fn callers_of_a_dead_region_fail_for_the_time_of_caches_and_little_more() {
    let happenings = [Happening { from: 300, to: 1200, fault: Fault::RegionDead { region: 0 } }];
    let ours: Vec<Lived> = (0..5).map(|seed| live(&happenings, Kind::RtcFleet, (seed, 1), Instant::now())).collect();
    assert!(ours.iter().all(|life| life.out_after == [Some(2)]), "{ours:?}");
    // Of 60 calls a second half, for the half minute that a cache keeps its answer on average, and the two seconds before.
    let failed = ours.iter().map(|life| life.failed).sum::<f64>() / 5.0;
    assert!((750.0..1200.0).contains(&failed), "{failed}");
    let never = live(&happenings, Kind::Never, (1, 1), Instant::now());
    assert!(never.failed > 25_000.0, "{never:?}");
}

#[test]
fn probers_and_operators_that_fail_cost_no_call() {
    let probers = [
        (200, 900, Fault::ProberCutOff { prober: 0 }),
        (900, 1500, Fault::PathBroken { prober: 1, region: 1 }),
        (1000, 1100, Fault::OperatorAway),
        (1500, 2000, Fault::ProberSilent { prober: 2 }),
        (1700, 1800, Fault::DnsDown),
    ];
    let ours = lived(Kind::RtcFleet, &probers);
    assert_eq!((ours.failed, ours.wrong, ours.empty), (0.0, 0, 0));
    let naive = lived(Kind::AnyFailure, &probers);
    assert!(naive.empty >= 700 && naive.wrong > 1300, "{naive:?}");
}

#[test]
fn whatever_happens_the_answer_is_never_empty_and_callers_are_better_off() {
    let comparison = compare(1, 6, Instant::now());
    let [ours, any, _, never] = &comparison.outcomes[..] else { panic!("four") };
    assert_eq!((ours.empty_seconds, ours.wrong_seconds), (0, 0));
    assert!(ours.failed < never.failed && ours.failed < any.failed, "{}", comparison.text());
}

#[test]
fn a_seed_decides_every_number() {
    let origin = Instant::now();
    assert_eq!(compare(3, 1, origin), compare(3, 1, origin));
    assert!(faults::draw(1, 1) != faults::draw(1, 2) && faults::draw(1, 1) != faults::draw(2, 1));
}
