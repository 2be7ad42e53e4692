//! What a user asks of a fleet, checked: nothing here can be out of its range.

use std::time::Duration;

use super::schedule::Scheduled;

/// How many nodes, and how they come and go.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub count: Count,
    /// Nodes that may be out of service at a time for an exchange.
    pub max_unavailable: u32,
    /// How long sessions may stay on a node that is exchanged.
    pub exchange_drain: Duration,
    /// How long sessions may stay on a node that is to go.
    pub retire_drain: Duration,
    /// Nodes that may drain at a time because there are too many. None: a quarter of them, at least one.
    pub max_draining: Option<u32>,
    /// No further node is exchanged.
    pub paused: bool,
    /// How long a node of a new revision may take until it is proven.
    pub progress_deadline: Duration,
}

/// Who decides the number of nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Count {
    /// An external scaler: kubectl scale, an HPA or KEDA.
    External(u32),
    /// Nobody: nothing is written.
    Default(u32),
    /// The load, between bounds.
    Follow(Box<Scaling>),
}

impl Count {
    /// As many are needed for the fleet to be ready; more may be wanted because of load.
    pub fn least(&self) -> u32 {
        match self {
            Self::External(count) | Self::Default(count) => *count,
            Self::Follow(scaling) => scaling.min,
        }
    }
}

/// How the number of nodes follows load. R6.3, R8.4.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    pub min: u32,
    /// None: as many as there are machines.
    pub max: Option<u32>,
    /// The load of a node that is aimed at.
    pub target: Target,
    /// Capacity held, in percent of the present load: 100 to 1000.
    pub headroom_percent: u32,
    /// The load in percent that nodes may come to when another region of the group is lost. None: no reserve for that.
    pub survivor_percent: Option<u32>,
    /// The number goes down to the highest that was wanted in this time.
    pub stabilization: Duration,
    pub schedule: Vec<Scheduled>,
}

/// In percent of a node's capacity, 10 to 95.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub nic_percent: u32,
    pub cpu_percent: u32,
}
