//! A slot as decisions see it: what Kubernetes and the node in it say, without the objects themselves.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rtcfleet_node_api::{NodeState, NodeStatus};

/// A node says how busy it is, and whether it relays, about 1 s after its listeners are open.
const TELLS_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// What is to happen with a slot. Kept as an annotation of its Deployment, so that a new leader goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Drained until `deadline`, then given the new template; ends when the new node serves.
    Exchange { deadline: Timestamp },
    /// Drained until `deadline`, then deleted: there are too many.
    Retire { deadline: Timestamp },
    /// Drained until `deadline`, then deleted: a node of the new revision serves in its place.
    Supersede { deadline: Timestamp },
}

impl Intent {
    /// What `status.draining` and Events call it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Exchange { .. } => "Upgrade",
            Self::Retire { .. } => "ScaleDown",
            Self::Supersede { .. } => "Superseded",
        }
    }

    /// The slot goes when its node is drained.
    pub fn is_to_go(self) -> bool {
        match self {
            Self::Exchange { .. } => false,
            Self::Retire { .. } | Self::Supersede { .. } => true,
        }
    }

    pub fn deadline(self) -> Timestamp {
        match self {
            Self::Exchange { deadline } | Self::Retire { deadline } | Self::Supersede { deadline } => deadline,
        }
    }

    /// As the annotation holds it.
    pub fn text(self) -> String {
        format!("{} {}", self.reason(), self.deadline())
    }

    /// An annotation that is no intent counts as none: whoever wrote it, the plan decides anew.
    pub fn parse(text: &str) -> Option<Self> {
        let (reason, deadline) = text.split_once(' ')?;
        let deadline = deadline.parse().ok()?;
        match reason {
            "Upgrade" => Some(Self::Exchange { deadline }),
            "ScaleDown" => Some(Self::Retire { deadline }),
            "Superseded" => Some(Self::Supersede { deadline }),
            _ => None,
        }
    }
}

/// One slot: a Deployment of one node, the pod that Kubernetes made of it, and what the node in the pod says.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub index: u32,
    /// Of the Deployment.
    pub name: String,
    /// The revision that its template asks for.
    pub revision: Option<String>,
    pub intent: Option<Intent>,
    pub is_being_deleted: bool,
    /// Its machine is gone or cut off. What runs there may go on, but nobody can count on it.
    pub is_lost: bool,
    /// The youngest pod that is not ending, else the youngest of those that are.
    pub pod: Option<NodePod>,
    pub node: NodeReport,
}

/// What the node in the pod says of itself.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum NodeReport {
    /// Not asked: there is no running pod.
    #[default]
    Absent,
    /// Asked, and no answer.
    Silent {
        why: String,
    },
    Says(Box<NodeStatus>),
}

/// A pod of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePod {
    pub name: String,
    pub uid: String,
    pub revision: Option<String>,
    pub machine: Option<String>,
    pub host_ip: Option<IpAddr>,
    pub ready: bool,
    pub running: bool,
    pub terminating: bool,
    /// Why it does not run or is not ready, as Kubernetes says it.
    pub waiting_for: Option<String>,
    pub created: Option<Timestamp>,
    /// From being made to serving. None if it does not serve, or was started again since.
    pub start: Option<Duration>,
}

impl NodePod {
    /// It can have live sessions.
    pub fn may_serve(&self) -> bool {
        self.running
    }
}

impl Slot {
    /// Serves, and takes new sessions. A node that does not answer us is believed if the kubelet finds it ready:
    /// the way from here to its admin port is not the way that callers take.
    pub fn serves(&self) -> bool {
        let ready = self.pod.as_ref().is_some_and(|pod| pod.ready && !pod.terminating);
        ready
            && match &self.node {
                NodeReport::Says(status) => status.state == NodeState::Active,
                NodeReport::Silent { .. } | NodeReport::Absent => true,
            }
    }

    /// Is to go when it is drained.
    pub fn is_going(&self) -> bool {
        self.intent.is_some_and(Intent::is_to_go)
    }

    /// Serves `revision`, and has shown that it relays: a session of its own went through it. One that does not answer has
    /// shown nothing.
    pub fn is_proven(&self, revision: &str, now: Timestamp) -> bool {
        let runs_it = self.pod.as_ref().and_then(|pod| pod.revision.as_deref()) == Some(revision);
        let NodeReport::Says(status) = &self.node else { return false };
        let relays = match &status.relaying {
            Some(relaying) => relaying.problem.is_none(),
            // It is of a release that cannot tell, or has no room for a session of its own: its own requests were answered.
            None => status.peer_rules.is_some() && self.age(now).is_some_and(|age| age >= TELLS_WITHIN),
        };
        runs_it && relays && self.serves()
    }

    /// Since its pod was made.
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        Some(now.duration_since(self.pod.as_ref()?.created?))
    }

    /// Kubernetes waits for something that does not come by itself soon: an image, a process that stays up.
    /// (Unschedulable for a moment is: the ports are free when the old pod is gone.)
    pub fn is_broken(&self) -> bool {
        let waiting_for = self.pod.as_ref().and_then(|pod| pod.waiting_for.as_deref());
        waiting_for.is_some_and(|reason| !matches!(reason, "ContainerCreating" | "PodInitializing" | "Unschedulable"))
    }

    /// It answers, and cannot have a load to tell of yet: that takes it two looks at its machine.
    pub fn has_just_begun(&self, now: Timestamp) -> bool {
        let NodeReport::Says(status) = &self.node else { return false };
        status.load.is_none() && now.duration_since(status.started_at) < TELLS_WITHIN
    }

    /// It runs, and does not answer.
    pub fn is_silent(&self) -> bool {
        matches!(self.node, NodeReport::Silent { .. })
    }

    /// A node that drains and was not told to end by Kubernetes can take sessions again.
    pub fn can_return(&self) -> bool {
        match &self.node {
            NodeReport::Says(status) => !status.drain.as_ref().is_some_and(|drain| drain.terminating),
            NodeReport::Silent { .. } | NodeReport::Absent => true,
        }
    }

    /// Live sessions, where the node says so.
    pub fn sessions(&self) -> Option<u64> {
        match &self.node {
            NodeReport::Says(status) => Some(status.sessions.allocations),
            NodeReport::Silent { .. } | NodeReport::Absent => None,
        }
    }

    pub fn state(&self) -> Option<NodeState> {
        match &self.node {
            NodeReport::Says(status) => Some(status.state),
            NodeReport::Silent { .. } | NodeReport::Absent => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_survives_being_written_down() {
        let deadline: Timestamp = "2026-02-01T10:00:00Z".parse().unwrap();
        for intent in [Intent::Exchange { deadline }, Intent::Retire { deadline }, Intent::Supersede { deadline }] {
            assert_eq!(Intent::parse(&intent.text()), Some(intent));
        }
        for text in ["", "Upgrade", "Upgrade soon", "Other 2026-02-01T10:00:00Z"] {
            assert_eq!(Intent::parse(text), None, "{text}");
        }
    }
}
