//! What goes wrong, and when. Drawn from a seed: every contestant lives through the same.

use super::super::random::Random;

pub const REGIONS: usize = 2;
pub const PROBERS: usize = 3;
/// Of a history.
pub const SECONDS: u32 = 40 * 60;
/// Nothing goes wrong before: whoever decides has had time to look around.
const QUIET: u32 = 120;
/// Nothing begins in the last ten minutes, so that ends are seen.
const LAST: u32 = SECONDS - 600;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Nobody reaches it.
    RegionDead { region: usize },
    /// Dead and alive by turns, so many seconds each.
    RegionFlaps { region: usize, turn: u32 },
    /// This part of calls and probes fails.
    RegionLossy { region: usize, part: f64 },
    /// Nothing is heard of it.
    ProberSilent { prober: usize },
    /// It reaches nothing, its canary included, and is heard.
    ProberCutOff { prober: usize },
    /// It does not reach this region, which others do.
    PathBroken { prober: usize, region: usize },
    /// Nobody decides, and what was in memory is lost.
    OperatorAway,
    /// Nothing can be written. What was written last is answered.
    DnsDown,
}

/// From the second `from` on, until `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Happening {
    pub from: u32,
    pub to: u32,
    pub fault: Fault,
}

/// One to four, in no order, that may overlap.
pub fn draw(seed: u64, history: u64) -> Vec<Happening> {
    let mut random = Random::new(seed, history * 4);
    (0..=random.below(4)).map(|_| one(&mut random)).collect()
}

fn one(random: &mut Random) -> Happening {
    let (region, prober) = (random.below(REGIONS), random.below(PROBERS));
    let between = |least: u32, most: u32, random: &mut Random| least + below(random, most - least);
    let (fault, seconds) = match random.below(10) {
        0..=1 => (Fault::RegionDead { region }, between(30, 1200, random)),
        2 => (Fault::RegionFlaps { region, turn: between(10, 90, random) }, between(120, 900, random)),
        3 => (Fault::RegionLossy { region, part: 0.1 + random.part() * 0.5 }, between(60, 900, random)),
        4 => (Fault::ProberSilent { prober }, between(30, 1200, random)),
        5 => (Fault::ProberCutOff { prober }, between(10, 600, random)),
        6..=7 => (Fault::PathBroken { prober, region }, between(10, 900, random)),
        8 => (Fault::OperatorAway, between(5, 180, random)),
        _ => (Fault::DnsDown, between(10, 300, random)),
    };
    let from = between(QUIET, LAST, random);
    Happening { from, to: (from + seconds).min(SECONDS), fault }
}

fn below(random: &mut Random, count: u32) -> u32 {
    u32::try_from(random.below(count as usize)).unwrap_or(0)
}

/// How the world is for one second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// The part of calls to a region that fail.
    pub loss: [f64; REGIONS],
    pub silent: [bool; PROBERS],
    pub cut_off: [bool; PROBERS],
    pub broken: [[bool; REGIONS]; PROBERS],
    pub operator_away: bool,
    pub dns_down: bool,
}

pub fn second(happenings: &[Happening], at: u32) -> Second {
    let mut second = Second::default();
    for Happening { from, fault, .. } in happenings.iter().filter(|one| (one.from..one.to).contains(&at)) {
        match *fault {
            Fault::RegionDead { region } => second.loss[region] = 1.0,
            Fault::RegionFlaps { region, turn } if ((at - from) / turn).is_multiple_of(2) => second.loss[region] = 1.0,
            Fault::RegionFlaps { .. } => {}
            Fault::RegionLossy { region, part } => second.loss[region] = second.loss[region].max(part),
            Fault::ProberSilent { prober } => second.silent[prober] = true,
            Fault::ProberCutOff { prober } => second.cut_off[prober] = true,
            Fault::PathBroken { prober, region } => second.broken[prober][region] = true,
            Fault::OperatorAway => second.operator_away = true,
            Fault::DnsDown => second.dns_down = true,
        }
    }
    second
}
