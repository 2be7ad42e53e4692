//! The negative probe: the node asks itself, as a client would and over its own listener, for peers that it must refuse.
//!
//! A relay is attacked for what stands behind it (RFC 8656 section 21), and whether it refuses depends on code, on
//! configuration and on which addresses the machine has by now. So it is tried all the time, and what is granted and must
//! not be is told in the log, in metrics and in `GET /v1/status`.

mod client;
mod findings;
mod forbidden;
mod round;
mod tcp;
mod udp;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rtcfleet_node_api::NodeState;
use tokio::{sync::watch, time::sleep};

use self::{
    client::Client,
    round::{Questions, round},
    tcp::Tcp,
    udp::Udp,
};
pub use self::{
    findings::{Findings, Found},
    forbidden::Ground,
    round::Failure,
};
use crate::{
    node::Node,
    turn::{addresses, proto::Secret},
};

/// Before the first round: whoever starts a node wants to know soon.
const FIRST: Duration = Duration::from_secs(1);

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
}

/// Rounds from now on.
pub fn follow(node: Arc<Node>, probe: Probe) {
    tokio::spawn(async move {
        let mut wait = FIRST.min(probe.interval);
        loop {
            sleep(wait).await;
            wait = jittered(probe.interval, random());
            // A node that drains grants nothing, and must not wait for an allocation of its own.
            if node.state() != NodeState::Active {
                continue;
            }
            let outcome = probe.ask().await;
            // It may have begun to drain meanwhile.
            if outcome.is_ok() || node.state() == NodeState::Active {
                node.peer_rules.take(outcome, Timestamp::now());
            }
        }
    });
}

impl Probe {
    async fn ask(&self) -> Result<Vec<SocketAddr>, Failure> {
        let machine: Vec<IpAddr> = addresses::own();
        let mut granted = Vec::new();
        for relay in &self.ground.relays {
            let questions = Questions {
                v6: relay.public.is_ipv6(),
                peers: self.ground.peers(*relay, &machine),
                services: self.ground.services(*relay),
            };
            let client = Client::new(&self.secret.borrow(), Timestamp::now().as_second().unsigned_abs());
            granted.extend(match self.door {
                Door::Udp(listener) => {
                    let mut udp = Udp::connect(listener).await.map_err(|_| Failure::NoAnswer)?;
                    round(&mut udp, client, &questions).await?
                }
                Door::Tcp(listener) => {
                    let mut tcp = Tcp::connect(listener).await.map_err(|_| Failure::NoAnswer)?;
                    round(&mut tcp, client, &questions).await?
                }
            });
        }
        Ok(granted)
    }
}

/// From four to six fifths of it, so that nodes which started together do not stay together.
fn jittered(interval: Duration, random: u16) -> Duration {
    interval.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u16::MAX))
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // It is not needed for anything that has to be secret.
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use rtcfleet_node_api::SetState;
    use tokio::time::timeout;

    use super::*;
    use crate::turn::proto::RelayAddress;

    #[tokio::test]
    async fn a_node_that_drains_is_asked_nothing_until_it_serves_again() {
        let listener = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let node = Node::new(String::new(), Timestamp::now());
        node.open_without_role();
        let deadline = Timestamp::now() + Duration::from_hours(1);
        node.set_state(SetState::Draining { deadline }, Timestamp::now()).unwrap();
        let local = "127.0.0.1".parse().unwrap();
        let probe = Probe {
            door: Door::Udp(listener.local_addr().unwrap()),
            ground: Ground {
                allow: Vec::new(),
                deny: Vec::new(),
                relays: vec![RelayAddress { local, public: local }],
                services: Vec::new(),
            },
            interval: Duration::from_millis(10),
            secret: watch::Sender::new(Secret::new(b"secret").unwrap()).subscribe(),
        };
        follow(Arc::clone(&node), probe);
        let mut buffer = [0; 100];
        let asked = timeout(Duration::from_millis(300), listener.recv(&mut buffer)).await;
        assert!(asked.is_err(), "asked while it drains");
        node.set_state(SetState::Active, Timestamp::now()).unwrap();
        timeout(Duration::from_secs(20), listener.recv(&mut buffer)).await.expect("asked again").unwrap();
    }

    #[test]
    fn rounds_are_a_fifth_of_the_interval_apart_from_it_at_the_most() {
        let interval = Duration::from_secs(30);
        assert_eq!(jittered(interval, 0), Duration::from_secs(24));
        assert_eq!(jittered(interval, u16::MAX), Duration::from_secs(36));
    }
}
