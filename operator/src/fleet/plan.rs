//! What to do next with a fleet's slots. Same input, same plan.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rtcfleet_node_api::{MAX_ALTERNATES, NodeState, NodeStatus, SetState};
use serde_json::{Value, json};

use super::ending::{WaitsFor, may_end};
use super::machine::{self, Machine};
use super::policy::Policy;
use super::rollout::{self, Rollout};
use super::scale::{Scale, relays_are};
use super::slot::{Intent, NodePod, NodeReport, Slot};
use super::victims;

/// Slots created, retired or exchanged in one pass; the rest follows in the next one.
pub const MOST_PER_PASS: usize = 32;

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub choices: Vec<Choice>,
    /// Slots that wait for something, in words, for conditions and for `operator explain`.
    pub waiting: Vec<String>,
    /// More is to be done than one pass may do.
    pub partial: bool,
    pub rollout: Rollout,
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

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    pub policy: &'a Policy,
    pub scale: &'a Scale,
    pub slots: &'a [Slot],
    pub machines: &'a [Machine],
    /// What the nodes should run.
    pub revision: &'a str,
    pub now: Timestamp,
}

/// Decides the next steps of a fleet.
pub fn plan(situation: Situation<'_>) -> Plan {
    let live = || situation.slots.iter().filter(|slot| !slot.is_being_deleted);
    let (going, staying): (Vec<&Slot>, Vec<&Slot>) = live().partition(|slot| slot.is_going());
    let rollout = rollout::judge(situation.policy, &staying, situation.revision, situation.now);
    let crew = Crew::of(&situation, &rollout, &going, &staying);
    let plan = Plan { steps: Vec::new(), choices: Vec::new(), waiting: Vec::new(), partial: false, rollout };
    let mut planner = Planner { situation, crew, alternates: OnceCell::new(), plan };

    planner.halt();
    let back = planner.bring_back(&going);
    planner.create(back.len());
    planner.end(going.iter().filter(|slot| !back.contains(&slot.index)).copied());
    let superseded = planner.supersede(&staying);
    let staying: Vec<&Slot> = staying.into_iter().filter(|slot| !superseded.contains(&slot.index)).collect();
    let retired = planner.retire(&going, &staying);
    planner.keep(staying.iter().filter(|slot| !retired.contains(&slot.index)));
    planner.plan
}

/// How many nodes there are against how many there should be.
#[derive(Clone, Copy, Debug, Default)]
struct Crew {
    wanted: usize,
    /// Nodes that stay and can be counted on.
    present: usize,
    /// Nodes whose machine is lost. What Kubernetes makes in their place comes later, and they may come back.
    lost: usize,
    /// Machines on which a node could be made now.
    spare: usize,
    /// Nodes of the new revision to make before old ones go.
    surge: usize,
    /// Nodes more than wanted, each in the place of one of an old revision.
    extra: usize,
    /// Nodes that may be out of service for an exchange in their place.
    budget: usize,
}

impl Crew {
    fn of(situation: &Situation<'_>, rollout: &Rollout, going: &[&Slot], staying: &[&Slot]) -> Self {
        let lost = staying.iter().filter(|slot| slot.is_lost).count();
        let present = staying.len() - lost;
        let wanted = situation.scale.desired as usize;
        let spare = machine::spare(situation.machines, situation.slots);
        let crew = Self { wanted, present, lost, spare, ..Self::default() };
        let (current, outdated): (Vec<&Slot>, Vec<&Slot>) =
            staying.iter().partition(|slot| slot.revision.as_deref() == Some(situation.revision));
        let proven = current.iter().filter(|slot| slot.is_proven(situation.revision, situation.now)).count();
        let over = present.saturating_sub(wanted).min(outdated.len());
        match *rollout {
            Rollout::Done | Rollout::Paused => crew,
            // What was made first is not proven: it is no surplus, and nothing goes for it.
            Rollout::Canary { .. } | Rollout::Failed { .. } => Self { extra: over.min(current.len() - proven), ..crew },
            Rollout::Next(may) => {
                let superseding =
                    going.iter().filter(|slot| matches!(slot.intent, Some(Intent::Supersede { .. }))).count();
                let may = (may as usize).saturating_sub(superseding);
                let extra = over.min(may).min(proven);
                // A machine to spare makes an upgrade cost no capacity.
                let surge = if extra == 0 && present == wanted { may.min(spare).min(outdated.len()) } else { 0 };
                Self { extra, surge, budget: may.saturating_sub(extra + surge), ..crew }
            }
        }
    }

    /// Fewer than wanted: nodes to make or to bring back. A lost one is replaced where there is a machine for it.
    fn missing(&self) -> usize {
        let short = self.wanted.saturating_sub(self.present);
        let replaced = short.min(self.lost);
        (short - replaced) + replaced.min(self.spare)
    }

    fn surplus(&self) -> usize {
        self.present.saturating_sub(self.wanted + self.extra)
    }
}

struct Planner<'a> {
    situation: Situation<'a>,
    crew: Crew,
    /// See [`alternates`]: put together for the first node that drains, and the same for all of them.
    alternates: OnceCell<Vec<IpAddr>>,
    plan: Plan,
}

impl Planner<'_> {
    /// A revision that does not serve is told of: nothing else is touched for it.
    fn halt(&mut self) {
        let Some((slot, message)) = self.plan.rollout.failure() else { return };
        let inputs = json!({"revision": self.situation.revision, "present": self.crew.present});
        self.choose("halt", "UpgradeFailed", Some(slot), message, inputs);
    }

    /// Slots on their way out are taken back before new ones are made: they run already. The busiest first.
    fn bring_back(&mut self, going: &[&Slot]) -> Vec<u32> {
        let missing = self.crew.missing();
        let mut able: Vec<&&Slot> = going.iter().filter(|slot| slot.can_return() && !slot.is_lost).collect();
        able.sort_by_key(|slot| (std::cmp::Reverse(slot.sessions()), slot.index));
        let mut back = Vec::new();
        for slot in able.into_iter().take(missing) {
            back.push(slot.index);
            self.restore(slot, "ScaleUp", format!("slot {} stays: it was to go, and is wanted again", slot.index));
        }
        back
    }

    /// Nothing is to happen with the slot any more.
    fn restore(&mut self, slot: &Slot, reason: &'static str, message: String) {
        self.step(Step::Mark { slot: slot.index, intent: None });
        if slot.state() == Some(NodeState::Draining) || slot.state() == Some(NodeState::Drained) {
            self.step(Step::Tell { slot: slot.index, state: SetState::Active });
        }
        let inputs = json!({"desired": self.crew.wanted, "present": self.crew.present, "sessions": slot.sessions()});
        self.choose("restore", reason, Some(slot.index), message, inputs);
    }

    fn create(&mut self, back: usize) {
        let Situation { slots, scale, .. } = self.situation;
        let missing = self.crew.missing().saturating_sub(back);
        let all = missing + self.crew.surge;
        let free = (0_u32..).filter(|index| !slots.iter().any(|slot| slot.index == *index));
        for (nth, slot) in free.take(all.min(MOST_PER_PASS)).enumerate() {
            self.step(Step::Create { slot });
            let (reason, message) = if nth < missing {
                (scale.reason, format!("slot {slot} is made: {} wanted", relays_are(scale.desired)))
            } else {
                ("Surge", format!("slot {slot} is made with the new template before an old one goes"))
            };
            let inputs = json!({
                "desired": self.crew.wanted, "present": slots.len(), "lost": self.crew.lost, "spare": self.crew.spare,
                "limitedBy": scale.limited_by.iter().map(|limit| limit.text()).collect::<Vec<_>>(),
            });
            self.choose("create", reason, Some(slot), message, inputs);
        }
        self.plan.partial |= all > MOST_PER_PASS;
    }

    /// Slots that are to go: told to drain until they may end, then deleted.
    fn end<'a>(&mut self, going: impl Iterator<Item = &'a Slot>) {
        for slot in going {
            match may_end(slot, self.situation.now) {
                Ok(()) => {
                    self.step(Step::Delete { slot: slot.index });
                    let inputs = json!({"sessions": slot.sessions(), "deadline": slot.intent.map(Intent::deadline)});
                    let message = format!("slot {} is deleted: its node is drained", slot.index);
                    self.choose("delete", "Drained", Some(slot.index), message, inputs);
                }
                Err(waits) => self.wait(slot, &waits),
            }
        }
    }

    /// Nodes of the new revision serve beside these: they go instead of being exchanged in their place.
    fn supersede(&mut self, staying: &[&Slot]) -> Vec<u32> {
        let Situation { policy, revision, machines, now, .. } = self.situation;
        if !matches!(self.plan.rollout, Rollout::Next(_)) {
            return Vec::new();
        }
        let outdated: Vec<&Slot> = staying.iter().copied().filter(|slot| self.is_outdated(slot)).collect();
        let deadline = after(now, policy.exchange_drain);
        let order = victims::order(&outdated, machines, revision);
        let mut superseded = Vec::new();
        for slot in order.iter().take(self.crew.extra) {
            superseded.push(slot.index);
            self.step(Step::Mark { slot: slot.index, intent: Some(Intent::Supersede { deadline }) });
            let message = format!("slot {} is drained: a relay with the new template serves in its place", slot.index);
            let inputs = json!({
                "from": slot.revision, "to": revision, "deadline": deadline, "present": self.crew.present,
                "desired": self.crew.wanted, "order": victims::told(&order, machines, revision),
            });
            self.choose("drain", "Superseded", Some(slot.index), message, inputs);
        }
        superseded
    }

    /// There are too many: a few at a time are drained.
    fn retire(&mut self, going: &[&Slot], staying: &[&Slot]) -> Vec<u32> {
        let Situation { policy, scale, revision, machines, now, .. } = self.situation;
        let surplus = self.crew.surplus();
        if surplus == 0 {
            return Vec::new();
        }
        let draining = going.iter().filter(|slot| matches!(slot.intent, Some(Intent::Retire { .. }))).count();
        let most = policy.max_draining.map_or((staying.len() / 4).max(1), |most| most as usize);
        let here: Vec<&Slot> = staying.iter().copied().filter(|slot| !slot.is_lost).collect();
        let order = victims::order(&here, machines, revision);
        let deadline = after(now, policy.retire_drain);
        let mut retired = Vec::new();
        for slot in order.iter().take(surplus.min(most.saturating_sub(draining)).min(MOST_PER_PASS)) {
            retired.push(slot.index);
            self.step(Step::Mark { slot: slot.index, intent: Some(Intent::Retire { deadline }) });
            let message = format!("slot {} is drained: {} wanted", slot.index, relays_are(scale.desired));
            let inputs = json!({
                "desired": self.crew.wanted, "present": self.crew.present, "draining": draining, "maxDraining": most,
                "deadline": deadline, "order": victims::told(&order, machines, revision),
            });
            self.choose("drain", "ScaleDown", Some(slot.index), message, inputs);
        }
        if surplus > retired.len() {
            self.plan.waiting.push("relays that are too many wait until others have drained".to_owned());
        }
        retired
    }

    /// Slots that stay: held at their template, or exchanged, a few at a time.
    fn keep<'a>(&mut self, staying: impl Iterator<Item = &'a &'a Slot> + Clone) {
        let Situation { policy, revision, now, .. } = self.situation;
        let is_out = |slot: &Slot| !slot.is_lost && (slot.intent.is_some() || !slot.serves());
        let mut out = staying.clone().filter(|slot| is_out(slot)).count();
        for &slot in staying {
            let index = slot.index;
            let exchanging = matches!(slot.intent, Some(Intent::Exchange { .. }));
            let runs = slot.pod.as_ref().is_some_and(NodePod::may_serve);
            let may_begin = matches!(self.plan.rollout, Rollout::Next(_));
            if !self.is_outdated(slot) {
                self.hold(slot);
            } else if exchanging && matches!(self.plan.rollout, Rollout::Failed { .. }) {
                self.restore(
                    slot,
                    "UpgradeFailed",
                    format!("slot {index} stays as it is: the new template does not serve"),
                );
            } else if exchanging {
                match may_end(slot, now) {
                    Ok(()) => self.replace(slot, "Drained"),
                    Err(waits) => self.wait(slot, &waits),
                }
            } else if slot.is_lost {
                self.plan.waiting.push(format!("slot {index} waits for its machine to come back"));
            } else if may_begin && !runs {
                self.replace(slot, "NotRunning");
            } else if may_begin && (out < self.crew.budget || !slot.serves()) {
                out += usize::from(!is_out(slot));
                let deadline = after(now, policy.exchange_drain);
                self.step(Step::Mark { slot: index, intent: Some(Intent::Exchange { deadline }) });
                let inputs = json!({
                    "from": slot.revision, "to": revision, "deadline": deadline, "outOfService": out,
                    "maxUnavailable": policy.max_unavailable, "sessions": slot.sessions(),
                });
                let message = format!("slot {index} is drained: its template changes");
                self.choose("drain", "Upgrade", Some(index), message, inputs);
            } else {
                self.stay_active(slot);
                self.plan.waiting.push(format!("slot {index} waits {}", why_not_now(&self.plan.rollout)));
            }
        }
    }

    fn is_outdated(&self, slot: &Slot) -> bool {
        slot.revision.as_deref() != Some(self.situation.revision)
    }

    fn hold(&mut self, slot: &Slot) {
        let revision = Some(self.situation.revision);
        self.step(Step::Hold { slot: slot.index });
        let new_pod_serves = slot.serves() && slot.pod.as_ref().is_some_and(|pod| pod.revision.as_deref() == revision);
        if slot.intent.is_some() {
            if new_pod_serves {
                self.step(Step::Mark { slot: slot.index, intent: None });
            } else {
                self.plan.waiting.push(format!("slot {} waits for its new node to serve", slot.index));
            }
        }
        self.stay_active(slot);
    }

    /// Ends a drain that nobody wants any more, such as one begun for an exchange that was taken back.
    fn stay_active(&mut self, slot: &Slot) {
        if let NodeReport::Says(status) = &slot.node
            && status.drain.as_ref().is_some_and(|drain| !drain.terminating)
        {
            self.step(Step::Tell { slot: slot.index, state: SetState::Active });
        }
    }

    fn replace(&mut self, slot: &Slot, reason: &'static str) {
        self.step(Step::Replace { slot: slot.index });
        let inputs = json!({"from": slot.revision, "to": self.situation.revision, "sessions": slot.sessions()});
        self.choose("update", reason, Some(slot.index), format!("slot {} gets its new template", slot.index), inputs);
    }

    fn wait(&mut self, slot: &Slot, waits: &WaitsFor) {
        self.plan.waiting.push(format!("slot {} waits for {waits}", slot.index));
        let Some(intent) = slot.intent else { return };
        let NodeReport::Says(status) = &slot.node else { return };
        let deadline = intent.deadline();
        let able = self.alternates.get_or_init(|| alternates(self.situation.slots));
        let told = status.drain.as_ref().is_some_and(|drain| {
            let good =
                drain.alternates.iter().all(|one| able.contains(one)) && drain.alternates.is_empty() == able.is_empty();
            drain.terminating || (drain.deadline == deadline && (good || !knows_alternates(status)))
        });
        if !told {
            let most = if knows_alternates(status) { MAX_ALTERNATES } else { 0 };
            let alternates = able.iter().take(most).copied().collect();
            self.step(Step::Tell { slot: slot.index, state: SetState::Draining { deadline, alternates } });
        }
    }

    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    fn choose(&mut self, kind: &'static str, reason: &'static str, slot: Option<u32>, message: String, inputs: Value) {
        self.plan.choices.push(Choice { kind, reason, slot, message, inputs });
    }
}

/// Where a node that drains can send new clients: nodes that stay, those with the fewest sessions first.
fn alternates(slots: &[Slot]) -> Vec<IpAddr> {
    let stays = |slot: &&Slot| slot.serves() && slot.intent.is_none() && !slot.is_lost && !slot.is_being_deleted;
    let mut able: Vec<(u64, u32, &[IpAddr])> = slots
        .iter()
        .filter(stays)
        .filter_map(|slot| match &slot.node {
            NodeReport::Says(status) => Some((status.sessions.allocations, slot.index, &status.public_addresses[..])),
            NodeReport::Silent { .. } | NodeReport::Absent => None,
        })
        .collect();
    able.sort_unstable();
    able.into_iter().flat_map(|(.., addresses)| addresses.iter().copied()).collect()
}

/// A node of a release before alternates refuses a drain that has them. It does not say either whether it relays.
fn knows_alternates(status: &NodeStatus) -> bool {
    status.relaying.is_some()
}

fn why_not_now(rollout: &Rollout) -> String {
    match rollout {
        Rollout::Done | Rollout::Next(_) => "for its turn to be exchanged".to_owned(),
        Rollout::Canary { slot } => format!("for slot {slot}, which has the new template, to prove itself"),
        Rollout::Paused => "because upgrade.paused is true".to_owned(),
        Rollout::Failed { slot, .. } => format!("because slot {slot} does not serve with the new template"),
    }
}

/// Whole seconds, so that a deadline reads back as it was written.
fn after(now: Timestamp, span: Duration) -> Timestamp {
    let second = now.as_second().saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
