//! Fixtures for decisions: slots that serve revision `a`, machines, policies.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rtcfleet_node_api::{CpuLoad, Load, NodeState, NodeStatus, Relaying, Sessions};

use super::imagined;
pub use super::imagined::{machine, policy, scaling};
use super::policy::{Count, Policy, Target};
use super::slot::{NodePod, NodeReport, Slot};

pub const TARGET: Target = Target { nic_percent: 65, cpu_percent: 65 };

pub fn noon() -> Timestamp {
    "2026-02-01T12:00:00Z".parse().expect("a time")
}

pub fn external(count: u32) -> Policy {
    policy(Count::External(count))
}

/// What an idle node says.
pub fn status(state: NodeState) -> NodeStatus {
    imagined::status(state, noon())
}

/// It serves revision `a` on a machine of its own, idle and proven.
pub fn slot(index: u32) -> Slot {
    let mut slot = imagined::serving(index, "a", &format!("own-{index}"), status(NodeState::Active));
    let pod = pod(&mut slot);
    pod.name = format!("centralindia-{index}-x");
    pod.created = Some(noon() - SignedDuration::from_hours(1));
    pod.start = Some(Duration::from_secs(10));
    Slot { name: format!("centralindia-{index}"), ..slot }
}

fn says(slot: &mut Slot) -> &mut NodeStatus {
    let NodeReport::Says(status) = &mut slot.node else { panic!("it answers") };
    status
}

fn pod(slot: &mut Slot) -> &mut NodePod {
    slot.pod.as_mut().expect("it has a pod")
}

/// Busy processors: `part` of a node.
pub fn with_load(mut slot: Slot, part: f64) -> Slot {
    let cpu = CpuLoad { process_percent: part * 100.0, machine_percent: part * 100.0, softirq_percent: 0.0 };
    says(&mut slot).load = Some(Load { window_seconds: 15.0, cpu, nic: None });
    slot
}

pub fn with_sessions(mut slot: Slot, allocations: u64) -> Slot {
    says(&mut slot).sessions = Sessions { allocations };
    slot
}

pub fn on(mut slot: Slot, machine: &str) -> Slot {
    pod(&mut slot).machine = Some(machine.to_owned());
    slot
}

/// It serves another revision.
pub fn old(mut slot: Slot) -> Slot {
    pod(&mut slot).revision = Some("old".into());
    Slot { revision: Some("old".into()), ..slot }
}

pub fn silent(slot: Slot) -> Slot {
    Slot { node: NodeReport::Silent { why: "timed out".into() }, ..slot }
}

pub fn stopped(mut slot: Slot) -> Slot {
    let pod = pod(&mut slot);
    (pod.running, pod.ready) = (false, false);
    Slot { node: NodeReport::Absent, ..slot }
}

/// It runs and has not begun to serve.
pub fn not_ready(mut slot: Slot) -> Slot {
    pod(&mut slot).ready = false;
    says(&mut slot).state = NodeState::Starting;
    slot
}

pub fn draining(mut slot: Slot) -> Slot {
    says(&mut slot).state = NodeState::Draining;
    slot
}

/// It serves, and no session of its own went through it.
pub fn unproven(mut slot: Slot) -> Slot {
    says(&mut slot).relaying = Some(Relaying { checked_at: noon(), problem: Some("no answer to a Binding".into()) });
    slot
}

pub fn waiting_for(slot: Slot, reason: &str) -> Slot {
    let mut slot = stopped(slot);
    pod(&mut slot).waiting_for = Some(reason.to_owned());
    slot
}

/// Its pod was made so many seconds ago.
pub fn aged(mut slot: Slot, seconds: i64) -> Slot {
    pod(&mut slot).created = Some(noon() - SignedDuration::from_secs(seconds));
    slot
}
