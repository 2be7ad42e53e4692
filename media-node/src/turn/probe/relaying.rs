//! Whether the node relays: two clients of it, and a packet from one to the other and back, each through the relayed
//! addresses of both.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    client::{Ask, Client, channel_data},
    line::{Line, Requests, until},
    session::{Failure, Session, refused},
};
use crate::turn::proto::message::ChannelData;

/// A request is sent at 0, 0.5 and 1.5 s (RFC 8489 section 6.2.1), and so is a packet that does not arrive. No more:
/// the node is on this machine, and somebody waits for the verdict.
const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// For everything but the end.
const TALKING: Duration = Duration::from_secs(10);
/// For both clients together.
const CLOSING: Duration = Duration::from_secs(2);
/// RFC 8656 section 12.
const CHANNEL: u16 = 0x4000;

/// Why nothing was relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Request(#[from] Failure),
    #[error("the answer to Allocate holds no relayed address")]
    NoRelayedAddress,
    #[error("what one client sent to another by way of {relay} did not arrive")]
    Lost { relay: IpAddr },
    #[error("there was no socket to try it with")]
    NoSocket,
}

impl Fault {
    /// Whether it says nothing of how the node relays: it takes no new clients now (300, 486, 508), or the machine gives
    /// nobody a socket.
    pub fn judges_nothing(self) -> bool {
        matches!(self, Self::NoSocket | Self::Request(Failure::Refused { code: 300 | 486 | 508, .. }))
    }
}

/// What is tried in one family.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub v6: bool,
    /// False: the configuration keeps clients of this node from each other, so no more than allocations can be had.
    pub packets: bool,
}

/// One call. The allocations are given back, whatever comes of it.
pub async fn call<L: Line>(lines: [L; 2], clients: [Client; 2], plan: Plan) -> Result<(), Fault> {
    let mut ways = lines.map(|line| Requests { line, waits: &WAITS });
    let [alice_way, bob_way] = &mut ways;
    let [alice, bob] = clients;
    let mut alice = Session { exchange: alice_way, client: alice };
    let mut bob = Session { exchange: bob_way, client: bob };
    let talked = timeout(TALKING, talk(&mut alice, &mut bob, plan)).await.unwrap_or(Err(Failure::NoAnswer.into()));
    let closed = timeout(CLOSING, async { tokio::join!(alice.close(), bob.close()) }).await;
    let (alice, bob) = closed.unwrap_or((Err(Failure::NoAnswer), Err(Failure::NoAnswer)));
    talked.and(alice.and(bob).map_err(Fault::Request))
}

type Caller<'e, L> = Session<'e, Requests<L>>;

async fn talk<L: Line>(alice: &mut Caller<'_, L>, bob: &mut Caller<'_, L>, plan: Plan) -> Result<(), Fault> {
    let at_alice = relayed(alice, plan.v6).await?;
    let at_bob = relayed(bob, plan.v6).await?;
    if !plan.packets {
        return Ok(());
    }
    bind(alice, at_bob).await?;
    bind(bob, at_alice).await?;
    carry(alice, bob, at_bob.ip()).await?;
    carry(bob, alice, at_alice.ip()).await
}

async fn relayed<L: Line>(caller: &mut Caller<'_, L>, v6: bool) -> Result<SocketAddr, Fault> {
    caller.allocate(v6).await?.ok_or(Fault::NoRelayedAddress)
}

async fn bind<L: Line>(caller: &mut Caller<'_, L>, peer: SocketAddr) -> Result<(), Fault> {
    let ask = Ask::Channel { number: CHANNEL, peer };
    match caller.ask(ask).await?.code {
        0 => Ok(()),
        code => Err(refused(ask, code).into()),
    }
}

/// A packet that nobody can have sent but `from`.
async fn carry<L: Line>(from: &mut Caller<'_, L>, to: &mut Caller<'_, L>, relay: IpAddr) -> Result<(), Fault> {
    let mut payload = [0; 16];
    getrandom::fill(&mut payload).map_err(|_| Failure::NoAnswer)?;
    let is_it = |message: &[u8]| {
        ChannelData::decode(message).filter(|data| data.number == CHANNEL && data.payload == payload).map(drop)
    };
    for wait in WAITS {
        from.exchange.line.send(&channel_data(CHANNEL, &payload)).await.map_err(|_| Failure::NoAnswer)?;
        if let Ok(heard) = timeout(wait, until(&mut to.exchange.line, is_it)).await {
            return heard.map_err(|_| Fault::Lost { relay });
        }
    }
    Err(Fault::Lost { relay })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{HashMap, VecDeque},
        io,
        sync::{Arc, Mutex},
    };

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::turn::{
        probe::client::USERS,
        proto::{
            Alternates, ClientPath, Secret, ServerConfig,
            test_support::{Heard, SECRET, World},
        },
    };

    /// The node's own core, without sockets, and what does not work around it.
    struct Net {
        world: World,
        inboxes: HashMap<ClientPath, VecDeque<Vec<u8>>>,
        /// Of the messages that clients send, only each such one arrives.
        each: usize,
        sent: usize,
        /// Packets from relay sockets arrive nowhere.
        cut: bool,
    }

    impl Net {
        fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
            Self { world: World::with(change), inboxes: HashMap::new(), each: 1, sent: 0, cut: false }
        }

        fn send(&mut self, path: ClientPath, message: &[u8]) {
            self.sent += 1;
            if self.each == 0 || !self.sent.is_multiple_of(self.each) {
                return;
            }
            let heard = match self.world.hear(&path, message) {
                Heard::Nothing => None,
                Heard::Reply(answer) => Some((path, answer.0)),
                Heard::AtPeer { .. } if self.cut => None,
                Heard::AtPeer { from, to, payload, .. } => self.world.peer_sends(to, from, &payload),
            };
            if let Some((path, message)) = heard {
                self.inboxes.entry(path).or_default().push_back(message);
            }
        }
    }

    struct Wire {
        net: Arc<Mutex<Net>>,
        path: ClientPath,
    }

    impl Line for Wire {
        const LOSSY: bool = true;

        async fn send(&mut self, message: &[u8]) -> io::Result<()> {
            self.net.lock().unwrap().send(self.path, message);
            Ok(())
        }

        async fn hear(&mut self) -> io::Result<Vec<u8>> {
            loop {
                let message = self.net.lock().unwrap().inboxes.entry(self.path).or_default().pop_front();
                match message {
                    Some(message) => return Ok(message),
                    None => sleep(Duration::from_millis(1)).await,
                }
            }
        }
    }

    /// What comes of a call, after how long, and what stays behind of it.
    async fn called(net: Net, secret: &[u8], v6: bool) -> (Result<(), Fault>, Duration, usize) {
        let net = Arc::new(Mutex::new(net));
        let lines = ["ann", "bob"].map(|user| {
            let path = net.lock().unwrap().world.stranger(user).path;
            Wire { net: Arc::clone(&net), path }
        });
        let secret = Secret::new(secret).unwrap();
        let clients = USERS.map(|user| Client::new(user, &secret, 1_800_000_000));
        let began = Instant::now();
        let outcome = call(lines, clients, Plan { v6, packets: true }).await;
        let held = net.lock().unwrap().world.held()[0];
        (outcome, began.elapsed(), held)
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_relays_is_found_to_do_so_in_each_family_with_one_allocation_a_user() {
        for v6 in [false, true] {
            let (outcome, took, held) = called(Net::with(|config| config.terms.quotas.per_user = 1), SECRET, v6).await;
            assert_eq!((outcome, held), (Ok(()), 0), "{v6}");
            assert!(took < Duration::from_millis(100), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_on_the_way_is_sent_again() {
        let (outcome, took, held) = called(Net { each: 2, ..Net::with(|_| ()) }, SECRET, false).await;
        assert_eq!((outcome, held), (Ok(()), 0), "after {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_relay_is_found_out_in_bounded_time_and_keeps_nothing() {
        let relay = "203.0.113.7".parse().unwrap();
        let refused = Fault::Request(Failure::Refused { ask: "Allocate", code: 401 });
        for (case, net, secret, expected) in [
            ("it loses what it relays", Net { cut: true, ..Net::with(|_| ()) }, SECRET, Fault::Lost { relay }),
            ("it answers nothing", Net { each: 0, ..Net::with(|_| ()) }, SECRET, Failure::NoAnswer.into()),
            ("it refuses right credentials", Net::with(|_| ()), b"another".as_slice(), refused),
        ] {
            let (outcome, took, held) = called(net, secret, false).await;
            assert_eq!((outcome, held), (Err(expected), 0), "{case}");
            assert!(!expected.judges_nothing(), "{case}");
            assert!(took <= TALKING + CLOSING, "{case}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_takes_nobody_now_is_not_judged_and_keeps_nothing() {
        let draining = |alternates: Vec<IpAddr>| {
            let net = Net::with(|_| ());
            net.world.shared.set_drain(Some(Alternates::parse(alternates).unwrap()));
            net
        };
        for (case, net, code) in [
            ("room for one", Net::with(|config| config.terms.quotas.total = 1), 508),
            ("no user may allocate", Net::with(|config| config.terms.quotas.per_user = 0), 486),
            ("it drains", draining(Vec::new()), 508),
            ("it sends clients elsewhere", draining(vec!["203.0.113.8".parse().unwrap()]), 300),
        ] {
            let (outcome, _, held) = called(net, SECRET, false).await;
            let fault = Fault::Request(Failure::Refused { ask: "Allocate", code });
            assert_eq!((outcome, held), (Err(fault), 0), "{case}");
            assert!(fault.judges_nothing(), "{case}");
        }
    }
}
