//! Short lives with hard rules: what the operator's own policy must never do, whatever happens.

use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;

use super::calls::{Curve, Length};
use super::node::{CALL, Readings};
use super::region::Start;
use super::tally::{Outcome, Point};
use super::time::{MINUTE, Millis};
use super::traces::{Contestant, Fault, Site, Trace, both, policy_of};
use super::world::{self, World};
use crate::fleet::policy::Count;

const MIN: u32 = 2;
const MAX: u32 = 12;
/// Seconds that calls last here.
const LAST: f64 = 120.0;

/// One region whose load is so many nodes at each of these minutes.
fn trace(minutes: u64, nodes: &[(f64, f64)]) -> Trace {
    let rate = |nodes: f64| nodes / CALL / LAST;
    let curve = Curve(nodes.iter().map(|(minute, nodes)| (minute * 60.0, rate(*nodes))).collect());
    let site = Site { name: "one", curve, calls_last: Length::Exponential { mean: LAST }, machines: 20, begin: 4 };
    Trace {
        start: "2026-02-02T01:30:00Z".parse().unwrap(),
        length: minutes * MINUTE,
        sites: vec![site],
        faults: Vec::new(),
        machines_fail: None,
        start_up: Start { median: 40.0, spread: 0.3 },
        leak: 0.0,
        contestants: both(MIN, MAX).unwrap(),
    }
}

fn lived(trace: &Trace, contestant: usize, seed: u64) -> World<'_> {
    world::live(trace, &trace.contestants[contestant], seed, Instant::now())
}

/// What the operator's own policy came to.
fn ours(trace: &Trace, seed: u64) -> Outcome {
    lived(trace, 0, seed).outcome()
}

fn desired(outcome: &Outcome, minutes: std::ops::Range<u64>) -> Vec<u32> {
    let within = |point: &&Point| (minutes.start * 60..minutes.end * 60).contains(&point.seconds);
    outcome.series.iter().filter(within).map(|point| point.desired.iter().sum()).collect()
}

fn readings(dead: bool, missing: f64, noise: f64) -> Fault {
    Fault::Readings(Readings { dead, missing, noise })
}

/// Anything that can go wrong, at any minute of a trace of 15.
fn fault() -> impl Strategy<Value = (Millis, Fault)> {
    let what = prop_oneof![
        Just(Fault::NewRevision),
        (any::<bool>(), 0.0..0.6, 0.0..0.3).prop_map(|(dead, missing, noise)| readings(dead, missing, noise)),
        Just(Fault::LoseRegion(0)),
        Just(Fault::RegionIsBack(0)),
    ];
    (0_u64..15, what).prop_map(|(minute, fault)| (minute * MINUTE, fault))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_call_is_cut_before_its_time_and_the_number_stays_within_its_bounds(
        loads in vec(0.0_f64..5.0, 2..5), faults in vec(fault(), 0..5), machines_fail in any::<bool>(), seed in any::<u64>(),
    ) {
        let points: Vec<(f64, f64)> = loads.iter().enumerate().map(|(n, load)| (5.0 * n as f64, *load)).collect();
        let mut trace = trace(15, &points);
        let loses = machines_fail || faults.iter().any(|(_, fault)| matches!(fault, Fault::LoseRegion(_)));
        trace.faults = faults;
        trace.machines_fail = machines_fail.then_some((1800.0, 120.0));
        let outcome = ours(&trace, seed);
        prop_assert_eq!(outcome.cut.early, 0);
        prop_assert!(outcome.cut.lost == 0 || loses, "{:?}", outcome.cut);
        // The deadline is an hour, and calls last for minutes.
        prop_assert_eq!(outcome.cut.deadline, 0);
        prop_assert!(outcome.lowest >= MIN && outcome.highest <= MAX, "{} to {}", outcome.lowest, outcome.highest);
    }
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_one_another() {
    let mut trace = trace(10, &[(0.0, 1.0), (5.0, 4.0)]);
    trace.faults = vec![(2 * MINUTE, readings(false, 0.3, 0.1))];
    for contestant in 0..trace.contestants.len() {
        let again = |seed| lived(&trace, contestant, seed).outcome();
        assert_eq!(again(1), again(1));
        assert_ne!(again(1), again(2));
    }
}

#[test]
fn a_number_that_nobody_can_check_does_not_fall() {
    let mut trace = trace(35, &[(0.0, 3.0), (8.0, 3.0), (10.0, 0.2)]);
    trace.faults = vec![(8 * MINUTE, readings(true, 0.0, 0.0)), (25 * MINUTE, readings(false, 0.0, 0.0))];
    let outcome = ours(&trace, 1);
    let blind = desired(&outcome, 8..25);
    assert!(blind.is_sorted() && blind[0] >= 6, "{blind:?}");
    let seen = desired(&outcome, 25..36);
    assert!(seen.iter().max() <= blind.iter().max(), "it does not jump when readings are back: {seen:?}");
    assert_eq!(seen.last(), Some(&MIN), "and shrinks a window later");
}

#[test]
fn readings_that_flap_make_no_number_that_flaps() {
    let hill = [(0.0, 1.5), (10.0, 1.5), (25.0, 4.0), (35.0, 4.0), (50.0, 1.5)];
    let calm = ours(&trace(60, &hill), 1);
    let mut flapping = trace(60, &hill);
    flapping.faults = vec![(0, readings(false, 0.3, 0.1))];
    let outcome = ours(&flapping, 1);
    assert!(outcome.turns <= calm.turns + 2, "{} turns, and {} in calm", outcome.turns, calm.turns);
    assert!(outcome.highest <= calm.highest + 1, "{} at most, and {} in calm", outcome.highest, calm.highest);
    assert_eq!(outcome.refused, 0);
}

/// Two regions alike, one of which is lost.
fn two_regions() -> Trace {
    let mut two = trace(30, &[(0.0, 2.5)]);
    two.sites.push(Site { name: "other", ..two.sites[0].clone() });
    two.faults = vec![(15 * MINUTE, Fault::LoseRegion(0)), (20 * MINUTE, Fault::RegionIsBack(0))];
    two
}

#[test]
fn the_survivor_of_a_lost_region_takes_its_callers_and_stays_below_the_cap() {
    let two = two_regions();
    let Contestant::RtcFleet { policy, .. } = &two.contestants[0] else { panic!("the operator comes first") };
    let Count::Follow(scaling) = &policy.count else { panic!("it follows the load") };
    let cap = f64::from(scaling.survivor_percent.unwrap());
    for seed in 1..=3 {
        let outcome = ours(&two, seed);
        let survivor = &outcome.regions[1];
        assert!(survivor.peak_percent > 60.0, "the load of two came to it: {survivor:?}");
        assert!(survivor.peak_percent <= cap, "seed {seed}: {survivor:?}");
        assert_eq!(outcome.refused, 0, "seed {seed}");
    }
    let compared = lived(&two, 1, 1).outcome();
    assert!(compared.refused > 0, "what keeps no reserve refuses callers: {compared:?}");
}

#[test]
fn an_upgrade_reaches_every_node_and_cuts_no_call() {
    let mut upgrade = trace(60, &[(0.0, 1.5)]);
    upgrade.faults = vec![(10 * MINUTE, Fault::NewRevision)];
    let world = lived(&upgrade, 0, 1);
    let revisions: Vec<u32> = world.regions[0].nodes().map(|node| node.revision).collect();
    assert!(revisions.len() >= 3 && revisions.iter().all(|revision| *revision == 1), "{revisions:?}");
    let outcome = world.outcome();
    assert_eq!((outcome.refused, outcome.cut), (0, super::tally::Cuts::default()));
}

#[test]
fn a_deployment_that_shrinks_cuts_calls_and_an_upgrade_of_it_reaches_every_pod() {
    let mut falling = trace(30, &[(0.0, 4.0), (5.0, 4.0), (6.0, 0.5)]);
    falling.sites[0].calls_last = Length::Exponential { mean: 600.0 };
    falling.faults = vec![(20 * MINUTE, Fault::NewRevision)];
    let world = lived(&falling, 1, 1);
    assert!(world.regions[0].nodes().all(|node| node.revision == 1));
    let outcome = world.outcome();
    assert!(outcome.cut.deadline > 0 && outcome.cut.early == 0, "{:?}", outcome.cut);
}

#[test]
fn a_policy_is_read_as_from_the_cluster() {
    let Contestant::RtcFleet { policy, .. } = policy_of("x", MIN, MAX, "").unwrap() else { panic!("ours") };
    let Count::Follow(scaling) = &policy.count else { panic!("it follows the load") };
    assert_eq!((scaling.min, scaling.max, scaling.headroom_percent), (MIN, Some(MAX), 200));
    assert!(policy_of("x", MAX, MIN, "").is_err());
}
