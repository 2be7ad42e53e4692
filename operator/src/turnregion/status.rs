//! What happened → status and conditions. Pure.

mod nodes;

use jiff::Timestamp;
use rtcfleet_crds::TurnRegionStatus;
use rtcfleet_crds::condition::{
    CAPACITY_LIMITED, CAPACITY_UNKNOWN, CERTIFICATE_EXPIRING, DRAINING, LIMITS_PENDING, NOT_IN_EFFECT,
    PEER_RULES_VIOLATED, READY, RECONCILING, STALLED, Status, Wanted, merge,
};
use rtcfleet_crds::turn_region::{DrainingNode, NodeCounts, ScalingStatus, UpgradeStatus, Utilisation};
use rtcfleet_node_api::NodeState;

use super::apply::Applied;
use super::observed::{Machine, told};
use super::secrets::MissingSecret;
use crate::fleet::load::Load;
use crate::fleet::rollout::Rollout;
use crate::fleet::scale::{Limit, Scale, relays_are};
use crate::fleet::slot::{Intent, NodeReport, Slot};

/// What nodes said of themselves.
const OF_NODES: [&str; 4] = [CERTIFICATE_EXPIRING, LIMITS_PENDING, PEER_RULES_VIOLATED, CAPACITY_UNKNOWN];

/// The status after a pass that went through.
pub fn applied(
    generation: i64,
    before: Option<&TurnRegionStatus>,
    applied: &Applied,
    now: Timestamp,
) -> TurnRegionStatus {
    let Applied {
        scale,
        rollout,
        max_unavailable,
        slots,
        machines,
        missing,
        tls,
        revision,
        limits,
        selector,
        not_in_effect,
        waiting,
        done: _,
        again: _,
    } = applied;
    let Scale { desired, least: _, reason, limited_by, rules: _, load, expected: _, lead_time: _ } = scale;
    let live: Vec<&Slot> = slots.iter().filter(|slot| !slot.is_being_deleted).collect();
    let fleet = Fleet::of(&live, scale, *max_unavailable, revision);
    let mut wanted = vec![fleet.ready(missing)];
    match failed_upgrade(rollout) {
        // Reconciling would be read first, and nothing goes on by itself.
        Some(stalled) => wanted.push(stalled),
        None => wanted.extend(fleet.reconciling(waiting, missing)),
    }
    wanted.extend(fleet.draining(&live));
    wanted.extend(limited(limited_by, *desired, machines));
    wanted.extend(missing.iter().map(lacking));
    let answered = nodes::answered(&live);
    let certificate = tls.as_ref().map(|(name, secret)| (name.as_str(), secret));
    wanted.extend(certificate.and_then(|secret| nodes::certificate_expiring(&answered, secret, now)));
    wanted.extend(nodes::limits_pending(&answered, limits));
    wanted.extend(nodes::peer_rules_violated(&answered));
    wanted.extend(nodes::capacity_unknown(&answered));
    wanted.extend(unused(not_in_effect));
    TurnRegionStatus {
        observed_generation: Some(generation),
        replicas: count(live.len()),
        ready_replicas: count(fleet.serving),
        selector: Some(selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")),
        nodes: Some(counts(&live)),
        scaling: Some(ScalingStatus {
            desired: count(*desired as usize),
            reason: (*reason).to_owned(),
            limited_by: limited_by.iter().map(|limit| limit.text().to_owned()).collect(),
        }),
        utilisation: utilisation(load, before.and_then(|status| status.utilisation)),
        upgrade: upgrade(rollout, &live, revision),
        draining: draining(&live),
        addresses: addresses(&live, machines),
        revision: Some(revision.clone()),
        not_in_effect: not_in_effect.clone(),
        conditions: merge(conditions_of(before), wanted, generation, now),
    }
}

/// The status of a region whose relays run elsewhere.
pub fn external(
    generation: i64,
    before: Option<&TurnRegionStatus>,
    not_in_effect: &[String],
    now: Timestamp,
) -> TurnRegionStatus {
    let mut wanted = vec![Wanted {
        kind: READY,
        status: Status::Unknown,
        reason: "ExternalNotProbed",
        message: "the endpoints run elsewhere and are not probed yet: nothing is known of them".into(),
    }];
    wanted.extend(unused(not_in_effect));
    TurnRegionStatus {
        observed_generation: Some(generation),
        not_in_effect: not_in_effect.to_vec(),
        conditions: merge(conditions_of(before), wanted, generation, now),
        ..TurnRegionStatus::default()
    }
}

/// The status after a pass that failed: what was known stays, and the conditions say why nothing moves.
///
/// A mistake in the object stalls it; relays that run go on, so the counts are kept. Any other error leaves `Ready` as it
/// was: relays do not depend on us, and an API server that starts refuses for seconds what it grants afterwards.
pub fn failed(
    generation: i64,
    before: Option<&TurnRegionStatus>,
    mistaken: bool,
    reason: &'static str,
    message: &str,
    now: Timestamp,
) -> TurnRegionStatus {
    let old = conditions_of(before);
    let ready_before = old.iter().find(|condition| condition.type_ == READY);
    let not_ready = |status| Wanted { kind: READY, status, reason, message: message.to_owned() };
    let (ready, flag) = if mistaken {
        (not_ready(Status::False), STALLED)
    } else {
        match ready_before.map(|condition| condition.status.as_str()) {
            Some("True") => (
                Wanted { kind: READY, status: Status::True, reason: "Serving", message: "as last seen".into() },
                RECONCILING,
            ),
            Some("False") => (not_ready(Status::False), RECONCILING),
            _ => (not_ready(Status::Unknown), RECONCILING),
        }
    };
    let wanted = vec![ready, Wanted { kind: flag, status: Status::True, reason, message: message.to_owned() }];
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = Some(generation);
    status.conditions = merge(old, wanted, generation, now);
    // Nodes go on as they were last seen, and nobody should be told the same again after the next pass.
    status.conditions.extend(old.iter().filter(|one| OF_NODES.contains(&one.type_.as_str())).cloned());
    status
}

fn conditions_of(status: Option<&TurnRegionStatus>) -> &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition] {
    status.map_or(&[], |status| &status.conditions)
}

fn failed_upgrade(rollout: &Rollout) -> Option<Wanted> {
    let (_, message) = rollout.failure()?;
    Some(Wanted { kind: STALLED, status: Status::True, reason: "UpgradeFailed", message })
}

fn upgrade(rollout: &Rollout, slots: &[&Slot], revision: &str) -> Option<UpgradeStatus> {
    let state = match rollout {
        Rollout::Done => return None,
        Rollout::Next(_) => "Rolling",
        Rollout::Canary { .. } => "Canary",
        Rollout::Paused => "Paused",
        Rollout::Failed { .. } => "Failed",
    };
    let (updated, outdated): (Vec<&Slot>, Vec<&Slot>) =
        slots.iter().partition(|slot| slot.revision.as_deref() == Some(revision));
    Some(UpgradeStatus { state: state.to_owned(), updated: count(updated.len()), outdated: count(outdated.len()) })
}

/// In steps, and a step is left only when the load is clearly beyond it: a status that follows every packet would be
/// written in every pass. None where nobody asked for the load, or hardly anybody told.
fn utilisation(load: &Load, before: Option<Utilisation>) -> Option<Utilisation> {
    const STEP: f64 = 10.0;
    const SLACK: f64 = 5.0;
    if load.reporting == 0 || load.is_blind() {
        return None;
    }
    let percent = load.up.whole / f64::from(load.reporting) * 100.0;
    if let Some(before) = before {
        let shown = f64::from(before.percent);
        if percent > shown - SLACK && percent < shown + STEP + SLACK {
            return Some(before);
        }
    }
    #[allow(clippy::cast_possible_truncation)] // at most a few hundred
    let step = (percent / STEP).floor() as i32;
    Some(Utilisation { percent: step * 10 })
}

/// How the slots stand against what is wanted.
struct Fleet<'a> {
    desired: usize,
    /// As many are needed; those beyond are there for load.
    least: usize,
    serving: usize,
    /// Slots that may be out of service just now: being exchanged, within `upgrade.maxUnavailable`.
    planned: usize,
    /// The first slot that is missing for no good reason, and what Kubernetes says of it.
    absent: Option<(u32, &'a str)>,
    outdated: usize,
    /// A slot that has its new template and does not serve yet.
    exchanged: Option<u32>,
}

impl<'a> Fleet<'a> {
    fn of(slots: &[&'a Slot], scale: &Scale, max_unavailable: u32, revision: &str) -> Self {
        let stays = |slot: &&&'a Slot| !slot.is_going();
        let in_exchange = |slot: &&&'a Slot| matches!(slot.intent, Some(Intent::Exchange { .. }));
        let exchanging = slots.iter().filter(in_exchange).filter(|slot| !slot.serves() && !slot.is_broken()).count();
        let absent = slots.iter().find(|slot| !slot.serves() && (slot.intent.is_none() || slot.is_broken()));
        Self {
            desired: scale.desired as usize,
            least: scale.least.min(scale.desired) as usize,
            serving: slots.iter().filter(|slot| slot.serves()).count(),
            planned: exchanging.min(max_unavailable as usize),
            absent: absent.map(|slot| (slot.index, why_absent(slot))),
            outdated: slots.iter().filter(stays).filter(|slot| slot.revision.as_deref() != Some(revision)).count(),
            exchanged: slots
                .iter()
                .filter(in_exchange)
                .find(|slot| slot.revision.as_deref() == Some(revision))
                .map(|slot| slot.index),
        }
    }

    fn ready(&self, missing: &[MissingSecret]) -> Wanted {
        let enough = self.serving + self.planned >= self.least;
        let told = |status, reason, message| Wanted { kind: READY, status, reason, message };
        match (enough, missing.first()) {
            (true, _) if self.desired == 0 => told(Status::True, "ScaledToZero", "no relay is wanted".into()),
            (true, _) if self.serving >= self.desired => {
                told(Status::True, "Serving", format!("{} of {} relays serve", self.desired, self.desired))
            }
            (true, _) if self.serving + self.planned >= self.desired => told(
                Status::True,
                "Serving",
                format!("{} of {} relays serve; the others are being exchanged", self.serving, self.desired),
            ),
            (true, _) => told(
                Status::True,
                "Serving",
                format!("{} of {} relays serve; the others are on their way", self.serving, self.desired),
            ),
            (false, Some(secret)) if self.serving == 0 => told(Status::False, secret.reason, secret.message.clone()),
            (false, _) => told(Status::False, "RelaysMissing", self.shortfall()),
        }
    }

    fn shortfall(&self) -> String {
        let counts = format!("{} of {} relays serve", self.serving, self.desired);
        match self.absent {
            Some((slot, why)) => format!("{counts}; slot {slot}: {why}"),
            None => counts,
        }
    }

    /// Work that takes seconds. A drain before an exchange can take an hour and is [`DRAINING`] alone, or pipelines that wait
    /// would time out.
    fn reconciling(&self, waiting: &[String], missing: &[MissingSecret]) -> Option<Wanted> {
        let (reason, message) = if let Some(slot) = self.exchanged {
            ("Exchanging", format!("slot {slot} starts with its new template"))
        } else if self.serving + self.planned < self.least {
            match missing.first() {
                Some(secret) => (secret.reason, secret.message.clone()),
                None => ("Starting", self.shortfall()),
            }
        } else {
            return None;
        };
        let waiting = waiting.first().map(|first| format!("; {first}")).unwrap_or_default();
        Some(Wanted { kind: RECONCILING, status: Status::True, reason, message: message + &waiting })
    }

    fn draining(&self, slots: &[&Slot]) -> Option<Wanted> {
        let names: Vec<String> =
            draining(slots).iter().map(|node| format!("{} ({})", node.slot, node.reason)).collect();
        let old = match self.outdated {
            0 => String::new(),
            count => format!("; {count} relays have the old template"),
        };
        (!names.is_empty()).then(|| Wanted {
            kind: DRAINING,
            status: Status::True,
            reason: "SessionsMoving",
            message: format!("sessions leave slots {}{old}", names.join(", ")),
        })
    }
}

fn why_absent(slot: &Slot) -> &str {
    let Some(pod) = &slot.pod else { return "it has no pod yet" };
    match (&pod.waiting_for, &slot.node) {
        (Some(why), _) => why,
        (None, NodeReport::Says(status)) if status.state == NodeState::Draining => "it drains",
        (None, NodeReport::Says(status)) if status.state == NodeState::Drained => "it is drained",
        (None, _) if pod.terminating => "its pod is ending",
        (None, _) => "its pod is not ready",
    }
}

fn counts(slots: &[&Slot]) -> NodeCounts {
    let mut counts = NodeCounts::default();
    for slot in slots {
        let count = match &slot.node {
            NodeReport::Absent => &mut counts.starting,
            NodeReport::Silent { .. } => &mut counts.unknown,
            NodeReport::Says(status) => match status.state {
                NodeState::Starting => &mut counts.starting,
                NodeState::Active => &mut counts.active,
                NodeState::Draining => &mut counts.draining,
                NodeState::Drained => &mut counts.drained,
            },
        };
        *count += 1;
    }
    counts
}

fn draining(slots: &[&Slot]) -> Vec<DrainingNode> {
    slots
        .iter()
        .filter_map(|slot| {
            let intent = slot.intent?;
            Some(DrainingNode {
                slot: i32::try_from(slot.index).unwrap_or(i32::MAX),
                reason: intent.reason().to_owned(),
                deadline: intent.deadline().to_string(),
            })
        })
        .collect()
}

/// No figures that move with load: a condition is written when its message changes.
fn limited(limits: &[Limit], desired: u32, machines: &[Machine]) -> Option<Wanted> {
    let first = limits.first()?;
    let message = limits.iter().map(|limit| limitation(*limit, desired, machines)).collect::<Vec<_>>().join("; ");
    Some(Wanted { kind: CAPACITY_LIMITED, status: Status::True, reason: first.text(), message })
}

fn limitation(limit: Limit, desired: u32, machines: &[Machine]) -> String {
    let usable = machines.iter().filter(|machine| machine.usable);
    match limit {
        Limit::MaxReplicas => format!(
            "the load asks for more than {desired} relays: raise spec.scaling.max, or give the relays larger machines"
        ),
        Limit::NoMachine => format!(
            "{} wanted or more, one a machine, and {} machines of the region can be used: add machines with its label",
            relays_are(desired),
            usable.count()
        ),
        Limit::NoAddress => {
            let nameless = usable.filter(|machine| machine.addresses.is_empty()).map(|machine| machine.name.as_str());
            let named = nameless.take(5).collect::<Vec<_>>().join(", ");
            format!("without an address of the kind that spec.addresses names: {named}")
        }
        Limit::MetricsMissing => "fewer than half of the relays tell how busy they are: their number stays as it is until they do; is their admin port reachable?".to_owned(),
        Limit::NicCapacityUnknown => {
            "the number of relays follows a guess of what their interfaces can carry: write spec.capacity.nic".to_owned()
        }
    }
}

fn lacking(secret: &MissingSecret) -> Wanted {
    let MissingSecret { condition, reason, message } = secret;
    Wanted { kind: condition, status: Status::True, reason, message: message.clone() }
}

fn unused(lines: &[String]) -> Option<Wanted> {
    (!lines.is_empty()).then(|| Wanted {
        kind: NOT_IN_EFFECT,
        status: Status::True,
        reason: "NotServedYet",
        message: lines.join("; "),
    })
}

/// What clients are told, of relays that serve: the node's own word, else what its machine has.
fn addresses(slots: &[&Slot], machines: &[Machine]) -> Vec<String> {
    let mut all: Vec<std::net::IpAddr> = Vec::new();
    for slot in slots.iter().filter(|slot| slot.serves()) {
        all.extend(told(slot, machines));
    }
    all.sort_unstable();
    all.dedup();
    all.iter().map(ToString::to_string).collect()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
