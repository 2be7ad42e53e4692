//! Servers without sockets.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::client::{Answer, Client};
use crate::turn::proto::config::{PortRange, Realm, RelayAddress, RelayAddresses, ServerConfig};
use crate::turn::proto::credentials::{Secret, Secrets};
use crate::turn::proto::post::Mail;
use crate::turn::proto::server::{
    ClientPath, Now, OpenError, Parcel, PeerError, Reaction, RelayId, RelayPorts, Server, ShardIndex,
};
use crate::turn::proto::shared::Shared;

/// Relay sockets that are only remembered. Misuse by the core panics.
#[derive(Debug, Default)]
pub struct FakeRelays {
    open: Vec<Option<(IpAddr, u16)>>,
    /// Ports that another process of the machine has.
    pub taken: HashSet<u16>,
    /// No more sockets can be opened.
    pub exhausted: bool,
    /// How often a bind was tried.
    pub binds: usize,
    /// Detached and not attached yet, of all shards.
    transit: Arc<Mutex<HashMap<u64, (IpAddr, u16)>>>,
}

impl RelayPorts for FakeRelays {
    fn open(&mut self, address: IpAddr, port: u16) -> Result<RelayId, OpenError> {
        self.binds += 1;
        if self.exhausted {
            return Err(OpenError::Exhausted);
        }
        if self.taken.contains(&port) {
            return Err(OpenError::InUse);
        }
        assert!(!self.open.contains(&Some((address, port))), "port {port} is bound already: the core forgot it");
        Ok(self.place((address, port)))
    }

    fn close(&mut self, relay: RelayId) {
        self.open[relay.0 as usize].take().expect("closed twice");
    }

    fn detach(&mut self, relay: RelayId) -> Parcel {
        let address = self.open[relay.0 as usize].take().expect("a socket that is open");
        let number = u64::from(address.1) << 1 | u64::from(address.0.is_ipv6());
        assert_eq!(self.transit.lock().unwrap().insert(number, address), None, "detached twice");
        Parcel(number)
    }

    fn attach(&mut self, parcel: Parcel) -> Result<RelayId, OpenError> {
        let address = self.transit.lock().unwrap().remove(&parcel.0).expect("attached twice");
        if self.exhausted { Err(OpenError::Exhausted) } else { Ok(self.place(address)) }
    }
}

impl FakeRelays {
    fn place(&mut self, address: (IpAddr, u16)) -> RelayId {
        let index = self.open.iter().position(Option::is_none).unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        self.open[index] = Some(address);
        RelayId(u32::try_from(index).unwrap())
    }

    /// Local addresses of the sockets that are open.
    pub fn open(&self) -> BTreeSet<SocketAddr> {
        self.open.iter().flatten().map(|(ip, port)| SocketAddr::new(*ip, *port)).collect()
    }

    /// Sockets on their way between shards, all of them together.
    pub fn in_transit(&self) -> usize {
        self.transit.lock().unwrap().len()
    }

    pub fn address(&self, relay: RelayId) -> SocketAddr {
        let (ip, port) = self.open[relay.0 as usize].expect("a socket that is open");
        SocketAddr::new(ip, port)
    }

    pub fn find(&self, local: SocketAddr) -> Option<RelayId> {
        let index = self.open.iter().position(|open| *open == Some((local.ip(), local.port())))?;
        u32::try_from(index).ok().map(RelayId)
    }
}

/// What came of a client's datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    Reply(Answer),
    /// The datagram that a peer gets.
    AtPeer {
        from: SocketAddr,
        to: SocketAddr,
        payload: Vec<u8>,
        dont_fragment: bool,
    },
}

impl Heard {
    #[track_caller]
    pub fn reply(self) -> Answer {
        match self {
            Self::Reply(answer) => answer,
            other => panic!("no answer, but {other:?}"),
        }
    }

    #[track_caller]
    pub fn code(self) -> u16 {
        self.reply().code()
    }
}

/// One process with its shards.
#[derive(Debug)]
pub struct World {
    pub config: Arc<ServerConfig>,
    pub shared: Arc<Shared>,
    pub shards: Vec<(Server, FakeRelays)>,
    pub now: Now,
    clients: u16,
}

pub const SECRET: &[u8] = b"the secret in force";
pub const LISTENER: &str = "203.0.113.7:3478";

impl World {
    /// Dual stack, ports 50000 to 50099, two shards.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::with_shards(2, change)
    }

    pub fn with_shards(count: u16, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let same = |ip: &str| RelayAddress { local: ip.parse().unwrap(), public: ip.parse().unwrap() };
        let relays = RelayAddresses::new(&[same("203.0.113.7"), same("2001:db8::7")]).unwrap();
        let ports = PortRange::parse(50_000, 50_099).unwrap();
        let mut config = ServerConfig::new(Realm::parse("turn.example.org").unwrap(), relays, ports);
        change(&mut config);
        let config = Arc::new(config);
        let secrets = Secrets { current: Secret::new(SECRET).unwrap(), previous: None };
        let shared = Shared::new(&config, count, secrets, [7; 32]);
        let now = Now { instant: Instant::now(), unix: 1_800_000_000 };
        let transit = Arc::default();
        let shards = (0..count)
            .map(|n| {
                let seed = [u8::try_from(n).unwrap(); 32];
                let relays = FakeRelays { transit: Arc::clone(&transit), ..FakeRelays::default() };
                (Server::new(config.clone(), shared.clone(), ShardIndex(n), seed), relays)
            })
            .collect();
        Self { config, shared, shards, now, clients: 0 }
    }

    /// A username of `user` that is good for an hour.
    pub fn username(&self, user: &str) -> String {
        format!("{}:{user}", self.now.unix + 3600)
    }

    pub fn password(username: &str) -> String {
        Secret::new(SECRET).unwrap().password(username)
    }

    /// Another client of `user`, on an address of its own, that has sent nothing yet.
    pub fn stranger(&mut self, user: &str) -> Client {
        self.clients += 1;
        let username = self.username(user);
        let remote = SocketAddr::new("198.51.100.1".parse().unwrap(), 1000 + self.clients);
        Client::new(LISTENER.parse().unwrap(), remote, &username, &Self::password(&username))
    }

    /// The same, with realm and nonce.
    pub fn client(&mut self, user: &str) -> Client {
        let mut client = self.stranger(user);
        self.challenge(&mut client);
        client
    }

    /// The same, with an allocation. Returns the relayed address too.
    pub fn allocated(&mut self, user: &str) -> (Client, SocketAddr) {
        let mut client = self.client(user);
        let draft = client.allocate();
        let answer = self.ask(&client, draft);
        assert_eq!(answer.code(), 0);
        (client, answer.relayed()[0])
    }

    /// Let a client learn realm and nonce.
    pub fn challenge(&mut self, client: &mut Client) {
        let draft = client.allocate();
        let answer = self.hear(&client.path, &draft.bare()).reply();
        client.learn(&answer);
    }

    /// Sign and send a request.
    #[track_caller]
    pub fn ask(&mut self, client: &Client, draft: super::Draft) -> Answer {
        self.hear(&client.path, &client.sign(draft)).reply()
    }

    /// A 5-tuple stays on its shard.
    pub fn shard_of(path: &ClientPath) -> usize {
        usize::from(path.remote.port() % 2)
    }

    /// The same with any number of shards.
    fn place_of(&self, path: &ClientPath) -> usize {
        usize::from(path.remote.port()) % self.shards.len()
    }

    /// A datagram arrives on the listener.
    pub fn hear(&mut self, path: &ClientPath, bytes: &[u8]) -> Heard {
        let shard = self.place_of(path);
        let (server, relays) = &mut self.shards[shard];
        match server.handle_client(self.now, relays, *path, bytes) {
            Reaction::None => Heard::Nothing,
            Reaction::Reply(reply) => Heard::Reply(Answer(reply.to_vec())),
            Reaction::ToPeer(to_peer) => Heard::AtPeer {
                from: relays.address(to_peer.relay),
                to: to_peer.to,
                payload: to_peer.payload.to_vec(),
                dont_fragment: to_peer.dont_fragment,
            },
        }
    }

    /// The connection of a stream ends.
    pub fn close(&mut self, path: &ClientPath) {
        let (server, relays) = &mut self.shards[Self::shard_of(path)];
        server.handle_closed(self.now, relays, path);
    }

    /// One shard reads its mail. What comes of it, by path.
    pub fn read_mail(&mut self, shard: usize) -> Vec<(ClientPath, Heard)> {
        let mut heard = Vec::new();
        for round in 0.. {
            assert!(round < 10_000, "mail without end");
            let (server, relays) = &mut self.shards[shard];
            match server.poll_mail(self.now, relays) {
                None => break,
                Some(Mail::Reply { path, bytes }) => heard.push((path, Heard::Reply(Answer(bytes.into_vec())))),
                Some(Mail::Heard { path, bytes }) => heard.push((path, self.hear(&path, &bytes))),
            }
        }
        heard
    }

    /// Shards are woken and read their mail until none is left.
    pub fn read_all_mail(&mut self) -> Vec<(ClientPath, Heard)> {
        let mut heard = Vec::new();
        for round in 0.. {
            assert!(round < 10_000, "shards wake each other without end");
            let wakes: Vec<_> = self.shards.iter_mut().filter_map(|(server, _)| server.poll_wake()).collect();
            if wakes.is_empty() {
                break;
            }
            for shard in wakes {
                heard.extend(self.read_mail(usize::from(shard.0)));
            }
        }
        heard
    }

    /// A datagram arrives on the listener and, if it has to do with another shard, that one hears of it. At most one
    /// thing comes of it.
    #[track_caller]
    pub fn hear_all(&mut self, path: &ClientPath, bytes: &[u8]) -> Heard {
        let mut heard = vec![(*path, self.hear(path, bytes))];
        heard.extend(self.read_all_mail());
        heard.retain(|(_, heard)| *heard != Heard::Nothing);
        assert!(heard.len() <= 1 && heard.iter().all(|(to, _)| to == path), "{heard:?}");
        heard.pop().map_or(Heard::Nothing, |(_, heard)| heard)
    }

    /// A datagram arrives on a relay socket; the result is what a client gets.
    pub fn peer_sends(&mut self, relay: SocketAddr, from: SocketAddr, payload: &[u8]) -> Option<(ClientPath, Vec<u8>)> {
        self.shards.iter_mut().find_map(|(server, relays)| {
            let id = relays.find(relay)?;
            let out = server.handle_peer(self.now, id, from, payload)?;
            let bytes = [out.head(), out.payload, out.tail()].concat();
            assert_eq!(bytes.len(), out.total_len());
            Some((out.path, bytes))
        })
    }

    pub fn peer_error(&mut self, relay: SocketAddr, error: PeerError) -> Option<(ClientPath, Answer)> {
        self.shards.iter_mut().find_map(|(server, relays)| {
            let id = relays.find(relay)?;
            let out = server.handle_peer_error(self.now, id, error)?;
            Some((out.path, Answer([out.head(), out.payload, out.tail()].concat())))
        })
    }

    /// Time passes, and the shards notice.
    pub fn pass(&mut self, time: Duration) {
        self.pass_unnoticed(time);
        for (server, relays) in &mut self.shards {
            for round in 0.. {
                assert!(round < 10_000, "timers do not come to rest");
                match server.poll_timeout() {
                    Some(due) if due <= self.now.instant => server.handle_timeout(self.now, relays),
                    Some(_) | None => break,
                }
            }
        }
    }

    /// Time passes, and nobody calls `handle_timeout`.
    pub fn pass_unnoticed(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix += time.as_secs();
    }

    /// Sockets open in all shards.
    pub fn open(&self) -> BTreeSet<SocketAddr> {
        self.shards.iter().flat_map(|(_, relays)| relays.open()).collect()
    }

    /// Everything that could leak: allocations, sockets, live ports, claimed ports, reservations, users, quota, timers.
    pub fn held(&self) -> [usize; 8] {
        let shared = &self.shared;
        [
            self.shards.iter().map(|(server, _)| server.allocations()).sum(),
            self.open().len(),
            shared.live_ports() as usize,
            shared.claimed_ports() as usize,
            shared.reservations(),
            shared.users(),
            shared.admitted() as usize,
            self.shards.iter().filter(|(server, _)| server.poll_timeout().is_some()).count(),
        ]
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
