//! One contestant lives through one history.

use std::time::Instant;

use jiff::Timestamp;

use super::super::random::Random;
use super::super::time::{Clock, SECOND};
use super::callers::{CACHES, Callers};
use super::contestant::{Contestant, Kind, RELAYS, Told, ToldBy};
use super::faults::{Fault, Happening, PROBERS, REGIONS, SECONDS, Second, second};

/// Probes that fail although all is well.
const NOISE: f64 = 0.001;

/// What it came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lived {
    pub calls: f64,
    pub failed: f64,
    /// Seconds with an empty answer.
    pub empty: u32,
    /// Seconds in which a region that lost nothing for a minute had no address, and nothing had gone wrong with regions.
    pub wrong: u32,
    /// Seconds from the death of a region until the answer was without it, for each that died for half a minute or more while
    /// the other one worked and answers could be written. None: it never was.
    pub out_after: Vec<Option<u32>>,
}

/// `origin` is any instant: only differences count.
pub fn live(happenings: &[Happening], kind: Kind, (seed, number): (u64, u64), origin: Instant) -> Lived {
    let clock = Clock { start: Timestamp::from_second(1_769_995_800).unwrap_or_default(), origin };
    // Probes and picks are the same for every contestant.
    let (mut probes, mut picks) = (Random::new(seed, number * 4 + 1), Random::new(seed, number * 4 + 2));
    let (mut contestant, mut callers) = (Contestant::new(kind), Callers::new());
    let mut wire: Vec<usize> = (0..REGIONS).flat_map(|region| [region; RELAYS]).collect();
    let (mut lived, mut deaths) = (Lived::default(), deaths(happenings));
    let mut is_away = false;
    let mut fine_for = [0_u32; REGIONS];
    for at in 0..SECONDS {
        let now = second(happenings, at);
        let told = told(&now, &mut probes);
        if now.operator_away {
            is_away = true;
        } else {
            if std::mem::take(&mut is_away) {
                contestant.restart();
            }
            let millis = u64::from(at) * SECOND;
            let answer = contestant.decide(&told, clock.timestamp(millis), clock.instant(millis));
            if !now.dns_down {
                wire = answer;
            }
        }
        let failed = callers.call(at, &wire, picks.part(), now.loss) * CACHES as f64;
        lived.calls += CACHES as f64;
        lived.failed += failed;
        lived.empty += u32::from(wire.is_empty());
        for (region, fine_for) in fine_for.iter_mut().enumerate() {
            *fine_for = if now.loss[region] > 0.0 { 0 } else { *fine_for + 1 };
            let never_failed = *fine_for > at;
            lived.wrong += u32::from(never_failed && !wire.contains(&region));
        }
        for death in deaths.iter_mut().filter(|death| death.out_after.is_none()) {
            if (death.from..death.to).contains(&at) && !wire.contains(&death.region) {
                death.out_after = Some(at - death.from);
            }
        }
    }
    lived.out_after = deaths.into_iter().map(|death| death.out_after).collect();
    lived
}

struct Death {
    region: usize,
    from: u32,
    to: u32,
    out_after: Option<u32>,
}

/// Those that should be seen: alone in their history but for what one prober does.
fn deaths(happenings: &[Happening]) -> Vec<Death> {
    let is_of_regions = |one: &&Happening| {
        !matches!(one.fault, Fault::ProberSilent { .. } | Fault::ProberCutOff { .. } | Fault::PathBroken { .. })
    };
    let others = happenings.iter().filter(is_of_regions).count();
    let probers = happenings.len() - others;
    let dead = happenings.iter().filter_map(|one| match one.fault {
        Fault::RegionDead { region } if others == 1 && probers <= 1 && one.to - one.from >= 30 => {
            Some(Death { region, from: one.from, to: one.to, out_after: None })
        }
        _ => None,
    });
    dead.collect()
}

fn told(now: &Second, random: &mut Random) -> [Told; PROBERS] {
    std::array::from_fn(|prober| {
        // Drawn whether it is heard or not, so that what comes later is the same.
        let ok = std::array::from_fn(|region| {
            std::array::from_fn(|_| {
                let fails = random.part() < now.loss[region].max(NOISE);
                !(fails || now.broken[prober][region] || now.cut_off[prober])
            })
        });
        (!now.silent[prober]).then_some(ToldBy { canary: !now.cut_off[prober], ok })
    })
}
