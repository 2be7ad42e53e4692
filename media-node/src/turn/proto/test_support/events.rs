//! Events at random, and what must hold whatever happens. Property tests and the fuzzer of the whole core share this.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::client::{Answer, Client, Style};
use super::world::{Heard, LISTENER, World};
use crate::turn::proto::attribute::{
    ADDITIONAL_ADDRESS_FAMILY, CHANNEL_NUMBER, DATA, DONT_FRAGMENT, EVEN_PORT, LIFETIME, MOBILITY_TICKET,
    REQUESTED_ADDRESS_FAMILY, REQUESTED_TRANSPORT, RESERVATION_TOKEN,
};
use crate::turn::proto::counters::ShardSnapshot;
use crate::turn::proto::credentials::{Secret, Secrets};
use crate::turn::proto::message::{Class, method};
use crate::turn::proto::server::{ClientPath, PeerError, Transport};
use crate::turn::proto::{Alternates, PeerPolicy};

/// Choices from bytes. Zeros, once they have run out.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: u8) -> usize {
        usize::from(self.byte() % n)
    }

    fn flag(&mut self, one_in: u8) -> bool {
        self.byte() % one_in == 1
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Up to `n` bytes.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// How a request is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Right,
    Hashed,
    /// Right, but of somebody else than the client usually is.
    AnotherUser,
    WrongPassword,
    StaleNonce,
    None,
}

/// Something that happens. Clients and peers are indices into small fixed sets.
#[derive(Clone, Debug)]
pub enum Event {
    Raw {
        client: usize,
        bytes: Vec<u8>,
    },
    Request {
        client: usize,
        method: u16,
        attributes: Vec<(u16, Vec<u8>)>,
        peers: Vec<usize>,
        proof: Proof,
    },
    Channel {
        client: usize,
        number: u16,
        payload: Vec<u8>,
    },
    Send {
        client: usize,
        peer: usize,
        payload: Vec<u8>,
        dont_fragment: bool,
    },
    /// To one of the relayed addresses granted so far.
    FromPeer {
        relay: usize,
        peer: usize,
        payload: Vec<u8>,
    },
    Icmp {
        relay: usize,
        peer: usize,
        kind: u8,
        code: u8,
    },
    /// The connection of a client ends, if it has one.
    Close {
        client: usize,
    },
    Pass {
        seconds: u64,
        noticed: bool,
    },
    /// With alternates of no, one or both families; or not any more.
    Drain(Option<Alternates>),
    /// Another process takes these ports, or gives all back.
    Taken(Vec<u16>),
    Exhausted(bool),
    Rotate,
    /// Other terms: one peer is denied or not.
    Adjust {
        denied: bool,
        per_user: u32,
        bandwidth: Option<u64>,
    },
}

const METHODS: [u16; 7] = [
    method::ALLOCATE,
    method::ALLOCATE,
    method::REFRESH,
    method::CREATE_PERMISSION,
    method::CHANNEL_BIND,
    method::BINDING,
    0x0FF,
];

impl Event {
    pub fn read(bytes: &mut Bytes<'_>) -> Self {
        match bytes.below(16) {
            0 => {
                let len = usize::from(bytes.byte());
                Self::Raw { client: bytes.below(4), bytes: bytes.take(len).to_vec() }
            }
            1..=7 => Self::read_request(bytes),
            8 => {
                let number = 0x4000 + u16::from(bytes.byte() % 4);
                Self::Channel { client: bytes.below(4), number, payload: vec![0xAB; bytes.below(64)] }
            }
            9 => Self::Send {
                client: bytes.below(4),
                peer: bytes.below(8),
                payload: vec![0xCD; bytes.below(64)],
                dont_fragment: bytes.flag(4),
            },
            10 | 11 => Self::FromPeer {
                relay: usize::from(bytes.byte()),
                peer: bytes.below(8),
                payload: vec![0xEF; bytes.below(64)],
            },
            12 => Self::Icmp {
                relay: usize::from(bytes.byte()),
                peer: bytes.below(8),
                kind: bytes.byte() % 13,
                code: bytes.byte() % 6,
            },
            13 => Self::Pass { seconds: u64::from(bytes.number() % 1000), noticed: bytes.flag(2) },
            14 => Self::Pass { seconds: u64::from(bytes.byte() % 40), noticed: bytes.flag(2) },
            _ => match bytes.below(6) {
                0 => Self::Drain(some_drain(bytes.byte())),
                1 => Self::Taken((0..bytes.below(8)).map(|_| 50_000 + u16::from(bytes.byte() % 100)).collect()),
                2 => Self::Taken(Vec::new()),
                3 => Self::Exhausted(bytes.flag(3)),
                4 => Self::Close { client: bytes.below(4) },
                _ if bytes.flag(2) => Self::Adjust {
                    denied: bytes.flag(2),
                    per_user: u32::from(bytes.byte() % 4),
                    bandwidth: [None, Some(1000), Some(8_000_000)][bytes.below(3)],
                },
                _ => Self::Rotate,
            },
        }
    }

    fn read_request(bytes: &mut Bytes<'_>) -> Self {
        let client = bytes.below(4);
        let method = METHODS[bytes.below(7)];
        let proof = match bytes.below(16) {
            0 => Proof::None,
            1 => Proof::WrongPassword,
            2 => Proof::StaleNonce,
            3 => Proof::Hashed,
            4 => Proof::AnotherUser,
            _ => Proof::Right,
        };
        let mut attributes = Vec::new();
        if method == method::ALLOCATE && !bytes.flag(16) {
            let protocol = if bytes.flag(32) { 6 } else { 17 };
            attributes.push((REQUESTED_TRANSPORT, vec![protocol, 0, 0, 0]));
        }
        if method == method::CHANNEL_BIND {
            attributes.push((CHANNEL_NUMBER, vec![0x40, bytes.byte() % 4, 0, 0]));
        }
        for _ in 0..bytes.below(3) {
            attributes.push(match bytes.below(12) {
                0 | 1 => (LIFETIME, vec![0, 0, bytes.byte() & 0x1F, bytes.byte()]),
                2 => (LIFETIME, vec![0; 4]),
                3 => (EVEN_PORT, vec![bytes.byte() & 0x80]),
                4 => (REQUESTED_ADDRESS_FAMILY, vec![bytes.byte() % 4, 0, 0, 0]),
                5 => (ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0]),
                6 => (DONT_FRAGMENT, vec![]),
                // Replaced by a token that the server gave, if there is one.
                7 => (RESERVATION_TOKEN, vec![0; 8]),
                // The last that the server gave on this path, in a Refresh.
                8 | 9 => (MOBILITY_TICKET, vec![]),
                10 => (u16::from(bytes.byte()), bytes.take(5).to_vec()),
                _ => (bytes.number(), bytes.take(9).to_vec()),
            });
        }
        let peers = (0..bytes.below(3)).map(|_| bytes.below(8)).collect();
        Self::Request { client, method, attributes, peers, proof }
    }
}

fn some_drain(choice: u8) -> Option<Alternates> {
    let alternates = ["203.0.113.8", "2001:db8::8"].map(|ip| ip.parse().unwrap());
    let some = alternates[..usize::from(choice / 3 % 3)].to_vec();
    (choice % 3 == 1).then(|| Alternates::parse(some).unwrap())
}

/// A world, four clients of two users in it, and what they were granted.
pub struct Story {
    pub world: World,
    clients: Vec<Client>,
    granted: Vec<SocketAddr>,
    owner: HashMap<SocketAddr, ClientPath>,
    tokens: Vec<Vec<u8>>,
    /// The last of each client. Used on the same path only: what moves has tests of its own.
    tickets: [Vec<u8>; 4],
    rotations: u8,
    /// Nobody may send to it or hear it.
    denied: Option<IpAddr>,
}

impl Default for Story {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Story {
    pub fn new(mobility: bool) -> Self {
        let mut world = World::with(|config| {
            config.mobility = mobility;
            config.terms.quotas.per_user = 3;
            config.terms.limits.permissions = 3;
            config.terms.limits.channels = 2;
            // A story may have more requests than that: each is to be answered.
            config.terms.limits.unauthenticated_per_prefix = 0;
        });
        let mut clients: Vec<Client> = ["ann", "ann", "bob", "bob"].iter().map(|user| world.client(user)).collect();
        clients[1].style = Style::Sha256;
        clients[2].style = Style::Md5;
        clients[1].path.transport = Transport::Tls;
        clients[2].path.transport = Transport::Tcp;
        clients[3].path.local = "[2001:db8::7]:3478".parse().unwrap();
        clients[3].path.remote = "[2001:db8:1::1]:1005".parse().unwrap();
        let tickets = [const { Vec::new() }; 4];
        Self {
            world,
            clients,
            granted: vec![],
            owner: HashMap::new(),
            tokens: vec![],
            tickets,
            rotations: 0,
            denied: None,
        }
    }

    /// The eighth is a relayed address, so that clients of the node meet.
    fn peer(&self, index: usize) -> SocketAddr {
        match index {
            0 => "192.0.2.9:4000".parse().unwrap(),
            1 => "192.0.2.9:4001".parse().unwrap(),
            2 => "192.0.2.10:4000".parse().unwrap(),
            3 => "[2001:db8:2::1]:4000".parse().unwrap(),
            4 => "[2001:db8:2::2]:4000".parse().unwrap(),
            5 => "10.0.0.1:22".parse().unwrap(),
            6 => LISTENER.parse().unwrap(),
            _ => self.granted.last().copied().unwrap_or_else(|| "203.0.113.7:50001".parse().unwrap()),
        }
    }

    /// Let it happen, and check what must hold.
    pub fn step(&mut self, event: &Event) {
        match event {
            Event::Raw { client, bytes } => {
                let path = self.clients[*client].path;
                self.hear(&path, bytes, false);
            }
            Event::Request { client, method, attributes, peers, proof } => {
                self.request(*client, *method, attributes, peers, *proof);
            }
            Event::Channel { client, number, payload } => {
                let path = self.clients[*client].path;
                let mut bytes = number.to_be_bytes().to_vec();
                bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
                bytes.extend_from_slice(payload);
                self.hear(&path, &bytes, false);
            }
            Event::Send { client, peer, payload, dont_fragment } => {
                let peer = self.peer(*peer);
                let mut draft = self.clients[*client].draft(Class::Indication, method::SEND).peer(peer);
                if *dont_fragment {
                    draft = draft.with(DONT_FRAGMENT, &[]);
                }
                let path = self.clients[*client].path;
                self.hear(&path, &draft.with(DATA, payload).bare(), false);
            }
            Event::FromPeer { relay, peer, payload } => {
                let Some(relay) = self.some_relay(*relay) else { return };
                let peer = self.peer(*peer);
                let heard = self.world.peer_sends(relay, peer, payload);
                assert!(heard.is_none() || self.denied != Some(peer.ip()), "{peer} is denied, and was heard");
                assert!(heard.is_none_or(|(path, _)| self.owner[&relay] == path), "a client heard another's peer");
            }
            Event::Icmp { relay, peer, kind, code } => {
                let Some(relay) = self.some_relay(*relay) else { return };
                let error = PeerError { peer: self.peer(*peer), icmp_type: *kind, icmp_code: *code, data: 1400 };
                let heard = self.world.peer_error(relay, error);
                assert!(heard.is_none_or(|(path, _)| self.owner[&relay] == path), "a client heard another's error");
            }
            Event::Close { client } => {
                let path = self.clients[*client].path;
                if path.transport.is_stream() {
                    self.world.close(&path);
                }
            }
            Event::Pass { seconds, noticed } => {
                let time = Duration::from_secs(*seconds);
                if *noticed { self.world.pass(time) } else { self.world.pass_unnoticed(time) }
            }
            Event::Drain(drain) => self.world.shared.set_drain(drain.clone()),
            Event::Taken(ports) => {
                for (_, relays) in &mut self.world.shards {
                    relays.taken.extend(ports);
                    if ports.is_empty() {
                        relays.taken.clear();
                    }
                }
            }
            Event::Exhausted(exhausted) => {
                for (_, relays) in &mut self.world.shards {
                    relays.exhausted = *exhausted;
                }
            }
            Event::Rotate => self.rotate(),
            Event::Adjust { denied, per_user, bandwidth } => self.adjust(*denied, *per_user, *bandwidth),
        }
    }

    fn some_relay(&self, index: usize) -> Option<SocketAddr> {
        self.granted.get(index % self.granted.len().max(1)).copied()
    }

    /// Two secrets in turn, each valid for two rotations, so that passwords become wrong now and then.
    fn rotate(&mut self) {
        self.rotations = (self.rotations + 1) % 3;
        let secret = |n: u8| Secret::new(if n == 0 { super::world::SECRET } else { b"another" }).unwrap();
        let (current, previous) = (secret(self.rotations), secret((self.rotations + 2) % 3));
        self.world.shared.set_secrets(Secrets { current, previous: Some(previous) });
    }

    fn adjust(&mut self, denied: bool, per_user: u32, bandwidth: Option<u64>) {
        self.denied = denied.then(|| self.peer(0).ip());
        let mut terms = (*self.world.shared.terms()).clone();
        terms.peers = PeerPolicy::new(vec![], self.denied.map(IpNet::from).into_iter().collect());
        (terms.quotas.per_user, terms.quotas.bandwidth_per_allocation) = (per_user, bandwidth);
        self.world.shared.set_terms(terms);
    }

    fn request(&mut self, index: usize, method: u16, attributes: &[(u16, Vec<u8>)], peers: &[usize], proof: Proof) {
        let peers: Vec<SocketAddr> = peers.iter().map(|peer| self.peer(*peer)).collect();
        let client = &mut self.clients[index];
        let mut draft = client.request(method);
        for (kind, value) in attributes {
            match self.tokens.last() {
                Some(token) if *kind == RESERVATION_TOKEN => draft = draft.with(*kind, token),
                _ if *kind == MOBILITY_TICKET && method == method::REFRESH => {
                    draft = draft.with(*kind, &self.tickets[index]);
                }
                _ => draft = draft.with(*kind, value),
            }
        }
        for peer in peers {
            draft = draft.peer(peer);
        }
        let bytes = match proof {
            Proof::Right => client.sign(draft),
            Proof::Hashed => client.sign_hashed(draft),
            Proof::AnotherUser => {
                let username = self.world.username("eve");
                let password = World::password(&username);
                Client { username, password, ..client.clone() }.sign(draft)
            }
            Proof::WrongPassword => Client { password: "wrong".into(), ..client.clone() }.sign(draft),
            Proof::StaleNonce => Client { nonce: b"obMatJos2gAAAAAAAAAAAAAAA".to_vec(), ..client.clone() }.sign(draft),
            Proof::None => draft.bare(),
        };
        let path = client.path;
        let trusted = matches!(proof, Proof::Right | Proof::Hashed | Proof::AnotherUser);
        let first = self.hear(&path, &bytes, trusted);
        let again = self.hear(&path, &bytes, trusted);
        assert_eq!(first, again, "a retransmission is answered alike");
        if let Heard::Reply(answer) = first {
            self.note(index, &answer);
        }
    }

    fn note(&mut self, index: usize, answer: &Answer) {
        let client = &mut self.clients[index];
        client.learn(answer);
        if answer.code() == 0 {
            self.tokens.extend(answer.token());
            if let Some(ticket) = answer.value(MOBILITY_TICKET) {
                self.tickets[index] = ticket;
            }
            for relayed in answer.relayed() {
                self.granted.retain(|known| *known != relayed);
                self.granted.push(relayed);
                self.owner.insert(relayed, client.path);
            }
        }
        // An expired username is of no more use: the next request has another.
        if answer.code() == 401 && self.world.shards.iter().all(|(server, _)| server.allocations() == 0) {
            let user = client.username.split_once(':').map_or("", |(_, user)| user).to_owned();
            client.username = format!("{}:{user}", self.world.now.unix + 3600);
            client.password = World::password(&client.username);
        }
    }

    fn hear(&mut self, path: &ClientPath, bytes: &[u8], trusted: bool) -> Heard {
        let heard = self.world.hear(path, bytes);
        match &heard {
            Heard::Nothing => {}
            Heard::Reply(answer) => {
                let headers = if path.remote.is_ipv4() { 28 } else { 48 };
                let small = answer.0.len() + headers <= 3 * (bytes.len() + headers);
                let proven = path.transport.is_stream();
                assert!(small || proven || trusted && answer.is_signed(), "{answer:?} to {} bytes", bytes.len());
                assert_eq!(answer.transaction(), bytes[8..20], "an answer belongs to its request");
            }
            Heard::AtPeer { from, to, .. } => {
                assert_eq!(self.owner.get(from), Some(path), "data left from another client's relay");
                assert!(!to.ip().is_loopback() && !to.to_string().starts_with("10."), "{to} is denied");
                assert_ne!(self.denied, Some(to.ip()), "denied by now");
                let own = to.ip() == from.ip();
                assert!(!own || self.world.open().contains(to), "{to} is this machine, and no relayed port");
            }
        }
        heard
    }

    /// Time passes until everything has expired: nothing may be left. Returns what was counted.
    pub fn end(mut self) -> ShardSnapshot {
        self.world.pass(Duration::from_hours(2));
        assert_eq!(self.world.held(), [0; 8], "something leaks");
        self.world.shared.totals()
    }
}
