//! May this node be ended? One answer, and nothing ends one without it.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rtcfleet_node_api::NodeState;

use super::slot::{NodePod, NodeReport, Slot};

/// How long after its deadline a node that does not answer is taken for drained: it ends its sessions itself.
pub const GRACE: SignedDuration = SignedDuration::from_secs(30);

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
    let Some(intent) = slot.intent else { return Err(WaitsFor::AnIntent) };
    if !slot.pod.as_ref().is_some_and(NodePod::may_serve) {
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
