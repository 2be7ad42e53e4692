//! How many nodes there should be, who says so, and what limits it. R6.3, R8.4.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::history::History;
use super::load::Load;
use super::machine::{self, Machine};
use super::plan::Choice;
use super::policy::{Count, Scaling};
use super::rules::{self, Other, Rule, Wanted};
use super::schedule;
use super::slot::Slot;

/// Nodes beyond the machines that exist, so that a cluster autoscaler makes some: it does so for pods that wait.
const WAIT_FOR_MACHINES: u32 = 4;
/// How long a new node takes where none has been started lately.
const USUAL_START: Duration = Duration::from_mins(1);
/// Starts outside of this are told of as its ends: a probe that flapped, or a node that waited for a person.
const STARTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_mins(10)];

/// Regions are looked at three times as often. A load of another region that is older is not known.
pub const STALE: Duration = Duration::from_mins(1);

/// What keeps the number from being what the rules want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// `scaling.max` is reached.
    MaxReplicas,
    /// Fewer machines than nodes wanted.
    NoMachine,
    /// Usable machines have no address that clients could be told.
    NoAddress,
    /// Fewer than half of the nodes tell how busy they are: the number stays.
    MetricsMissing,
    /// The number follows a guess of what the network interface can carry.
    NicCapacityUnknown,
}

impl Limit {
    pub fn text(self) -> &'static str {
        match self {
            Self::MaxReplicas => "MaxReplicas",
            Self::NoMachine => "NoMachine",
            Self::NoAddress => "NoAddress",
            Self::MetricsMissing => "MetricsMissing",
            Self::NicCapacityUnknown => "NicCapacityUnknown",
        }
    }
}

/// Everything that the number depends on, besides the policy.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub slots: &'a [Slot],
    pub machines: &'a [Machine],
    /// The other regions of the failover group whose load is known.
    pub others: &'a [OtherRegion],
    /// There is no further one whose load is not known.
    pub all_known: bool,
    /// The number that was decided last, if it is known.
    pub before: Option<u32>,
    pub now: Timestamp,
    pub instant: Instant,
}

/// The load of another region of the failover group, in whole nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherRegion {
    pub name: String,
    /// Where nodes that do not tell count as idle.
    pub up: f64,
    /// Where nodes that do not tell count as loaded to their target.
    pub down: f64,
}

impl OtherRegion {
    /// From what was measured at `at`. None: that is too long ago, or too few of its nodes told.
    pub fn known(name: &str, (at, load): (Instant, Load), now: Instant) -> Option<Self> {
        let is_fresh = now.saturating_duration_since(at) <= STALE && !load.is_blind();
        is_fresh.then(|| Self { name: name.to_owned(), up: load.up.whole, down: load.down.whole })
    }
}

/// The number, and what it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub desired: u32,
    /// As many are needed for the fleet to be ready.
    pub least: u32,
    pub reason: &'static str,
    /// Sorted.
    pub limited_by: Vec<Limit>,
    /// Every rule's number, on the way up. Empty where nobody asks the load.
    pub rules: Vec<Wanted>,
    pub load: Load,
    /// What the load is expected to be when a node that is made now serves, in whole nodes.
    pub expected: f64,
    pub lead_time: Duration,
}

/// "1 relay is", "2 relays are".
pub fn relays_are(count: u32) -> String {
    if count == 1 { "1 relay is".to_owned() } else { format!("{count} relays are") }
}

impl Scale {
    /// For `operator explain`, Events and the log.
    pub fn choice(&self) -> Choice {
        let Self { desired, least, reason, limited_by, rules, load, expected, lead_time } = self;
        let rules: serde_json::Map<String, Value> =
            rules.iter().map(|wanted| (wanted.rule.to_string(), wanted.nodes.into())).collect();
        let limits: Vec<&str> = limited_by.iter().map(|limit| limit.text()).collect();
        let limited = if limits.is_empty() { String::new() } else { format!(", limited by {}", limits.join(", ")) };
        Choice {
            kind: "scale",
            reason,
            slot: None,
            message: format!("{} wanted{limited}", relays_are(*desired)),
            inputs: json!({
                "desired": desired, "least": least, "limitedBy": limits, "rules": rules,
                "load": {
                    "nodes": load.nodes, "reporting": load.reporting, "whole": two(load.up.whole),
                    "expected": two(*expected), "leadTimeSeconds": lead_time.as_secs(), "guessed": load.guessed,
                },
            }),
        }
    }
}

/// Two decimals: what is behind them is noise.
fn two(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// Decides, and remembers what was wanted.
pub fn decide(count: &Count, seen: &Seen<'_>, history: &mut History) -> Scale {
    match count {
        Count::External(desired) => fixed(*desired, "ExternalScaler", seen),
        Count::Default(desired) => fixed(*desired, "Default", seen),
        Count::Follow(scaling) => follow(scaling, seen, history),
    }
}

fn fixed(desired: u32, reason: &'static str, seen: &Seen<'_>) -> Scale {
    Scale {
        desired,
        least: desired,
        reason,
        limited_by: without_machines(desired, seen.machines),
        rules: Vec::new(),
        load: Load::default(),
        expected: 0.0,
        lead_time: lead_time(seen.slots),
    }
}

fn follow(scaling: &Scaling, seen: &Seen<'_>, history: &mut History) -> Scale {
    let load = Load::of(seen.slots, scaling.target, seen.now);
    let lead_time = lead_time(seen.slots);
    let scheduled = scheduled(scaling, seen.now, lead_time);
    let least = scaling.min.max(scheduled);
    let before = seen.before.unwrap_or_else(|| u32::try_from(seen.slots.len()).unwrap_or(u32::MAX));

    let ahead = growth(&load, lead_time, seen.instant, history);
    let others = |load: fn(&OtherRegion) -> f64| -> Vec<Other> {
        seen.others.iter().map(|one| Other { name: one.name.clone(), whole: load(one) }).collect()
    };
    let rules = rules::wanted(scaling, scheduled, load.up.times(ahead), &others(|other| other.up));
    let down = rules::wanted(scaling, scheduled, load.down, &others(|other| other.down));

    let highest = |all: &[Wanted]| rules::highest(all).cloned().unwrap_or_default();
    let (up, down) = (highest(&rules), highest(&down));
    let now = if is_unseen(&load, seen.slots) {
        // What was wanted when it was last seen, also while there are no machines for it.
        let nodes = history.highest().map_or(before, |wanted| wanted.nodes.max(before));
        Wanted { rule: Rule::Unseen, nodes }
    } else if down.nodes.min(before) > up.nodes {
        // Nodes that do not tell are no reason to shrink, and none to grow.
        Wanted { nodes: down.nodes.min(before), ..down }
    } else {
        up
    };
    history.wanted(seen.instant, scaling.stabilization, now);
    let remembered = history.highest().cloned().unwrap_or_default();
    // A region whose load is not known may be about to need ours.
    let may_shrink = seen.all_known && history.covers(seen.instant, scaling.stabilization);
    let (wanted, reason) = if may_shrink || remembered.nodes >= before {
        (remembered.nodes, remembered.rule.reason())
    } else {
        (before, "Stabilization")
    };
    let cap = Cap::of(scaling, least, seen);
    let desired = wanted.clamp(least.min(cap.nodes), cap.nodes);
    let reason = if desired == least && wanted <= least { floor_reason(scaling, scheduled) } else { reason };
    let mut limited_by = cap.limits(wanted, desired, seen.machines);
    limited_by.extend(load.is_blind().then_some(Limit::MetricsMissing));
    limited_by.extend((load.guessed && desired > least).then_some(Limit::NicCapacityUnknown));
    limited_by.sort_unstable();
    limited_by.dedup();
    Scale { desired, least, reason, limited_by, rules, load, expected: load.up.whole * ahead, lead_time }
}

/// By how much the load will be higher when a node that is made now serves: 1 to 2.
fn growth(load: &Load, lead_time: Duration, instant: Instant, history: &mut History) -> f64 {
    let Some(likely) = load.likely() else { return 1.0 };
    history.loaded(instant, likely);
    if likely > 0.0 { history.expected(lead_time) / likely } else { 1.0 }
}

/// Too few nodes tell, or none serves of those that should: their callers come back with them.
fn is_unseen(load: &Load, slots: &[Slot]) -> bool {
    load.is_blind() || (load.nodes == 0 && !slots.is_empty())
}

fn floor_reason(scaling: &Scaling, scheduled: u32) -> &'static str {
    if scheduled > scaling.min { Rule::Schedule.reason() } else { Rule::Minimum.reason() }
}

/// The timetable's minimum, a node's start ahead of time, so that they serve when it comes.
fn scheduled(scaling: &Scaling, now: Timestamp, lead_time: Duration) -> u32 {
    let ahead = now.checked_add(lead_time).unwrap_or(now);
    schedule::minimum(&scaling.schedule, now).max(schedule::minimum(&scaling.schedule, ahead))
}

/// How long nodes took from being made to serving: the median of those that are there.
fn lead_time(slots: &[Slot]) -> Duration {
    let mut starts: Vec<Duration> = slots
        .iter()
        .filter_map(|slot| slot.pod.as_ref()?.start)
        .map(|start| start.clamp(STARTS[0], STARTS[1]))
        .collect();
    starts.sort_unstable();
    starts.get(starts.len() / 2).copied().unwrap_or(USUAL_START)
}

/// As many as there may be.
struct Cap {
    nodes: u32,
    max: u32,
}

impl Cap {
    fn of(scaling: &Scaling, least: u32, seen: &Seen<'_>) -> Self {
        let existing = u32::try_from(machine::existing(seen.machines, seen.slots)).unwrap_or(u32::MAX);
        // Where somebody wrote how far it may grow, a few may wait for machines to be made.
        let (max, waiting) = scaling.max.map_or((u32::MAX, 0), |max| (max, WAIT_FOR_MACHINES));
        Self { nodes: max.min(existing.saturating_add(waiting).max(least)).max(scaling.min), max }
    }

    fn limits(&self, wanted: u32, desired: u32, machines: &[Machine]) -> Vec<Limit> {
        let mut limits = without_machines(desired, machines);
        if wanted > desired {
            let limit = if desired >= self.max { Limit::MaxReplicas } else { Limit::NoMachine };
            limits.push(limit);
        }
        limits
    }
}

fn without_machines(desired: u32, machines: &[Machine]) -> Vec<Limit> {
    let usable = machines.iter().filter(|machine| machine.usable);
    let (addressed, nameless): (Vec<_>, Vec<_>) = usable.partition(|machine| machine.addressed);
    let mut limits = Vec::new();
    if addressed.len() + nameless.len() < desired as usize {
        limits.push(Limit::NoMachine);
    }
    if addressed.len() < desired as usize && !nameless.is_empty() {
        limits.push(Limit::NoAddress);
    }
    limits
}

#[cfg(test)]
mod tests;
