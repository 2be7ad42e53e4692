//! What to do next with a region's slots. Pure: no client, no clock, no async; same input, same plan.
//!
//! A slot is a Deployment of one relay. Slots are numbered from 0; a slot that goes frees its number.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rtcfleet_node_api::{NodeState, SetState};
use serde_json::{Value, json};

use super::observed::{Intent, Machine, NodeReport, Observed, Slot};
use super::validate::ManagedRegion;

/// Slots created, retired or exchanged in one pass; the rest follows in the next one.
pub const MOST_PER_PASS: usize = 32;
/// How long after its deadline a node that does not answer is taken for drained: it ends its sessions itself.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// What is to be done, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub desired: u32,
    pub limited_by: Vec<Limit>,
    pub steps: Vec<Step>,
    pub choices: Vec<Choice>,
    /// Slots that wait for something, in words, for conditions and for `operator explain`.
    pub waiting: Vec<String>,
    /// More is to be done than one pass may do.
    pub partial: bool,
}

/// One action on one slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the slot's Deployment.
    Create { slot: u32 },
    /// Put the Deployment back to what it should be, where somebody changed it.
    Hold { slot: u32 },
    /// Give the slot the new template. Its node is drained.
    Replace { slot: u32 },
    /// Write down what is to happen with the slot, or that nothing is any more.
    Mark { slot: u32, intent: Option<Intent> },
    /// Tell the node.
    Tell { slot: u32, state: SetState },
    /// Delete the Deployment. Its node is drained.
    Delete { slot: u32 },
}

impl Step {
    pub fn slot(&self) -> u32 {
        match *self {
            Self::Create { slot }
            | Self::Hold { slot }
            | Self::Replace { slot }
            | Self::Mark { slot, .. }
            | Self::Tell { slot, .. }
            | Self::Delete { slot } => slot,
        }
    }
}

/// A decision with its inputs, before it is known whether it could be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub kind: &'static str,
    pub reason: &'static str,
    pub slot: Option<u32>,
    pub message: String,
    pub inputs: Value,
}

/// What keeps the fleet smaller than it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Fewer usable machines in the region than relays wanted.
    NoMachine,
    /// Usable machines have no address of the kind that `spec.addresses` names.
    NoAddress,
}

impl Limit {
    pub fn text(self) -> &'static str {
        match self {
            Self::NoMachine => "NoMachine",
            Self::NoAddress => "NoAddress",
        }
    }
}

/// What a slot must wait for before its node may be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// Nobody wants it to go.
    AnIntent,
    /// The node still takes new sessions, or has not said that it does not.
    TheDrainToStart,
    /// Sessions are live, and the deadline has not come.
    Sessions { live: u64, deadline: Timestamp },
    /// It does not answer, and the deadline has not come.
    AnAnswer { deadline: Timestamp },
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnIntent => write!(f, "nothing: it stays"),
            Self::TheDrainToStart => write!(f, "its node to stop taking new sessions"),
            Self::Sessions { deadline, .. } => write!(f, "its sessions to end, at the latest at {deadline}"),
            Self::AnAnswer { deadline } => write!(f, "its node to answer, at the latest until {deadline}"),
        }
    }
}

/// The one answer to "may this node be ended?". Deleting a slot and exchanging its template both ask here.
///
/// - no pod, or one whose container does not run: yes, nothing can be live in it;
/// - a node that has not begun to serve: yes, and a broken one must not wait for a deadline to be mended;
/// - draining or drained without sessions: yes, it takes no new ones;
/// - a deadline that passed long enough ago for the node to have ended its sessions itself: yes;
/// - else no, and for what it waits.
pub fn may_end(slot: &Slot, now: Timestamp) -> Result<(), WaitsFor> {
    let Some(intent) = slot.intent() else { return Err(WaitsFor::AnIntent) };
    if !slot.pod.as_ref().is_some_and(super::observed::NodePod::may_serve) {
        return Ok(());
    }
    let deadline = intent.deadline();
    if deadline.checked_add(GRACE).is_ok_and(|last| now >= last) {
        return Ok(());
    }
    match &slot.node {
        NodeReport::Says(status) => match (status.state, status.sessions.allocations) {
            (NodeState::Starting, _) | (NodeState::Drained | NodeState::Draining, 0) => Ok(()),
            (NodeState::Drained | NodeState::Draining, live) => Err(WaitsFor::Sessions { live, deadline }),
            (NodeState::Active, _) => Err(WaitsFor::TheDrainToStart),
        },
        NodeReport::Silent { .. } | NodeReport::Absent => Err(WaitsFor::AnAnswer { deadline }),
    }
}

/// Decides the next steps of a region whose nodes should run `revision`.
pub fn plan(region: &ManagedRegion, observed: &Observed, revision: &str, now: Timestamp) -> Plan {
    let desired = region.replicas.count();
    let mut plan = Plan { desired, limited_by: limits(desired, &observed.machines), ..Plan::default() };
    let live: Vec<&Slot> = observed.slots.iter().filter(|slot| !slot.is_being_deleted()).collect();
    let (going, staying): (Vec<&Slot>, Vec<&Slot>) =
        live.iter().partition(|slot| matches!(slot.intent(), Some(Intent::Retire { .. })));
    let wanted = desired as usize;
    if staying.len() < wanted {
        let back = plan.bring_back(&going, wanted - staying.len());
        plan.create(&observed.slots, wanted - staying.len() - back.len(), region.replicas.reason());
        plan.end(going.iter().filter(|slot| !back.contains(&slot.index)).copied(), now);
        plan.keep(region, &staying, &[], revision, now);
    } else {
        let victims = plan.retire(region, &staying, staying.len() - wanted, now);
        plan.end(going.iter().copied(), now);
        plan.keep(region, &staying, &victims, revision, now);
    }
    plan
}

fn limits(desired: u32, machines: &[Machine]) -> Vec<Limit> {
    let usable = machines.iter().filter(|machine| machine.usable);
    let (addressed, nameless): (Vec<_>, Vec<_>) = usable.partition(|machine| !machine.addresses.is_empty());
    let mut limits = Vec::new();
    if addressed.len() + nameless.len() < desired as usize {
        limits.push(Limit::NoMachine);
    }
    if addressed.len() < desired as usize && !nameless.is_empty() {
        limits.push(Limit::NoAddress);
    }
    limits
}

impl Plan {
    /// Slots on their way out are taken back before new ones are made: they run already.
    fn bring_back(&mut self, going: &[&Slot], missing: usize) -> Vec<u32> {
        let mut back = Vec::new();
        for slot in going.iter().take(missing) {
            back.push(slot.index);
            self.steps.push(Step::Mark { slot: slot.index, intent: None });
            if slot.state() == Some(NodeState::Draining) || slot.state() == Some(NodeState::Drained) {
                self.steps.push(Step::Tell { slot: slot.index, state: SetState::Active });
            }
            self.choices.push(Choice {
                kind: "restore",
                reason: "ScaleUp",
                slot: Some(slot.index),
                message: format!("slot {} stays: it was to go, and is wanted again", slot.index),
                inputs: json!({"desired": self.desired, "missing": missing}),
            });
        }
        back
    }

    fn create(&mut self, present: &[Slot], missing: usize, reason: &'static str) {
        let free = (0_u32..).filter(|index| !present.iter().any(|slot| slot.index == *index));
        for slot in free.take(missing.min(MOST_PER_PASS)) {
            self.steps.push(Step::Create { slot });
            self.choices.push(Choice {
                kind: "create",
                reason,
                slot: Some(slot),
                message: format!("slot {slot} is made: {} relays are wanted", self.desired),
                inputs: json!({"desired": self.desired, "present": present.len(), "limitedBy": self.limit_texts()}),
            });
        }
        self.partial |= missing > MOST_PER_PASS;
    }

    /// Who goes: first who cannot serve, then who has the fewest sessions; of equals the highest number.
    fn retire(&mut self, region: &ManagedRegion, staying: &[&Slot], surplus: usize, now: Timestamp) -> Vec<u32> {
        let mut order: Vec<&&Slot> = staying.iter().collect();
        order.sort_by_key(|slot| (slot.serves(), slot.sessions().unwrap_or(u64::MAX), std::cmp::Reverse(slot.index)));
        let deadline = after(now, region.retire_drain);
        let mut victims = Vec::new();
        for slot in order.into_iter().take(surplus.min(MOST_PER_PASS)) {
            victims.push(slot.index);
            self.steps.push(Step::Mark { slot: slot.index, intent: Some(Intent::Retire { deadline }) });
            self.choices.push(Choice {
                kind: "drain",
                reason: "ScaleDown",
                slot: Some(slot.index),
                message: format!("slot {} is drained: {} relays are wanted", slot.index, self.desired),
                inputs: json!({
                    "desired": self.desired, "present": staying.len(), "deadline": deadline,
                    "serves": slot.serves(), "sessions": slot.sessions(),
                }),
            });
        }
        self.partial |= surplus > MOST_PER_PASS;
        victims
    }

    /// Slots that are to go: told to drain until they may end, then deleted.
    fn end<'a>(&mut self, going: impl Iterator<Item = &'a Slot>, now: Timestamp) {
        for slot in going {
            match may_end(slot, now) {
                Ok(()) => {
                    self.steps.push(Step::Delete { slot: slot.index });
                    self.choices.push(Choice {
                        kind: "delete",
                        reason: "Drained",
                        slot: Some(slot.index),
                        message: format!("slot {} is deleted: its node is drained", slot.index),
                        inputs: json!({"sessions": slot.sessions(), "deadline": slot.intent().map(Intent::deadline)}),
                    });
                }
                Err(waits) => self.wait(slot, &waits),
            }
        }
    }

    /// Slots that stay: held at their template, or exchanged, a few at a time.
    fn keep(&mut self, region: &ManagedRegion, staying: &[&Slot], victims: &[u32], revision: &str, now: Timestamp) {
        let staying: Vec<&&Slot> = staying.iter().filter(|slot| !victims.contains(&slot.index)).collect();
        let is_out = |slot: &Slot| slot.intent().is_some() || !slot.serves();
        let mut out = staying.iter().filter(|slot| is_out(slot)).count();
        for slot in staying {
            let index = slot.index;
            if slot.revision() == Some(revision) {
                self.hold(slot, revision);
            } else if let Some(Intent::Exchange { .. }) = slot.intent() {
                match may_end(slot, now) {
                    Ok(()) => self.replace(slot, revision, "Drained"),
                    Err(waits) => self.wait(slot, &waits),
                }
            } else if !slot.pod.as_ref().is_some_and(super::observed::NodePod::may_serve) {
                self.replace(slot, revision, "NotRunning");
            } else if out < region.max_unavailable as usize || !slot.serves() {
                out += usize::from(!is_out(slot));
                let deadline = after(now, region.exchange_drain);
                self.steps.push(Step::Mark { slot: index, intent: Some(Intent::Exchange { deadline }) });
                self.choices.push(Choice {
                    kind: "drain",
                    reason: "Upgrade",
                    slot: Some(index),
                    message: format!("slot {index} is drained: its template changes"),
                    inputs: json!({
                        "from": slot.revision(), "to": revision, "deadline": deadline, "outOfService": out,
                        "maxUnavailable": region.max_unavailable, "sessions": slot.sessions(),
                    }),
                });
            } else {
                self.waiting.push(format!("slot {index} waits for its turn to be exchanged"));
            }
        }
    }

    fn hold(&mut self, slot: &Slot, revision: &str) {
        self.steps.push(Step::Hold { slot: slot.index });
        let new_pod_serves =
            slot.serves() && slot.pod.as_ref().is_some_and(|pod| pod.revision.as_deref() == Some(revision));
        if slot.intent().is_some() {
            if new_pod_serves {
                self.steps.push(Step::Mark { slot: slot.index, intent: None });
            } else {
                self.waiting.push(format!("slot {} waits for its new node to serve", slot.index));
            }
        }
        // A drain that nobody wants any more, such as one begun for an exchange that was taken back.
        if let NodeReport::Says(status) = &slot.node
            && status.drain.is_some_and(|drain| !drain.terminating)
        {
            self.steps.push(Step::Tell { slot: slot.index, state: SetState::Active });
        }
    }

    fn replace(&mut self, slot: &Slot, revision: &str, reason: &'static str) {
        self.steps.push(Step::Replace { slot: slot.index });
        self.choices.push(Choice {
            kind: "update",
            reason,
            slot: Some(slot.index),
            message: format!("slot {} gets its new template", slot.index),
            inputs: json!({"from": slot.revision(), "to": revision, "sessions": slot.sessions()}),
        });
    }

    fn wait(&mut self, slot: &Slot, waits: &WaitsFor) {
        self.waiting.push(format!("slot {} waits for {waits}", slot.index));
        let Some(intent) = slot.intent() else { return };
        let NodeReport::Says(status) = &slot.node else { return };
        let told = status.drain.is_some_and(|drain| drain.terminating || drain.deadline == intent.deadline());
        if !told {
            self.steps.push(Step::Tell { slot: slot.index, state: SetState::Draining { deadline: intent.deadline() } });
        }
    }

    pub fn limit_texts(&self) -> Vec<&'static str> {
        self.limited_by.iter().map(|limit| limit.text()).collect()
    }
}

/// Whole seconds, so that a deadline reads back as it was written.
fn after(now: Timestamp, span: Duration) -> Timestamp {
    let second = now.as_second().saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
