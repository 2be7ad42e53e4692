//! What happened → status and conditions. Pure.

use jiff::Timestamp;
use rtcfleet_crds::condition::{
    DEGRADED, FROZEN, OVERRIDDEN, PROBERS_FAILING, READY, RECONCILING, REGIONS_LEFT_OUT, SECURITY_ALARM, STALLED,
    Status, VANTAGE_POINTS_MISSING, Wanted, merge,
};
use rtcfleet_crds::dns_failover::{Flip as WrittenFlip, VantagePointState, VantagePointStatus};
use rtcfleet_crds::{Conditions, ConditionsExt, DnsFailoverStatus};

use super::hearing::Alarm;
use super::observed::{LeftOut, Why};
use super::publication::{Progress, Told};
use crate::failover::decide::{Decision, Flip};
use crate::failover::freeze::Freeze;
use crate::failover::region::{Health, Phase, Region, seconds};
use crate::publish::RecordSet;

/// What a pass came to: all that status speaks of.
#[derive(Debug)]
pub struct Look {
    pub decision: Decision,
    pub left_out: Vec<LeftOut>,
    pub points: Vec<VantagePointStatus>,
    pub alarms: Vec<Alarm>,
    /// The answers that are wanted.
    pub sets: Vec<RecordSet>,
    pub told: Told,
    /// Why nothing can be published: a key, a server. The reason, and a sentence.
    pub unpublishable: Option<(&'static str, String)>,
    /// Why probers are not as they should be.
    pub probers: Option<(&'static str, String)>,
    /// Vantage points have not had the time to be heard.
    pub is_starting: bool,
}

/// The status after a pass that went through.
pub fn looked(generation: i64, before: Option<&DnsFailoverStatus>, look: &Look, now: Timestamp) -> DnsFailoverStatus {
    let Look { decision, left_out, points, alarms, sets: _, told, unpublishable, probers, is_starting } = look;
    let old = before.map_or(&[][..], |status| &status.conditions);
    let regions: Vec<_> =
        decision.regions.iter().zip(&decision.votes).map(|(one, votes)| one.written(*votes)).collect();
    let mut wanted = vec![ready(look, old)];
    match unpublishable {
        Some((reason, message)) => wanted.push(told_as(STALLED, reason, message.clone())),
        None => match &told.progress {
            Progress::Failed { reason, message, must_act: true } if decision.publish => {
                wanted.push(told_as(STALLED, reason, message.clone()));
            }
            _ => wanted.extend(reconciling(look)),
        },
    }
    wanted.extend(probers.iter().map(|(reason, message)| told_as(PROBERS_FAILING, reason, message.clone())));
    wanted.extend(degraded(&decision.degraded));
    let was_frozen = old.is_true(FROZEN);
    wanted.extend(decision.frozen.as_ref().filter(|_| was_frozen || !is_starting).map(frozen));
    wanted.extend(missing(points).filter(|_| !is_starting || old.is_true(VANTAGE_POINTS_MISSING)));
    wanted.extend(alarm(alarms));
    wanted.extend(regions_left_out(left_out));
    DnsFailoverStatus {
        observed_generation: Some(generation),
        active_regions: decision.active.clone(),
        answer: Some(decision.answer.written()),
        regions,
        vantage_points: points.clone(),
        published_names: published(before, look),
        last_flip: last_flip(before, look, now),
        conditions: merge(old, wanted, generation, now),
    }
}

/// The status after a pass that failed: what was known stays, and the conditions say why nothing moves. DNS servers go on
/// answering without us: `Ready` falls only for a mistake in the object.
pub fn failed(
    generation: i64,
    before: Option<&DnsFailoverStatus>,
    mistaken: bool,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> DnsFailoverStatus {
    let mut status = before.cloned().unwrap_or_default();
    let old: Conditions = std::mem::take(&mut status.conditions);
    let flag = if mistaken { STALLED } else { RECONCILING };
    let was = old.condition(READY).map(|ready| ready.status.clone());
    let ready = match (mistaken, was.as_deref()) {
        (false, Some("True")) => {
            Wanted { kind: READY, status: Status::True, reason: "AsLastSeen", message: "as last seen".into() }
        }
        (false, None) => Wanted { kind: READY, status: Status::Unknown, reason, message: message.to_owned() },
        _ => Wanted { kind: READY, status: Status::False, reason, message: message.to_owned() },
    };
    status.observed_generation = Some(generation);
    status.conditions = merge(&old, vec![ready, told_as(flag, reason, message.to_owned())], generation, now);
    let kept = [DEGRADED, FROZEN, OVERRIDDEN, SECURITY_ALARM, VANTAGE_POINTS_MISSING];
    status.conditions.extend(old.into_iter().filter(|one| kept.contains(&one.type_.as_str())));
    status
}

fn told_as(kind: &'static str, reason: &'static str, message: String) -> Wanted {
    Wanted { kind, status: Status::True, reason, message }
}

/// The wanted answer is at a server at least; what is behind it is told apart.
fn is_published(look: &Look) -> bool {
    look.told.sets == look.sets && matches!(look.told.progress, Progress::Everywhere { .. } | Progress::Behind(_))
}

fn ready(look: &Look, old: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> Wanted {
    let Look { decision, unpublishable, told, .. } = look;
    let say = |status, reason, message: String| Wanted { kind: READY, status, reason, message };
    if decision.answer.is_empty() {
        return say(Status::False, "NoRelays", "no region has a relay that could be in the answer".into());
    }
    if let Some((reason, message)) = unpublishable {
        return say(Status::False, reason, message.clone());
    }
    let (reason, message) = summary(look);
    if !decision.publish {
        return say(Status::True, "Observing", format!("nothing is published (mode: Observe); {message}"));
    }
    match &told.progress {
        Progress::Failed { reason, message, .. } => say(Status::False, reason, message.clone()),
        _ if is_published(look) => say(Status::True, reason, message),
        // A new answer is on its way; the one before is being told.
        _ if old.is_true(READY) => say(Status::True, reason, message),
        _ => say(Status::False, "Publishing", "the first answer is on its way to those who tell it".into()),
    }
}

/// The state of the name in a word and in a sentence without figures that move.
fn summary(look: &Look) -> (&'static str, String) {
    let decision = &look.decision;
    let named = |is: &dyn Fn(&&Region) -> bool| {
        decision.regions.iter().filter(is).map(|region| region.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let active = decision.active.join(", ");
    let withdrawn = named(&|region| region.phase == Phase::Withdrawn);
    let returning = named(&|region| region.phase == Phase::Returning);
    let unknown = named(&|region| region.health == Health::Unknown);
    if matches!(decision.frozen, Some(Freeze::Overridden(_))) {
        ("Overridden", format!("callers are sent to {active}, as somebody pinned it"))
    } else if !decision.degraded.is_empty() {
        ("Degraded", decision.degraded.join("; "))
    } else if !withdrawn.is_empty() {
        ("Failover", format!("callers are sent to {active}; withdrawn: {withdrawn}"))
    } else if !returning.is_empty() {
        ("Returning", format!("callers are sent to {active}; coming back by steps: {returning}"))
    } else if !unknown.is_empty() {
        ("NotJudged", format!("callers are sent to {active}; no quorum has judged yet: {unknown}"))
    } else {
        ("Healthy", format!("callers are sent to {active}"))
    }
}

fn reconciling(look: &Look) -> Option<Wanted> {
    let Look { decision, left_out, told, .. } = look;
    let waits: Vec<&str> =
        left_out.iter().filter(|one| one.why == Why::NotLookedAt).map(|one| one.region.as_str()).collect();
    if !waits.is_empty() {
        let message = format!("TurnRegions have not been looked at yet: {}", waits.join(", "));
        return Some(told_as(RECONCILING, "WaitingForRegions", message));
    }
    if !decision.publish || decision.answer.is_empty() {
        return None;
    }
    let message = match &told.progress {
        Progress::Failed { reason, message, .. } => return Some(told_as(RECONCILING, reason, message.clone())),
        Progress::NotLeader => "another replica of the operator leads".to_owned(),
        Progress::Everywhere { .. } if told.sets == look.sets => return None,
        Progress::Behind(behind) if told.sets == look.sets => {
            return Some(told_as(RECONCILING, "ServersBehind", behind.join("; ")));
        }
        Progress::Begun | Progress::Everywhere { .. } | Progress::Behind(_) => {
            "the answer is on its way to those who tell it".to_owned()
        }
    };
    Some(told_as(RECONCILING, "Publishing", message))
}

fn degraded(sentences: &[String]) -> Option<Wanted> {
    (!sentences.is_empty()).then(|| told_as(DEGRADED, "CallersAtRisk", sentences.join("; ")))
}

fn frozen(freeze: &Freeze) -> Wanted {
    let kind = if matches!(freeze, Freeze::Overridden(_)) { OVERRIDDEN } else { FROZEN };
    told_as(kind, freeze.reason(), freeze.message())
}

fn missing(points: &[VantagePointStatus]) -> Option<Wanted> {
    let named = |state: VantagePointState| {
        let names: Vec<&str> =
            points.iter().filter(|point| point.state == state).map(|point| point.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let silent = named(VantagePointState::Silent).map(|names| format!("nothing is heard of {names}"));
    let cut_off = named(VantagePointState::CutOff).map(|names| format!("{names} reaches nothing at all"));
    let message: Vec<String> = silent.into_iter().chain(cut_off).collect();
    let reason = if message.len() == 1 && message[0].ends_with("at all") { "CutOff" } else { "Silent" };
    (!message.is_empty())
        .then(|| told_as(VANTAGE_POINTS_MISSING, reason, format!("{}: they have no vote", message.join("; "))))
}

fn alarm(alarms: &[Alarm]) -> Option<Wanted> {
    let told: Vec<String> = alarms.iter().map(|alarm| format!("{} grants {}", alarm.target, alarm.granted)).collect();
    (!told.is_empty()).then(|| told_as(SECURITY_ALARM, "ForbiddenGranted", told.join("; ")))
}

fn regions_left_out(left_out: &[LeftOut]) -> Option<Wanted> {
    let why = |why: Why| match why {
        Why::Missing => Some("there is no such TurnRegion"),
        Why::External => Some("its relays run elsewhere (mode: External), which this release does not publish"),
        Why::Ending => Some("it is being deleted"),
        Why::NotLookedAt => None,
    };
    let told: Vec<String> =
        left_out.iter().filter_map(|one| Some(format!("{}: {}", one.region, why(one.why)?))).collect();
    (!told.is_empty()).then(|| told_as(REGIONS_LEFT_OUT, "NotPublished", told.join("; ")))
}

/// What may have been written until now, less what was withdrawn. Sorted.
fn published(before: Option<&DnsFailoverStatus>, look: &Look) -> Vec<String> {
    let mut names: Vec<String> = before.map_or_else(Vec::new, |status| status.published_names.clone());
    if look.decision.publish {
        names.extend(look.sets.iter().map(|set| set.name().to_string()));
    }
    let is_gone = |name: &String| {
        let withdrawn = look.told.withdrawn.iter().any(|gone| gone.as_str() == name);
        let done = matches!(look.told.progress, Progress::Everywhere { .. } | Progress::Behind(_));
        withdrawn && done && !look.sets.iter().any(|set| set.name().as_str() == name)
    };
    names.retain(|name| !is_gone(name));
    names.sort();
    names.dedup();
    names
}

fn last_flip(before: Option<&DnsFailoverStatus>, look: &Look, now: Timestamp) -> Option<WrittenFlip> {
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    if let Some(Flip { from, to, reason, detection }) = &look.decision.flip {
        return Some(WrittenFlip {
            time: seconds(now).to_string(),
            from: from.clone(),
            to: to.clone(),
            reason: (*reason).to_owned(),
            detection_milliseconds: detection.map(millis),
            publication_milliseconds: None,
        });
    }
    let mut last = before?.last_flip.clone()?;
    if last.publication_milliseconds.is_none() && look.told.sets == look.sets {
        last.publication_milliseconds = look.told.took.map(millis);
    }
    Some(last)
}

#[cfg(test)]
mod tests;
