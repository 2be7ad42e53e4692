//! Who leaves, who returns, and who takes a step. One region takes one turn a look.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::choice::Choice;
use super::hold_down;
use super::policy::Policy;
use super::region::{Health, Phase, Reason, Region, seconds};
use super::seen::Seen;
use super::survivors;
use super::votes::Judgement;

/// A region: what is there, what is known, what was decided.
#[derive(Clone, Debug)]
pub struct Stand<'a> {
    pub seen: &'a Seen,
    pub judgement: Judgement,
    pub region: Region,
    /// It has relays that can be published.
    pub has_relays: bool,
}

impl Stand<'_> {
    /// Callers who are sent there can be served, as far as is known.
    fn works(&self) -> bool {
        self.has_relays && self.region.health != Health::Unhealthy
    }

    fn carries(&self) -> bool {
        self.works() && self.region.phase != Phase::Withdrawn
    }

    fn turn(&mut self, phase: Phase, reason: Reason, given: u32, now: Timestamp) {
        self.region.phase = phase;
        self.region.reason = reason;
        self.region.given_percent = given;
        self.region.since = seconds(now);
        self.region.hold_down_until = None;
    }

    fn inputs(&self) -> Value {
        let Judgement {
            health: _,
            failing,
            votes,
            has_quorum,
            is_clean,
            is_confirmed,
            answers,
            failing_for,
            failing_nodes,
        } = &self.judgement;
        let failing: Vec<&str> = failing.iter().map(|transport| transport.text()).collect();
        json!({
            "votes": {"up": votes.up, "down": votes.down, "clean": votes.clean, "needed": votes.needed, "asked": votes.asked},
            "hasQuorum": has_quorum, "isClean": is_clean, "isConfirmed": is_confirmed, "answers": answers, "failingTransports": failing, "failingRelays": failing_nodes,
            "failingForMilliseconds": failing_for.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            "capacity": self.seen.capacity, "load": self.seen.load,
            "flaps": self.region.flaps, "givenPercent": self.region.given_percent,
        })
    }

    fn choice(&self, kind: &'static str, reason: &'static str, message: String, is_event: bool) -> Choice {
        Choice { kind, reason, region: Some(self.region.name.clone()), message, inputs: self.inputs(), is_event }
    }
}

/// Brings withdrawn regions that work back at once, where none does that has callers. True if there were some.
pub fn rescue(stands: &mut [Stand<'_>], now: Timestamp, choices: &mut Vec<Choice>) -> bool {
    if stands.iter().any(Stand::carries) {
        return false;
    }
    let is_known_to_work = |stand: &Stand<'_>| {
        stand.works() && stand.region.phase == Phase::Withdrawn && stand.region.health != Health::Unknown
    };
    let best = stands.iter().filter(|stand| is_known_to_work(stand)).map(|stand| stand.region.health).min();
    for stand in stands.iter_mut().filter(|stand| is_known_to_work(stand) && Some(stand.region.health) == best) {
        stand.turn(Phase::Serving, Reason::LastResort, 100, now);
        let message = format!("{} is back at once: no other region works", stand.region.name);
        choices.push(stand.choice("return", Reason::LastResort.text(), message, true));
    }
    best.is_some()
}

/// Everything else.
pub fn take(stands: &mut [Stand<'_>], policy: &Policy, now: Timestamp, choices: &mut Vec<Choice>) {
    let before: Vec<Phase> = stands.iter().map(|stand| stand.region.phase).collect();
    let mut order: Vec<usize> = (0..stands.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(stands[*at].region.health));
    for at in order {
        match before[at] {
            Phase::Serving | Phase::Returning if is_bad(stands, at, policy) => {
                withdraw(stands, at, policy, now, choices);
            }
            Phase::Withdrawn if is_bad(stands, at, policy) => shift_on(stands, at, policy, now, choices),
            Phase::Withdrawn => come_back(&mut stands[at], policy, now, choices),
            Phase::Returning => step(&mut stands[at], policy, now, choices),
            Phase::Serving => {}
        }
    }
}

/// It should have no callers. One that fails over some transports should not where another region has all of its own.
fn is_bad(stands: &[Stand<'_>], at: usize, policy: &Policy) -> bool {
    match stands[at].region.health {
        Health::Unhealthy => true,
        Health::Impaired => {
            policy.health.all_transports
                && others(stands, at).any(|other| other.carries() && other.region.health == Health::Healthy)
        }
        Health::Unknown | Health::Healthy => false,
    }
}

fn others<'a, 'b>(stands: &'a [Stand<'b>], at: usize) -> impl Iterator<Item = &'a Stand<'b>> {
    stands.iter().enumerate().filter(move |(other, _)| *other != at).map(|(_, stand)| stand)
}

fn withdraw(stands: &mut [Stand<'_>], at: usize, policy: &Policy, now: Timestamp, choices: &mut Vec<Choice>) {
    if !stands[at].judgement.is_confirmed {
        let name = &stands[at].region.name;
        let message = format!("{name} failed and stays: there is no quorum that sees it fail now");
        choices.push(stands[at].choice("hold", "NotConfirmed", message, false));
        return;
    }
    let withdrawn = stands.iter().filter(|stand| stand.region.phase == Phase::Withdrawn).count();
    let most = policy.safety.max_withdrawn;
    let name = stands[at].region.name.clone();
    if withdrawn >= most {
        let message = format!("{name} fails and stays: {most} may be out at a time (safety.maxWithdrawn)");
        choices.push(stands[at].choice("hold", "MaxWithdrawn", message, true));
        return;
    }
    if !others(stands, at).any(Stand::carries) {
        let message = format!("{name} fails and stays: there is no other region that works");
        choices.push(stands[at].choice("hold", "NoOther", message, true));
        return;
    }
    // Regions that share what fails die within a second of each other, and one is found out first.
    if !others(stands, at).any(|other| other.carries() && other.judgement.answers) {
        let message = format!("{name} fails and stays: the last probes of the others failed, too");
        choices.push(stands[at].choice("hold", "OthersSilent", message, false));
        return;
    }
    let given = keeps(stands, at, sum(stands.iter().map(|stand| stand.seen.load)), policy);
    let stand = &mut stands[at];
    let (flaps, until) = hold_down::of(&stand.region, &policy.safety, now);
    let reason = match (stand.region.phase, stand.region.health) {
        (Phase::Returning, _) => Reason::FailedAgain,
        (_, Health::Impaired) => Reason::Impaired,
        _ => Reason::Unhealthy,
    };
    stand.turn(Phase::Withdrawn, reason, given, now);
    (stand.region.flaps, stand.region.hold_down_until) = (flaps, Some(until));
    let fails = match stand.region.health {
        Health::Impaired => format!("{name} fails over {}", transports(stand)),
        _ => format!("{name} fails over every transport"),
    };
    let message = match given {
        0 => format!("{fails}: it gets no more callers"),
        _ => format!("{fails}: the others cannot carry all of its callers, and a part of them stays"),
    };
    choices.push(stand.choice("withdraw", reason.text(), message, true));
}

fn transports(stand: &Stand<'_>) -> String {
    stand.region.failing.iter().map(|transport| transport.text()).collect::<Vec<_>>().join(" and ")
}

/// What stayed with a region that fails goes on when there is room for it, and never comes back: a load that moves to and
/// fro would move the answer. Not before the callers of the last shift have arrived, a step of the failback later.
fn shift_on(stands: &mut [Stand<'_>], at: usize, policy: &Policy, now: Timestamp, choices: &mut Vec<Choice>) {
    if stands[at].region.given_percent == 0 || !has_lasted(&stands[at].region, policy, now) {
        return;
    }
    let survivors = sum(others(stands, at).map(|other| other.seen.load));
    let given = keeps(stands, at, survivors::demand(survivors, stands[at].region.weight_percent), policy);
    if given < stands[at].region.given_percent {
        stands[at].region.given_percent = given;
        stands[at].region.since = seconds(now);
        let message = format!("there is room for more callers of {}", stands[at].region.name);
        choices.push(stands[at].choice("withdraw", "RoomFound", message, true));
    }
}

/// As long as a step of the failback. What began in the future began before a clock was set back.
fn has_lasted(region: &Region, policy: &Policy, now: Timestamp) -> bool {
    let lasted = now.duration_since(region.since);
    lasted.is_negative() || lasted >= signed(policy.failback.step_duration)
}

/// A hold-down that ends later than the longest one could was written before a clock was set back.
fn is_held(region: &Region, policy: &Policy, now: Timestamp) -> bool {
    let longest = signed(policy.safety.max_hold_down);
    region.hold_down_until.is_some_and(|until| now < until && until.duration_since(now) <= longest)
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

/// Percent of its share that a region keeps, because the others cannot carry it.
fn keeps(stands: &[Stand<'_>], at: usize, demand: Option<f64>, policy: &Policy) -> u32 {
    let capacity = sum(others(stands, at).filter(|other| other.carries()).map(|other| other.seen.capacity));
    let left = survivors::cannot_carry(demand, capacity, policy.safety.survivor_percent);
    let Region { weight_percent, given_percent, .. } = stands[at].region;
    if weight_percent == 0 {
        return 0;
    }
    (left * given_percent).div_ceil(weight_percent).min(given_percent)
}

/// None if one is not known.
fn sum(mut numbers: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    numbers.try_fold(0.0, |sum, number| number.map(|number| sum + number))
}

fn come_back(stand: &mut Stand<'_>, policy: &Policy, now: Timestamp, choices: &mut Vec<Choice>) {
    let name = stand.region.name.clone();
    if is_held(&stand.region, policy, now) {
        choices.push(stand.choice("hold", "HoldDown", format!("{name} works, and stays out for a while"), false));
    } else if !(stand.judgement.has_quorum && stand.judgement.is_clean) {
        choices.push(stand.choice("hold", "NotClean", format!("{name} must work without a failure first"), false));
    } else {
        let first = policy.failback.steps.first().copied().unwrap_or(100).max(stand.region.given_percent);
        rise(stand, first, now);
        choices.push(stand.choice("return", "Healthy", format!("{name} works again and gets callers by steps"), true));
    }
}

fn step(stand: &mut Stand<'_>, policy: &Policy, now: Timestamp, choices: &mut Vec<Choice>) {
    let name = stand.region.name.clone();
    if !(stand.judgement.has_quorum && stand.judgement.is_clean) {
        choices.push(stand.choice("hold", "Paused", format!("{name} gets no more callers while probes fail"), false));
    } else if has_lasted(&stand.region, policy, now) {
        let steps = &policy.failback.steps;
        let next = steps.iter().copied().find(|step| *step > stand.region.given_percent).unwrap_or(100);
        rise(stand, next, now);
        let message = if next == 100 {
            format!("{name} has all of its callers again")
        } else {
            format!("{name} gets {next} % of its callers")
        };
        choices.push(stand.choice("step", "Healthy", message, true));
    }
}

fn rise(stand: &mut Stand<'_>, percent: u32, now: Timestamp) {
    let phase = if percent >= 100 { Phase::Serving } else { Phase::Returning };
    stand.turn(phase, Reason::Healthy, percent.min(100), now);
}
