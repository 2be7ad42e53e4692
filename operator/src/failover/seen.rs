//! What is there: regions with their relays, and which of those can be published.

use std::net::IpAddr;

use rtcfleet_crds::turn_region::Protocol;

/// A region as it is observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub name: String,
    /// What it offers to callers, and probers try.
    pub transports: Vec<Protocol>,
    pub nodes: Vec<Node>,
    /// Nodes that it has, in whole nodes. None: nobody knows.
    pub capacity: Option<f64>,
    /// How busy they are, in whole nodes. None: nobody knows.
    pub load: Option<f64>,
}

/// A relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// What callers are told: at most one of each family.
    pub addresses: Vec<IpAddr>,
    pub state: NodeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Ready,
    /// Kubernetes says so. It may be Kubernetes that is cut off.
    NotReady,
    /// It takes no new sessions, by its own word or ours.
    Draining,
}

impl Seen {
    /// Relays that an answer may hold, by name. Of a region of which more than half looks not ready at once, all are:
    /// what fails then is more likely the view than the region, and probes say whether callers reach it.
    pub fn takers(&self) -> Vec<&Node> {
        let mut staying: Vec<&Node> = self.nodes.iter().filter(|node| node.state != NodeState::Draining).collect();
        staying.sort_by(|a, b| a.name.cmp(&b.name));
        let ready = staying.iter().filter(|node| node.state == NodeState::Ready).count();
        if ready * 2 >= staying.len() {
            staying.retain(|node| node.state == NodeState::Ready);
        }
        staying
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::seen;
    use super::*;

    fn takers(states: &[NodeState]) -> usize {
        let mut region = seen("a", 0, states.len());
        region.nodes.iter_mut().zip(states).for_each(|(node, state)| node.state = *state);
        region.takers().len()
    }

    #[test]
    fn draining_relays_leave_and_so_do_those_that_are_not_ready_unless_most_seem_so_at_once() {
        use NodeState::{Draining, NotReady, Ready};
        for (case, states, expected) in [
            ("all are ready", &[Ready, Ready, Ready][..], 3),
            ("one drains", &[Ready, Draining, Ready], 2),
            ("one is not ready", &[Ready, NotReady, Ready], 2),
            ("half are not", &[Ready, NotReady], 1),
            ("more than half: the view is not believed", &[Ready, NotReady, NotReady], 3),
            ("none is", &[NotReady, NotReady], 2),
            ("all drain", &[Draining, Draining], 0),
            ("the last one that does not drain stays", &[Draining, NotReady], 1),
        ] {
            assert_eq!(takers(states), expected, "{case}");
        }
    }
}
