//! Nodes that nobody runs: for `operator plan`, `operator simulate` and tests.

use std::time::Duration;

use jiff::Timestamp;
use rtcfleet_node_api::{
    CapacitySource, Counters, CpuLoad, Load, NicCapacity, NicLoad, NodeState, NodeStatus, PeerRules, Rate, Relaying,
    Sessions,
};

use super::machine::Machine;
use super::policy::{Count, Policy, Scaling, Target};
use super::slot::{NodePod, NodeReport, Slot};

/// What an interface of a node in thought carries, bits a second: so much that a part of it is a whole number.
const CARRIES: f64 = 1e12;

pub fn machine(name: &str) -> Machine {
    Machine { name: name.to_owned(), usable: true, leaving: false, addressed: true }
}

/// From 2 nodes to 1000, with the defaults of the documentation.
pub fn scaling() -> Scaling {
    Scaling {
        min: 2,
        max: Some(1000),
        target: Target { nic_percent: 65, cpu_percent: 65 },
        headroom_percent: 200,
        survivor_percent: Some(85),
        stabilization: Duration::from_mins(5),
        schedule: Vec::new(),
    }
}

/// The defaults of the documentation.
pub fn policy(count: Count) -> Policy {
    Policy {
        count,
        max_unavailable: 1,
        exchange_drain: Duration::from_hours(1),
        retire_drain: Duration::from_hours(1),
        max_draining: None,
        paused: false,
        progress_deadline: Duration::from_mins(10),
    }
}

/// What an idle node says that has proven itself.
pub fn status(state: NodeState, at: Timestamp) -> NodeStatus {
    NodeStatus {
        state,
        version: "1".into(),
        config_hash: String::new(),
        started_at: at,
        public_addresses: Vec::new(),
        drain: None,
        sessions: Sessions::default(),
        counters: Counters::default(),
        certificate: None,
        limits: None,
        peer_rules: Some(PeerRules { checked_at: at, granted: Vec::new() }),
        relaying: Some(Relaying { checked_at: at, problem: None }),
        load: None,
    }
}

/// Processors and interface are busy to this part of a node, alike.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a node is small and not negative"
)]
pub fn load(part: f64) -> Load {
    let rate = Rate { bits_per_second: (part * CARRIES).round() as u64, packets_per_second: 0, drops_per_second: 0 };
    let capacity = NicCapacity {
        source: CapacitySource::Configured,
        sent_bits_per_second: Some(CARRIES as u64),
        received_bits_per_second: Some(CARRIES as u64),
        packets_per_second: None,
    };
    let percent = part * 100.0;
    Load {
        window_seconds: 15.0,
        cpu: CpuLoad { process_percent: percent, machine_percent: percent, softirq_percent: 0.0 },
        nic: Some(NicLoad { interface: "eth0".into(), sent: rate, received: Rate::default(), capacity }),
    }
}

/// A slot with this load that serves `revision` on `machine`.
pub fn serving(index: u32, revision: &str, machine: &str, status: NodeStatus) -> Slot {
    Slot {
        index,
        name: index.to_string(),
        revision: Some(revision.to_owned()),
        intent: None,
        is_being_deleted: false,
        is_lost: false,
        pod: Some(NodePod {
            name: index.to_string(),
            uid: String::new(),
            revision: Some(revision.to_owned()),
            machine: Some(machine.to_owned()),
            host_ip: None,
            ready: true,
            running: true,
            terminating: false,
            waiting_for: None,
            created: Some(status.started_at),
            start: None,
        }),
        node: NodeReport::Says(Box::new(status)),
    }
}
