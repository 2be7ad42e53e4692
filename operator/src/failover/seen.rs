//! What is there: regions with their relays, and which of those can be published.

use std::collections::{BTreeMap, BTreeSet};
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
        let at = move |address: &IpAddr| {
            self.ports(transport).map(|port| SocketAddr::new(*address, port)).collect::<Vec<_>>()
        };
        self.addresses.iter().flat_map(at)
    }

    /// Of a transport.
    pub fn ports(&self, transport: Protocol) -> impl Iterator<Item = u16> {
        self.listeners.iter().filter(move |one| one.protocol == transport).map(|one| one.port)
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
    /// in is missed by nobody yet. Where there is none, because all of them are exchanged for others, what most relays open.
    pub fn judged(&self) -> Vec<Protocol> {
        let takers = self.takers();
        let open = |transport: Protocol| takers.iter().filter(|node| node.opens(transport)).count();
        let wanted: Vec<_> = self.transports.iter().copied().filter(|one| open(*one) == takers.len()).collect();
        if wanted.is_empty() {
            Protocol::ALL.into_iter().filter(|one| open(*one) * 2 > takers.len()).collect()
        } else {
            wanted
        }
    }

    /// Of those transports the ports by which it is judged: those that every relay opens which takes calls. None where there is
    /// no such port, because it is moved: then each relay has its own.
    pub fn judged_ports(&self) -> BTreeMap<Protocol, BTreeSet<u16>> {
        let takers = self.takers();
        let common = |transport| {
            let ports = |node: &&Node| node.ports(transport).collect::<BTreeSet<_>>();
            let common = takers.iter().map(ports).reduce(|common, ports| &common & &ports);
            (transport, common.unwrap_or_default())
        };
        self.judged().into_iter().map(common).collect()
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
            ("none is to stay, and one relay is exchanged", &[Tls], &[&[Tls], &[Udp], &[Udp]], &[Udp]),
            ("none is to stay, and most relays are exchanged", &[Tls], &[&[Tls], &[Tls], &[Udp]], &[Tls]),
            ("none is to stay, and half is exchanged", &[Tls], &[&[Tls], &[Udp]], &[]),
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
    fn a_port_counts_once_every_relay_opens_it() {
        for (case, open, expected) in [
            ("one more, at one relay", &[&[3478, 443][..], &[3478]][..], &[3478][..]),
            ("one more, at all of them", &[&[3478, 443], &[3478, 443]], &[443, 3478]),
            ("it is moved, and one relay is exchanged", &[&[443], &[3478]], &[]),
        ] {
            let mut region = seen("a", 0, open.len());
            for (node, open) in region.nodes.iter_mut().zip(open) {
                let listener = |port: &u16| ListenerPort { protocol: Protocol::Udp, port: *port };
                node.listeners = open.iter().map(listener).collect();
            }
            assert_eq!(region.judged_ports(), [(Protocol::Udp, expected.iter().copied().collect())].into(), "{case}");
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
