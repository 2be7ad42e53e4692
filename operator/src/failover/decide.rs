//! All of it: what was seen and decided before → the answer, what is decided about each region, and why.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::answer::{self, Answer, Portion, answer};
use super::choice::Choice;
use super::freeze::{Freeze, frozen};
use super::policy::Policy;
use super::region::{Health, Region};
use super::seen::{Node, Seen};
use super::shares::{Claim, percent, shares};
use super::slots;
use super::turns::{self, Stand};
use super::votes::{Votes, judge, sighted};
use super::watch::Watch;

/// Nothing moves faster than probes do.
const SHORTEST_LOOK: Duration = Duration::from_millis(250);

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub policy: &'a Policy,
    /// One that the policy does not have is left out.
    pub seen: &'a [Seen],
    pub watch: &'a Watch,
    /// What was decided last.
    pub before: &'a [Region],
    /// The answer that was decided last.
    pub published: &'a Answer,
    /// For hold-downs and slots, which outlive a leader.
    pub now: Timestamp,
    /// For probes.
    pub instant: Instant,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(test, derive(Default))]
pub struct Decision {
    /// Never empty, unless there has never been a relay.
    pub answer: Answer,
    /// False with `mode: Observe`: the answer is what would be published.
    pub publish: bool,
    /// By name.
    pub regions: Vec<Region>,
    /// Of each of `regions`.
    pub votes: Vec<Votes>,
    /// Of each of `regions`: the answer with it alone, for providers that weigh regions themselves.
    pub alone: Vec<Answer>,
    /// Names of regions that get callers.
    pub active: Vec<String>,
    pub frozen: Option<Freeze>,
    /// Sentences about callers who are sent where not all works.
    pub degraded: Vec<String>,
    pub flip: Option<Flip>,
    pub choices: Vec<Choice>,
    /// Something may change by then although nothing is told.
    pub next_look: Duration,
}

/// A change of the active regions.
#[derive(Clone, Debug, PartialEq)]
pub struct Flip {
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub reason: &'static str,
    /// From the first failed probe until now.
    pub detection: Option<Duration>,
}

/// Decides. Order of inputs does not matter.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let Situation { policy, watch, now, instant, .. } = *situation;
    let mut stands = stands(situation);
    let mut choices = Vec::new();
    let pinned = pinned(policy, &stands, now, &mut choices);
    let sight = sighted(policy, watch, instant);
    let is_sighted = sight.0 >= sight.1;
    let is_rescued = pinned.is_none() && is_sighted && turns::rescue(&mut stands, now, &mut choices);
    let regions: Vec<Region> = stands.iter().map(|stand| stand.region.clone()).collect();
    let freeze = pinned.or_else(|| frozen(policy, &regions, sight));
    if let Some(freeze) = &freeze {
        choices.push(told(freeze));
    } else if !is_rescued {
        turns::take(&mut stands, policy, now, &mut choices);
    }
    let keeps = matches!(freeze, Some(Freeze::QuorumLost { .. } | Freeze::TooFewHealthy { .. })) && !is_rescued;
    let answer = publish(&mut stands, situation, freeze.as_ref(), keeps);
    let kept = keeps.then_some(&answer);
    let alone = stands.iter().map(|stand| alone(stand, policy, kept, now)).collect();
    finish(situation, stands, (answer, alone), freeze, choices)
}

/// Members, by name, with what is known of them now.
fn stands<'a>(situation: &Situation<'a>) -> Vec<Stand<'a>> {
    let Situation { policy, seen, watch, before, now, instant, .. } = *situation;
    let mut members: Vec<&Seen> = seen.iter().filter(|one| policy.order.place(&one.name).is_some()).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members.dedup_by(|a, b| a.name == b.name);
    members
        .into_iter()
        .map(|seen| {
            let known = before.iter().find(|region| region.name == seen.name).cloned();
            let mut region = known.unwrap_or_else(|| Region::initial(&seen.name, now));
            let judgement = judge(policy, watch, seen, &region, instant);
            region.health = judgement.health;
            region.failing.clone_from(&judgement.failing);
            Stand { has_relays: !seen.takers().is_empty(), seen, judgement, region }
        })
        .collect()
}

/// The override, if there is one, it holds, and it can be followed.
fn pinned(policy: &Policy, stands: &[Stand<'_>], now: Timestamp, choices: &mut Vec<Choice>) -> Option<Freeze> {
    let pinned = policy.pinned.as_ref().filter(|pinned| now < pinned.expires_at)?;
    let is_possible = stands.iter().any(|stand| stand.has_relays && pinned.regions.contains(&stand.region.name));
    if is_possible {
        return Some(Freeze::Overridden(pinned.clone()));
    }
    choices.push(Choice {
        kind: "hold",
        reason: "OverrideWithoutRelays",
        region: None,
        message: "the override is not followed: the regions that it names have no relay that takes calls".to_owned(),
        inputs: json!({"regions": pinned.regions}),
        is_event: true,
    });
    None
}

fn told(freeze: &Freeze) -> Choice {
    let kind = if matches!(freeze, Freeze::Overridden(_)) { "pin" } else { "freeze" };
    let inputs = match freeze {
        Freeze::QuorumLost { fine, needed } => json!({"fine": fine, "needed": needed}),
        Freeze::TooFewHealthy { percent, least } => json!({"healthyPercent": percent, "least": least}),
        Freeze::Overridden(pinned) => json!({"regions": pinned.regions, "expiresAt": pinned.expires_at.to_string()}),
    };
    Choice { kind, reason: freeze.reason(), region: None, message: freeze.message(), inputs, is_event: true }
}

/// The answer, and each region's part of the callers. `keeps`: the answer of before, while its relays are there.
fn publish(stands: &mut [Stand<'_>], situation: &Situation<'_>, freeze: Option<&Freeze>, keeps: bool) -> Answer {
    let Situation { policy, published, now, .. } = *situation;
    if keeps && !published.is_empty() && are_there(stands, published) {
        return published.clone();
    }
    let given = |stand: &Stand<'_>| match freeze {
        Some(Freeze::Overridden(pinned)) => u32::from(pinned.regions.contains(&stand.region.name)) * 100,
        _ => stand.region.given_percent,
    };
    // Never an empty answer: if nobody who is given callers has a relay, everybody who has one is.
    for given in [&given as &dyn Fn(&Stand<'_>) -> u32, &|_| 100] {
        let parts = parts(stands, policy, given);
        let answer = composed(stands, policy, &parts, now);
        if !answer.is_empty() {
            stands.iter_mut().zip(parts).for_each(|(stand, part)| stand.region.weight_percent = percent(part));
            return answer;
        }
    }
    published.clone()
}

fn parts(stands: &[Stand<'_>], policy: &Policy, given: &dyn Fn(&Stand<'_>) -> u32) -> Vec<f64> {
    let claims: Vec<Claim<'_>> = stands
        .iter()
        .map(|stand| {
            let (rank, weight) = policy.order.place(&stand.region.name).unwrap_or((0, 1.0));
            // One without relays is as if it were not there: the next rank takes over, too.
            let given = if stand.has_relays { given(stand) } else { 0 };
            Claim { name: &stand.region.name, rank, weight, given }
        })
        .collect();
    shares(&claims)
}

fn composed(stands: &[Stand<'_>], policy: &Policy, parts: &[f64], now: Timestamp) -> Answer {
    let portions: Vec<Portion<'_>> =
        stands.iter().zip(parts).map(|(stand, part)| Portion { part: *part, relays: relays(stand) }).collect();
    answer(&portions, policy.max_addresses, slots::number(now, policy.ttl))
}

/// Without those that a quorum sees fail.
fn relays<'a>(stand: &Stand<'a>) -> Vec<&'a Node> {
    let failing = &stand.judgement.failing_nodes;
    stand.seen.takers().into_iter().filter(|node| !failing.contains(&node.name)).collect()
}

/// Where an answer is kept, what it has of the region; otherwise relays that work. If there is none, all of them.
fn alone(stand: &Stand<'_>, policy: &Policy, kept: Option<&Answer>, now: Timestamp) -> Answer {
    let takers = stand.seen.takers();
    let own: BTreeSet<IpAddr> = takers.iter().flat_map(|node| node.addresses.iter().copied()).collect();
    let kept = Answer::of(kept.into_iter().flat_map(Answer::addresses).filter(|address| own.contains(address)));
    if !kept.is_empty() {
        return kept;
    }
    let fine = relays(stand);
    let relays = if fine.is_empty() { takers } else { fine };
    answer::alone(relays, policy, now)
}

/// Every address belongs to a relay that takes calls, as far as those say who would know.
fn are_there(stands: &[Stand<'_>], published: &Answer) -> bool {
    let takers = stands.iter().flat_map(|stand| stand.seen.takers());
    let there: BTreeSet<IpAddr> = takers.flat_map(|node| node.addresses.iter().copied()).collect();
    published.addresses().all(|address| there.contains(&address))
}

fn finish(
    situation: &Situation<'_>,
    stands: Vec<Stand<'_>>,
    (answer, alone): (Answer, Vec<Answer>),
    frozen: Option<Freeze>,
    choices: Vec<Choice>,
) -> Decision {
    let Situation { policy, before, now, .. } = *situation;
    let active = |regions: &[Region]| -> Vec<String> {
        let named = regions.iter().filter(|region| region.weight_percent > 0).map(|region| region.name.clone());
        named.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let degraded = stands.iter().filter_map(degraded).collect();
    let detection = stands
        .iter()
        .filter(|stand| {
            choices.iter().any(|one| one.kind == "withdraw" && one.region.as_ref() == Some(&stand.region.name))
        })
        .filter_map(|stand| stand.judgement.failing_for)
        .max();
    let votes = stands.iter().map(|stand| stand.judgement.votes).collect();
    let regions: Vec<Region> = stands.into_iter().map(|stand| stand.region).collect();
    let (from, to) = (active(before), active(&regions));
    let reason = choices.iter().find(|one| one.is_event && one.kind != "hold").map_or("Changed", |one| one.reason);
    let is_flip = !from.is_empty() && from != to;
    Decision {
        publish: policy.enforce,
        flip: is_flip.then(|| Flip { from, to: to.clone(), reason, detection }),
        next_look: next_look(policy, &regions, now),
        active: to,
        answer,
        regions,
        votes,
        alone,
        frozen,
        degraded,
        choices,
    }
}

fn degraded(stand: &Stand<'_>) -> Option<String> {
    let Region { name, health, weight_percent, .. } = &stand.region;
    match health {
        _ if *weight_percent == 0 => None,
        Health::Unhealthy => Some(format!("callers are sent to {name}, which fails")),
        Health::Impaired => Some(format!("callers are sent to {name}, where some transports fail")),
        Health::Unknown | Health::Healthy => None,
    }
}

fn next_look(policy: &Policy, regions: &[Region], now: Timestamp) -> Duration {
    let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
    let step = SignedDuration::try_from(policy.failback.step_duration).unwrap_or(SignedDuration::MAX);
    let steps = regions.iter().filter_map(|region| region.since.checked_add(step).ok());
    let times = regions.iter().filter_map(|region| region.hold_down_until).chain(steps);
    let expiry = policy.pinned.iter().map(|pinned| pinned.expires_at);
    let ahead = times.chain(expiry).filter(|at| *at > now).map(until);
    let always = [policy.health.interval, slots::remaining(now, policy.ttl)];
    ahead.chain(always).min().unwrap_or(policy.health.interval).max(SHORTEST_LOOK)
}

#[cfg(test)]
mod tests;
