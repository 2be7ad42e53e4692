//! Whatever order moves, refreshes, deletions, expiries, lost connections and closings come in, over three shards whose
//! mail is read at any time: every allocation is in one place, and is accounted for once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::turn::proto::attribute::{CHANNEL_NUMBER, LIFETIME, MOBILITY_TICKET};
use crate::turn::proto::counters::Move;
use crate::turn::proto::message::method;
use crate::turn::proto::server::ClientPath;
use crate::turn::proto::test_support::{Answer, Client, Heard, World};

const SHARDS: u16 = 3;
const USERS: usize = 3;
/// Paths of one user; two of each shard.
const PATHS: usize = 6;

/// Kind, user, path, anything.
type Event = (u8, usize, usize, u8);

struct Users {
    world: World,
    clients: Vec<Vec<Client>>,
    /// Every ticket that a user was given, the last one last.
    tickets: Vec<Vec<Vec<u8>>>,
    /// Whose a relayed address was last.
    owners: HashMap<SocketAddr, usize>,
}

impl Users {
    fn new() -> Self {
        let mut world = World::with_shards(SHARDS, |config| config.lifetimes.nonce = Duration::from_hours(1));
        let clients = ["ann", "bob", "cleo"].map(|user| (0..PATHS).map(|_| world.client(user)).collect()).into();
        Self { world, clients, tickets: vec![Vec::new(); USERS], owners: HashMap::new() }
    }

    fn step(&mut self, (kind, user, path, any): Event) {
        let shard = usize::from(any) % usize::from(SHARDS);
        match kind {
            0..=2 => self.allocate(user, path % 2, any),
            3..=8 => self.announce(user, path, any),
            9..=12 => self.hear(user, path, &[0x40, 0, 0, 1, any]),
            13..=22 => self.walk(user, path, any),
            23..=28 => self.read_mail(shard),
            29..=31 => self.peer_sends(any),
            32 => self.refresh(user, path, if any.is_multiple_of(4) { 0 } else { 600 }),
            33 => self.world.pass(Duration::from_secs(u64::from(any) * 3)),
            34 => self.world.pass_unnoticed(Duration::from_secs(u64::from(any) * 3)),
            35 | 36 => {
                let (path, now) = (self.clients[user][path].path, self.world.now);
                let place = usize::from(path.remote.port()) % usize::from(SHARDS);
                let (server, relays) = &mut self.world.shards[place];
                server.handle_closed(now, relays, &path);
            }
            37 => self.world.shards[shard].1.exhausted = any.is_multiple_of(8),
            38 if any.is_multiple_of(4) => {
                let (server, relays) = &mut self.world.shards[shard];
                server.close_all(relays);
            }
            _ => self.world.shards.iter_mut().for_each(|(server, _)| while server.poll_wake().is_some() {}),
        }
        self.check();
    }

    fn allocate(&mut self, user: usize, path: usize, any: u8) {
        let client = &mut self.clients[user][path];
        let draft = client.allocate();
        let draft = if any.is_multiple_of(4) { draft } else { draft.with(MOBILITY_TICKET, &[]) };
        let bytes = client.sign(draft);
        self.hear(user, path, &bytes);
        let client = &mut self.clients[user][path];
        let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(super::peer());
        let bytes = client.sign(draft);
        self.hear(user, path, &bytes);
    }

    fn announce(&mut self, user: usize, path: usize, any: u8) {
        let tickets = &self.tickets[user];
        let back = if any.is_multiple_of(4) { usize::from(any / 4) } else { 0 };
        let Some(ticket) = tickets.len().checked_sub(1 + back % tickets.len().max(1)).map(|at| tickets[at].clone())
        else {
            return;
        };
        let client = &mut self.clients[user][path];
        let lifetime = if any % 16 == 3 { 0 } else { 600 + u32::from(any) };
        let draft = client.request(method::REFRESH).number(LIFETIME, lifetime).with(MOBILITY_TICKET, &ticket);
        let bytes = client.sign(draft);
        self.hear(user, path, &bytes);
        if any.is_multiple_of(5) {
            self.hear(user, path, &bytes);
        }
    }

    /// As a client does that works. How far it comes before something else happens differs.
    fn walk(&mut self, user: usize, path: usize, any: u8) {
        self.announce(user, path, 1);
        for step in 0..any % 8 {
            match step {
                0 | 1 | 3 | 5 => (0..usize::from(SHARDS)).for_each(|shard| self.read_mail(shard)),
                _ => self.hear(user, path, &[0x40, 0, 0, 1, any]),
            }
            self.check();
        }
    }

    fn refresh(&mut self, user: usize, path: usize, lifetime: u32) {
        let client = &mut self.clients[user][path];
        let draft = client.request(method::REFRESH).number(LIFETIME, lifetime);
        let bytes = client.sign(draft);
        self.hear(user, path, &bytes);
    }

    fn hear(&mut self, user: usize, path: usize, bytes: &[u8]) {
        let path = self.clients[user][path].path;
        let heard = self.world.hear(&path, bytes);
        self.note(user, &path, heard);
    }

    fn read_mail(&mut self, shard: usize) {
        for (path, heard) in self.world.read_mail(shard) {
            let user = self.user_of(&path);
            self.note(user, &path, heard);
        }
    }

    fn user_of(&self, path: &ClientPath) -> usize {
        self.clients.iter().position(|clients| clients.iter().any(|client| client.path == *path)).unwrap()
    }

    fn note(&mut self, user: usize, path: &ClientPath, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::AtPeer { from, .. } => assert_eq!(self.owners.get(&from), Some(&user), "of somebody else"),
            Heard::Reply(answer) => self.note_answer(user, path, &answer),
        }
    }

    fn note_answer(&mut self, user: usize, path: &ClientPath, answer: &Answer) {
        self.tickets[user].extend(answer.value(MOBILITY_TICKET));
        for relayed in answer.relayed() {
            self.owners.insert(relayed, user);
        }
        let client = self.clients[user].iter_mut().find(|client| client.path == *path).unwrap();
        client.learn(answer);
        if answer.code() == 401 {
            let (_, name) = client.username.split_once(':').unwrap();
            let username = self.world.username(name);
            for client in &mut self.clients[user] {
                client.password = World::password(&username);
                client.username.clone_from(&username);
            }
        }
    }

    fn peer_sends(&mut self, any: u8) {
        let relays: Vec<SocketAddr> = self.world.open().into_iter().collect();
        let Some(relay) = relays.get(usize::from(any) % relays.len().max(1)) else { return };
        if let Some((path, _)) = self.world.peer_sends(*relay, super::peer(), b"x") {
            assert_eq!(self.owners.get(relay), Some(&self.user_of(&path)), "sent to somebody else");
        }
    }

    /// One relay socket an allocation, so sockets, ports, places in the quotas and allocations are as many.
    fn check(&self) {
        let World { shards, shared, .. } = &self.world;
        let transit = shards[0].1.in_transit();
        let sockets: usize = shards.iter().map(|(_, relays)| relays.open().len()).sum::<usize>() + transit;
        let allocations: usize = shards.iter().map(|(server, _)| server.allocations()).sum::<usize>() + transit;
        assert_eq!(sockets, self.world.open().len() + transit, "a socket in two shards");
        assert_eq!(sockets, allocations);
        assert_eq!((shared.live_ports() as usize, shared.claimed_ports() as usize), (sockets, sockets));
        assert_eq!(shared.admitted() as usize, allocations);
        assert_eq!(usize::try_from(shared.totals().allocations).unwrap() + transit, allocations);
        assert!(shared.mobile_allocations() <= allocations);
    }

    /// Returns how many moves there were.
    fn end(mut self) -> u64 {
        for _ in 0..usize::from(SHARDS) {
            (0..usize::from(SHARDS)).for_each(|shard| self.read_mail(shard));
        }
        self.world.pass(Duration::from_hours(2));
        assert_eq!(self.world.held(), [0; 8], "something leaks");
        assert_eq!((self.world.shared.mobile_allocations(), self.world.shards[0].1.in_transit()), (0, 0));
        let totals = self.world.shared.totals();
        Move::ALL.iter().map(|kind| totals.moves(*kind)).sum()
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    vec((0u8..40, 0..USERS, 0..PATHS, any::<u8>()), 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_allocation_is_in_one_place_and_accounted_for_once(events in events()) {
        let mut users = Users::new();
        for event in events {
            users.step(event);
        }
        users.end();
    }
}

#[test]
fn such_events_do_make_allocations_move() {
    let mut runner = TestRunner::deterministic();
    let moves: u64 = (0..50)
        .map(|_| {
            let mut users = Users::new();
            for event in events().new_tree(&mut runner).unwrap().current() {
                users.step(event);
            }
            users.end()
        })
        .sum();
    assert!(moves > 100, "{moves}");
}
