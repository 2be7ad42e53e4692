//! The operator's own policy: the code that decides in the cluster, over slots of the simulation.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtcfleet_node_api::SetState;

use super::node::{self, NodeId};
use super::region::Region;
use super::time::{Clock, Millis};
use crate::fleet::history::History;
use crate::fleet::load::Load;
use crate::fleet::pace;
use crate::fleet::plan::{Plan, Situation, Step, plan};
use crate::fleet::policy::Policy;
use crate::fleet::scale::{self, OtherRegion, Scale, Seen};
use crate::fleet::slot::{Intent, Slot};

/// Leases that are asked about in a look, as in the cluster.
const MISSED_AT_A_TIME: usize = 8;

/// What the operator keeps of a region: its Deployments, and what it remembers.
pub struct RtcFleet {
    policy: Policy,
    slots: BTreeMap<u32, Deployment>,
    history: History,
    pub desired: u32,
    /// As it was measured last.
    pub load: Option<(Instant, Load)>,
}

struct Deployment {
    revision: u32,
    intent: Option<Intent>,
    node: NodeId,
}

impl RtcFleet {
    /// With so many nodes that serve.
    pub fn begin(policy: Policy, nodes: u32, region: &mut Region, clock: &Clock) -> Self {
        let slot = |index| (index, Deployment { revision: 0, intent: None, node: region.begin_with(index, 0) });
        let slots = (0..nodes).map(slot).collect();
        Self { policy, slots, history: History::new(clock.origin), desired: nodes, load: None }
    }

    /// One look, as in the cluster. `others` are the other regions of the group; None for one whose load is not known.
    pub fn look(
        &mut self,
        region: &mut Region,
        others: &[Option<OtherRegion>],
        revision: u32,
        now: Millis,
        clock: &Clock,
    ) -> Duration {
        self.follow_evictions(region);
        let slots = self.seen(region, now, clock);
        let machines = region.machines();
        let revision_name = node::name_of(revision);
        let known: Vec<OtherRegion> = others.iter().flatten().cloned().collect();
        let seen = Seen {
            slots: &slots,
            machines: &machines,
            others: &known,
            all_known: known.len() == others.len(),
            before: Some(self.desired),
            now: clock.timestamp(now),
            instant: clock.instant(now),
        };
        let scale = scale::decide(&self.policy.count, &seen, &mut self.history);
        let plan = plan(Situation {
            policy: &self.policy,
            scale: &scale,
            slots: &slots,
            machines: &machines,
            revision: &revision_name,
            now: seen.now,
        });
        self.load = Some((seen.instant, scale.load));
        self.apply(&scale, &plan, region, revision, now, clock);
        pace::next_look(&slots, scale.desired, &plan.rollout, &plan.waiting, seen.now)
    }

    /// The slots. Of a node that does not answer, the Lease of its kubelet is asked about: Kubernetes notices later.
    fn seen(&self, region: &mut Region, now: Millis, clock: &Clock) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.slots.values().filter_map(|one| one.seen(region, now, clock)).collect();
        for slot in slots.iter_mut().filter(|slot| slot.is_silent() && !slot.is_lost).take(MISSED_AT_A_TIME) {
            let node = self.slots.get(&slot.index).and_then(|held| region.node(held.node));
            slot.is_lost = node.is_some_and(|node| region.is_cut_off(node, now));
        }
        slots
    }

    fn apply(&mut self, scale: &Scale, plan: &Plan, region: &mut Region, revision: u32, now: Millis, clock: &Clock) {
        self.desired = scale.desired;
        for step in &plan.steps {
            match step {
                Step::Create { slot } => {
                    let node = region.make(*slot, revision, now);
                    self.slots.insert(*slot, Deployment { revision, intent: None, node });
                }
                Step::Delete { slot } => {
                    if let Some(gone) = self.slots.remove(slot) {
                        region.end(gone.node, now);
                    }
                }
                Step::Hold { slot: _ } => {}
                Step::Replace { slot } => {
                    if let Some(held) = self.slots.get_mut(slot) {
                        region.end(held.node, now);
                        (held.revision, held.node) = (revision, region.make(*slot, revision, now));
                    }
                }
                Step::Mark { slot, intent } => {
                    if let Some(held) = self.slots.get_mut(slot) {
                        held.intent = *intent;
                    }
                }
                Step::Tell { slot, state } => {
                    let Some(held) = self.slots.get(slot) else { continue };
                    match state {
                        SetState::Active => region.activate(held.node),
                        SetState::Draining { deadline, alternates: _ } => {
                            region.drain(held.node, clock.millis(*deadline), false, now);
                        }
                    }
                }
            }
        }
    }

    /// A pod that Kubernetes made in the place of another one has the number of its slot.
    fn follow_evictions(&mut self, region: &Region) {
        for (slot, held) in &mut self.slots {
            if region.node(held.node).is_none()
                && let Some(node) = region.nodes().find(|node| node.slot == *slot)
            {
                held.node = node.id;
            }
        }
    }
}

impl Deployment {
    fn seen(&self, region: &mut Region, now: Millis, clock: &Clock) -> Option<Slot> {
        let answer = region.answer(self.node);
        let node = region.node(self.node)?;
        Some(node::slot(node, region.view(node), (self.revision, self.intent), answer, now, clock))
    }
}
