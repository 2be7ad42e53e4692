//! What is there: regions with their relays, and which of those can be published.

use std::net::{IpAddr, SocketAddr};

use rtcfleet_crds::turn_region::Protocol;

use crate::listener::ListenerPort;

/// A region as it is observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub name: String,
    /// What it is to offer to callers.
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
    /// Where it is open to them as it runs. A region that is changed may ask for others, which its relays get one by one
    /// when their calls have ended.
    pub listeners: Vec<ListenerPort>,
    pub state: NodeState,
}

impl Node {
    /// Where callers reach it over a transport.
    pub fn targets(&self, transport: Protocol) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().flat_map(move |address| self.at(*address, transport))
    }

    /// The same at one of its addresses.
    pub fn at(&self, address: IpAddr, transport: Protocol) -> impl Iterator<Item = SocketAddr> {
        let of_transport = self.listeners.iter().filter(move |one| one.protocol == transport);
        of_transport.map(move |one| SocketAddr::new(address, one.port))
    }

    fn opens(&self, transport: Protocol) -> bool {
        self.listeners.iter().any(|one| one.protocol == transport)
    }
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
    /// Transports by which it is judged: those wanted ones that every relay opens which takes calls. One that is on its way
    /// in is missed by nobody yet. Where there is none, because all of them are exchanged for others, what relays open now.
    pub fn judged(&self) -> Vec<Protocol> {
        let takers = self.takers();
        if takers.is_empty() {
            return self.transports.clone();
        }
        let is_open = |transport: &Protocol| takers.iter().any(|node| node.opens(*transport));
        let is_open_everywhere = |transport: &Protocol| takers.iter().all(|node| node.opens(*transport));
        let wanted = self.transports.iter().copied().filter(is_open_everywhere).collect();
        let everywhere = Protocol::ALL.into_iter().filter(is_open_everywhere).collect();
        let anywhere = Protocol::ALL.into_iter().filter(is_open).collect();
        [wanted, everywhere, anywhere].into_iter().find(|found: &Vec<_>| !found.is_empty()).unwrap_or_default()
    }

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
    use super::super::test_support::{listener, seen};
    use super::*;

    fn takers(states: &[NodeState]) -> usize {
        let mut region = seen("a", 0, states.len());
        region.nodes.iter_mut().zip(states).for_each(|(node, state)| node.state = *state);
        region.takers().len()
    }

    #[test]
    fn a_region_is_judged_by_what_callers_may_rely_on_at_each_of_its_relays() {
        use Protocol::{Tcp, Tls, Udp};
        for (case, wanted, open, expected) in [
            ("all is as it is wanted", &[Udp, Tls][..], &[&[Udp, Tls][..], &[Udp, Tls]][..], &[Udp, Tls][..]),
            ("one more is wanted, and no relay has it", &[Udp, Tls], &[&[Udp], &[Udp]], &[Udp]),
            ("one more is wanted, and one relay has it", &[Udp, Tls], &[&[Udp, Tls], &[Udp]], &[Udp]),
            ("one is on its way out", &[Udp], &[&[Udp], &[Udp, Tcp]], &[Udp]),
            ("none is to stay, and no relay is exchanged yet", &[Tls], &[&[Udp, Tcp], &[Udp, Tcp]], &[Udp, Tcp]),
            ("none is to stay, and one relay is exchanged", &[Tls], &[&[Tls], &[Udp, Tcp]], &[Udp, Tcp, Tls]),
            ("there is no relay", &[Udp, Tls], &[], &[Udp, Tls]),
        ] {
            let mut region = seen("a", 0, open.len());
            region.transports = wanted.to_vec();
            for (node, open) in region.nodes.iter_mut().zip(open) {
                node.listeners = open.iter().map(|one| listener(*one)).collect();
            }
            assert_eq!(region.judged(), expected, "{case}");
        }
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
