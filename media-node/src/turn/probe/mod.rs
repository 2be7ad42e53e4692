//! The node asks itself, as a client would and over its own listener, and tells what it finds in the log, in metrics and in
//! `GET /v1/status`. Two questions, all the time:
//!
//! - Does it refuse the peers that it must refuse? A relay is attacked for what stands behind it (RFC 8656 section 21), and
//!   whether it refuses depends on code, on configuration and on which addresses the machine has by now.
//! - Does it relay? Whether a packet gets from one client to another is not told by listeners that are open: it depends on
//!   sockets, ports, routes and firewalls of this machine as well.

pub mod client;
mod findings;
mod forbidden;
pub mod line;
mod relaying;
pub mod round;
pub mod session;
pub mod tcp;
pub mod udp;
mod verdicts;

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rtcfleet_node_api::NodeState;
use tokio::{sync::watch, time::sleep};

use self::{
    client::Client,
    line::{Line, Requests},
    relaying::Fault,
    round::{Questions, round},
    tcp::Tcp,
    udp::Udp,
};
pub use self::{
    client::{PROBES, USERS},
    findings::{Findings, Found},
    forbidden::Ground,
    session::Failure,
    verdicts::Verdicts,
};
use crate::{
    config::Adjustable,
    node::Node,
    turn::{addresses, proto::Secret},
};

/// Before the first round: whoever starts a node wants to know soon.
const FIRST: Duration = Duration::from_secs(1);
/// Before a call that failed is tried again: somebody may take the node out of service for it.
const AGAIN: Duration = Duration::from_secs(1);

/// A listener as it is bound, and how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Udp(SocketAddr),
    /// Also one for TLS: it takes plain TCP.
    Tcp(SocketAddr),
}

/// Where a listener is reached from this machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let here: IpAddr = match listener {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    if listener.ip().is_unspecified() { SocketAddr::new(here, listener.port()) } else { listener }
}

/// What a node is asked, where, and how often.
#[derive(Debug)]
pub struct Probe {
    pub door: Door,
    pub ground: Ground,
    /// Between two rounds, a fifth more or less.
    pub interval: Duration,
    pub secret: watch::Receiver<Secret>,
    /// Its peers are those of `ground` from the next round on.
    pub adjusted: watch::Receiver<Adjustable>,
}

/// Rounds from now on.
pub fn follow(node: Arc<Node>, mut probe: Probe) {
    tokio::spawn(async move {
        let mut wait = FIRST.min(probe.interval);
        loop {
            sleep(wait).await;
            wait = jittered(probe.interval, random());
            // A node that drains grants nothing, and must not wait for an allocation of its own.
            if node.state() != NodeState::Active {
                continue;
            }
            probe.learn();
            let outcome = probe.ask().await;
            if probe.counts(outcome.is_ok(), &node) {
                node.peer_rules.take(outcome, Timestamp::now());
            }
            let outcome = probe.call_twice().await;
            if probe.counts(outcome.is_ok(), &node) {
                node.relaying.take(outcome, Timestamp::now());
            }
        }
    });
}

impl Probe {
    fn learn(&mut self) {
        let peers = &self.adjusted.borrow_and_update().terms.peers;
        (self.ground.allow, self.ground.deny) = (peers.allow().to_vec(), peers.deny().to_vec());
    }

    /// Whether what was found is the node's doing. It may have begun to drain meanwhile: what fails then is no finding. And
    /// it may have got other rules than it was asked by: then the next round knows better.
    fn counts(&self, is_ok: bool, node: &Node) -> bool {
        let same_rules = !self.adjusted.has_changed().unwrap_or(false);
        same_rules && (is_ok || node.state() == NodeState::Active)
    }

    async fn ask(&self) -> Result<Vec<SocketAddr>, Failure> {
        let machine: Vec<IpAddr> = addresses::own();
        let mut granted = Vec::new();
        for relay in &self.ground.relays {
            let questions = Questions {
                v6: relay.public.is_ipv6(),
                peers: self.ground.peers(*relay, &machine),
                services: self.ground.services(*relay),
            };
            let [client, _] = self.clients();
            granted.extend(match self.door {
                Door::Udp(listener) => {
                    let line = Udp::connect(listener).await.map_err(|_| Failure::NoAnswer)?;
                    round(&mut Requests { line, waits: &round::WAITS }, client, &questions, round::HERE).await?
                }
                Door::Tcp(listener) => {
                    let line = Tcp::connect(listener).await.map_err(|_| Failure::NoAnswer)?;
                    round(&mut Requests { line, waits: &round::WAITS }, client, &questions, round::HERE).await?
                }
            });
        }
        Ok(granted)
    }

    /// A call, and another one if it failed: a node that relays must not be taken for one that does not.
    async fn call_twice(&self) -> Result<(), Fault> {
        match self.call().await {
            Err(fault) if !fault.judges_nothing() => {
                sleep(AGAIN).await;
                self.call().await
            }
            outcome => outcome,
        }
    }

    /// In each family that is relayed in.
    async fn call(&self) -> Result<(), Fault> {
        for relay in &self.ground.relays {
            let plan = relaying::Plan { v6: relay.public.is_ipv6(), packets: !self.ground.closes(*relay) };
            match self.door {
                Door::Udp(listener) => {
                    let lines = [Udp::connect(listener).await, Udp::connect(listener).await];
                    relaying::call(connected(lines)?, self.clients(), plan).await?;
                }
                Door::Tcp(listener) => {
                    let lines = [Tcp::connect(listener).await, Tcp::connect(listener).await];
                    relaying::call(connected(lines)?, self.clients(), plan).await?;
                }
            }
        }
        Ok(())
    }

    fn clients(&self) -> [Client; 2] {
        let secret = self.secret.borrow();
        USERS.map(|user| Client::new(user, &secret, Timestamp::now().as_second().unsigned_abs()))
    }
}

fn connected<L: Line>([alice, bob]: [io::Result<L>; 2]) -> Result<[L; 2], Fault> {
    let line = |line: io::Result<L>| {
        line.map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::TimedOut => Failure::NoAnswer.into(),
            _ => Fault::NoSocket,
        })
    };
    Ok([line(alice)?, line(bob)?])
}

/// From four to six fifths of it, so that nodes which started together do not stay together.
fn jittered(interval: Duration, random: u16) -> Duration {
    interval.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u16::MAX))
}

/// For spreading what several processes do, and nothing else.
pub fn random() -> u16 {
    let mut bytes = [0; 2];
    // It is not needed for anything that has to be secret.
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use rtcfleet_node_api::{Relaying, SetState};
    use tokio::{net::UdpSocket, time::timeout};

    use super::*;
    use crate::turn::proto::{
        ClientPath, RelayAddress, Transport,
        test_support::{Heard, SECRET, World},
    };

    fn probe(listener: &UdpSocket) -> Probe {
        let local = "127.0.0.1".parse().unwrap();
        Probe {
            door: Door::Udp(listener.local_addr().unwrap()),
            ground: Ground {
                allow: Vec::new(),
                deny: Vec::new(),
                relays: vec![RelayAddress { local, public: local }],
                services: Vec::new(),
            },
            interval: Duration::from_millis(10),
            secret: watch::Sender::new(Secret::new(SECRET).unwrap()).subscribe(),
            adjusted: watch::Sender::new(Adjustable::default()).subscribe(),
        }
    }

    fn active() -> Arc<Node> {
        let node = Node::new(String::new(), Timestamp::now());
        node.open_without_role();
        node
    }

    #[tokio::test]
    async fn a_node_that_drains_is_asked_nothing_until_it_serves_again() {
        let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let node = active();
        let deadline = Timestamp::now() + Duration::from_hours(1);
        node.set_state(SetState::Draining { deadline, alternates: Vec::new() }, Timestamp::now()).unwrap();
        follow(Arc::clone(&node), probe(&listener));
        let mut buffer = [0; 100];
        let asked = timeout(Duration::from_millis(300), listener.recv(&mut buffer)).await;
        assert!(asked.is_err(), "asked while it drains");
        node.set_state(SetState::Active, Timestamp::now()).unwrap();
        timeout(Duration::from_secs(20), listener.recv(&mut buffer)).await.expect("asked again").unwrap();
    }

    /// A node that answers clients. What it relays arrives while `relays` says so, and is lost otherwise.
    async fn serve(listener: UdpSocket, relays: watch::Receiver<bool>) {
        let mut world = World::new();
        world.now.unix = Timestamp::now().as_second().unsigned_abs();
        let local = listener.local_addr().unwrap();
        let mut buffer = [0; 1500];
        loop {
            let (len, remote) = listener.recv_from(&mut buffer).await.unwrap();
            let path = ClientPath { local, remote, transport: Transport::Udp };
            let heard = match world.hear(&path, &buffer[..len]) {
                Heard::Reply(answer) => Some((remote, answer.0)),
                Heard::AtPeer { from, to, payload, .. } if *relays.borrow() => {
                    world.peer_sends(to, from, &payload).map(|(path, message)| (path.remote, message))
                }
                Heard::AtPeer { .. } | Heard::Nothing => None,
            };
            if let Some((remote, message)) = heard {
                listener.send_to(&message, remote).await.unwrap();
            }
        }
    }

    async fn verdict(node: &Node, wanted: impl Fn(&Relaying) -> bool) -> Relaying {
        let look = async {
            loop {
                match node.status().relaying.filter(&wanted) {
                    Some(found) => return found,
                    None => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(Duration::from_mins(1), look).await.expect("no such verdict")
    }

    #[tokio::test]
    async fn a_node_that_stops_relaying_and_goes_on_answering_is_found_out_and_found_well_again() {
        let listener = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (probe, node) = (probe(&listener), active());
        let relays = watch::Sender::new(true);
        let server = tokio::spawn(serve(listener, relays.subscribe()));
        follow(Arc::clone(&node), probe);
        verdict(&node, |last| last.problem.is_none()).await;
        relays.send_replace(false);
        let problem = verdict(&node, |last| last.problem.is_some()).await.problem.unwrap();
        assert!(problem.contains("by way of 203.0.113.7 did not arrive"), "{problem}");
        relays.send_replace(true);
        verdict(&node, |last| last.problem.is_none()).await;
        server.abort();
    }

    #[test]
    fn rounds_are_a_fifth_of_the_interval_apart_from_it_at_the_most() {
        let interval = Duration::from_secs(30);
        assert_eq!(jittered(interval, 0), Duration::from_secs(24));
        assert_eq!(jittered(interval, u16::MAX), Duration::from_secs(36));
    }
}
