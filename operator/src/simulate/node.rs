//! A node of the simulation: a pod, and the media node in it.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;
use rtcfleet_node_api::{Drain, NodeState, Sessions};

use super::random::Random;
use super::time::{Clock, Millis, SECOND};
use crate::fleet::imagined;
use crate::fleet::slot::{Intent, NodePod, NodeReport, Slot};

/// What one call takes of a node.
pub const CALL: f64 = 1.0 / 400.0;
/// How often a node samples its counters, and over how many samples it tells its load.
pub const SAMPLE: Millis = 5 * SECOND;
const WINDOW: usize = 3;

pub type NodeId = u32;
pub type CallId = u32;

/// A pod of a Deployment, and the process in it.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: NodeId,
    /// Of the Deployment.
    pub slot: u32,
    pub revision: u32,
    pub created: Millis,
    /// Index of its machine. None: it waits for one.
    pub machine: Option<usize>,
    /// Begun again on the same machine so many times: what was meant for an earlier process does not reach it.
    pub starts: u32,
    /// Since when it serves.
    pub ready: Option<Millis>,
    /// A session of its own went through it.
    pub proven: bool,
    pub drain: Option<Draining>,
    pub calls: BTreeSet<CallId>,
    /// Load that comes from no call, in parts of a node a minute since it serves.
    pub leak: f64,
    pub meter: Meter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    pub since: Millis,
    pub deadline: Millis,
    /// Kubernetes ends it.
    pub terminating: bool,
}

impl Node {
    /// Of itself; whether its machine is there is another question.
    pub fn is_active(&self) -> bool {
        self.ready.is_some() && self.drain.is_none()
    }

    pub fn is_terminating(&self) -> bool {
        self.drain.is_some_and(|drain| drain.terminating)
    }

    /// In parts of what it can carry.
    pub fn load(&self, now: Millis) -> f64 {
        let serves = self.ready.map_or(0, |since| now.saturating_sub(since)) as f64 / (60.0 * SECOND as f64);
        (self.calls.len() as f64 * CALL + serves * self.leak).min(1.0)
    }

    pub fn has_room(&self, now: Millis) -> bool {
        self.load(now) + CALL <= 1.0 + 1e-9
    }

    pub fn state(&self, now: Millis) -> NodeState {
        match self.drain {
            _ if self.ready.is_none() => NodeState::Starting,
            None => NodeState::Active,
            Some(drain) if self.calls.is_empty() || now >= drain.deadline => NodeState::Drained,
            Some(_) => NodeState::Draining,
        }
    }

    /// The process is begun again: its calls are gone with the old one.
    pub fn restart(&mut self) {
        self.starts += 1;
        (self.ready, self.proven, self.drain) = (None, false, None);
        self.meter = Meter::default();
    }
}

/// The load as the node tells it: the mean over a window, from samples.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Load × milliseconds since the node began, and since when it is as it is.
    sum: f64,
    at: Millis,
    samples: VecDeque<(Millis, f64)>,
}

impl Meter {
    /// It was `load` since the last call.
    pub fn passed(&mut self, now: Millis, load: f64) {
        self.sum += load * now.saturating_sub(self.at) as f64;
        self.at = now;
    }

    pub fn sample(&mut self) {
        self.samples.push_back((self.at, self.sum));
        if self.samples.len() > WINDOW + 1 {
            self.samples.pop_front();
        }
    }

    pub fn begin(now: Millis) -> Self {
        Self { at: now, ..Self::default() }
    }

    /// None before there are two samples.
    pub fn reading(&self) -> Option<f64> {
        let ((from, before), (to, sum)) = (self.samples.front()?, self.samples.back()?);
        (to > from).then(|| (sum - before) / (to - from) as f64)
    }
}

/// What goes wrong on the way from nodes to those who decide.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Readings {
    /// Nobody gets any.
    pub dead: bool,
    /// Part of them that does not arrive.
    pub missing: f64,
    /// Standard deviation of what is read, in parts of what is true.
    pub noise: f64,
}

/// What a node says when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    Silent,
    /// Its load, once there are two samples.
    Says(Option<f64>),
}

impl Readings {
    /// The node's answer, as it arrives.
    pub fn of(&self, node: &Node, random: &mut Random) -> Answer {
        if self.dead || (self.missing > 0.0 && random.part() < self.missing) {
            return Answer::Silent;
        }
        let noise = if self.noise > 0.0 { 1.0 + self.noise * random.normal() } else { 1.0 };
        Answer::Says(node.meter.reading().map(|reading| (reading * noise).clamp(0.0, 1.0)))
    }
}

/// What the control plane knows of a node's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineView {
    pub name: String,
    /// It is cut off, and Kubernetes has noticed.
    pub noticed: bool,
}

/// The node as decisions see it. `answer` is what it said when it was asked.
pub fn slot(
    node: &Node,
    machine: Option<MachineView>,
    (revision, intent): (u32, Option<Intent>),
    answer: Answer,
    now: Millis,
    clock: &Clock,
) -> Slot {
    let at = |millis| clock.timestamp(millis);
    let noticed = machine.as_ref().is_some_and(|machine| machine.noticed);
    let took = node.ready.filter(|_| node.starts == 0).map(|ready| ready.saturating_sub(node.created));
    let pod = NodePod {
        name: node.id.to_string(),
        uid: node.id.to_string(),
        revision: Some(name_of(node.revision)),
        waiting_for: match (&machine, node.ready) {
            (None, _) => Some("Unschedulable".to_owned()),
            (Some(_), None) => Some("ContainerCreating".to_owned()),
            (Some(_), Some(_)) => None,
        },
        machine: machine.map(|machine| machine.name),
        host_ip: None,
        ready: node.ready.is_some() && !noticed,
        running: node.ready.is_some(),
        terminating: node.is_terminating(),
        created: Some(at(node.created)),
        start: took.map(std::time::Duration::from_millis),
    };
    let report = match (node.ready, answer) {
        (None, _) => NodeReport::Absent,
        (Some(_), Answer::Silent) => NodeReport::Silent { why: "no connection".to_owned() },
        (Some(ready), Answer::Says(load)) => NodeReport::Says(Box::new(status(node, load, now, at(ready), &at))),
    };
    Slot {
        index: node.slot,
        name: node.slot.to_string(),
        revision: Some(name_of(revision)),
        intent,
        is_being_deleted: false,
        is_lost: noticed,
        pod: Some(pod),
        node: report,
    }
}

fn status(
    node: &Node,
    load: Option<f64>,
    now: Millis,
    ready: Timestamp,
    at: &impl Fn(Millis) -> Timestamp,
) -> rtcfleet_node_api::NodeStatus {
    let mut status = imagined::status(node.state(now), ready);
    status.drain = node.drain.map(|drain| Drain {
        since: at(drain.since),
        deadline: at(drain.deadline),
        terminating: drain.terminating,
        alternates: Vec::new(),
    });
    status.sessions = Sessions { allocations: node.calls.len() as u64 };
    status.relaying = status.relaying.filter(|_| node.proven);
    status.load = load.map(imagined::load);
    status
}

/// A revision as templates have it.
pub fn name_of(revision: u32) -> String {
    format!("r{revision}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_tells_the_mean_of_the_last_15_seconds() {
        let mut meter = Meter::begin(1_000);
        meter.sample();
        assert_eq!(meter.reading(), None, "one sample is none");
        let mut told = Vec::new();
        for step in 1..=6 {
            // Idle for 10 s, then busy.
            meter.passed(1_000 + step * SAMPLE, if step <= 2 { 0.0 } else { 0.6 });
            meter.sample();
            told.push((meter.reading().unwrap() * 100.0).round());
        }
        assert_eq!(told, [0.0, 0.0, 20.0, 40.0, 60.0, 60.0]);
    }
}
