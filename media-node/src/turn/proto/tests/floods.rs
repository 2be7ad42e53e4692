//! Floods from forged addresses, and who is not to notice them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::turn::proto::attribute::LIFETIME;
use crate::turn::proto::message::method;
use crate::turn::proto::test_support::{Client, Heard, World};
use crate::turn::proto::{Drop, Transport};

/// A world in which a flood has used up what the network of [`World::stranger`]'s clients is answered: 198.51.100.0/24.
fn flooded() -> (World, Flood) {
    let mut world = World::new();
    let mut flood = Flood(0);
    flood.go_on(&mut world, 4000);
    assert_eq!(flood.go_on(&mut world, 100), 0);
    (world, flood)
}

/// Ever new forged sources.
struct Flood(u32);

impl Flood {
    /// How many of the next `count` were answered.
    fn go_on(&mut self, world: &mut World, count: u32) -> usize {
        let sent = self.0..self.0 + count;
        self.0 += count;
        let answered = sent.filter(|n| {
            let [a, b, c, _] = (n << 8).to_be_bytes();
            let remote = SocketAddr::new(Ipv4Addr::new(198, 51, 100, a).into(), u16::from_be_bytes([b, c]));
            let mut forged = Client::new("203.0.113.7:3478".parse().unwrap(), remote, "", "");
            forged.transactions = u64::from(*n) << 32;
            let bytes = if n % 2 == 0 { forged.allocate() } else { forged.request(method::BINDING) }.bare();
            world.hear(&forged.path, &bytes) != Heard::Nothing
        });
        answered.count()
    }
}

#[test]
fn a_flood_gets_as_many_answers_as_one_network_may_have_and_the_rest_is_counted() {
    let mut world = World::new();
    assert_eq!(Flood(0).go_on(&mut world, 10_000), 2000);
    assert_eq!(world.shared.totals().dropped(Drop::RateLimited), 8000);
    let mut elsewhere = world.stranger("ann");
    elsewhere.path.remote = "192.0.2.1:4000".parse().unwrap();
    let draft = elsewhere.allocate();
    assert_eq!(world.hear(&elsewhere.path, &draft.bare()).code(), 401, "another network");
}

#[test]
fn a_new_client_of_a_flooded_network_has_its_allocation_after_two_retransmissions_at_the_most() {
    let (mut world, mut flood) = flooded();
    let mut clients: Vec<Client> = (0..20).map(|n| world.stranger(&format!("user{n}"))).collect();
    let first: Vec<Vec<u8>> = clients.iter_mut().map(|client| client.allocate().bare()).collect();
    for wait in [0, 500, 1000] {
        for _ in 0..wait / 10 {
            world.pass(Duration::from_millis(10));
            // 20 000 a second
            flood.go_on(&mut world, 200);
        }
        for (client, request) in clients.iter_mut().zip(&first).filter(|(client, _)| client.nonce.is_empty()) {
            if let Heard::Reply(challenge) = world.hear(&client.path, request) {
                assert_eq!(challenge.code(), 401);
                client.learn(&challenge);
            }
        }
    }
    for client in &mut clients {
        let draft = client.allocate();
        assert_eq!(world.ask(client, draft).code(), 0, "with a nonce the flood is not noticed at all");
    }
}

#[test]
fn who_has_a_good_nonce_is_answered_whatever_the_answer_is() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let mut flood = Flood(0);
    flood.go_on(&mut world, 4000);
    for _ in 0..3000 {
        let draft = client.allocate();
        let wrong = Client { password: "wrong".into(), ..client.clone() };
        assert_eq!(world.ask(&wrong, draft).code(), 401);
    }
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 0);
}

#[test]
fn a_nonce_of_another_address_or_of_long_ago_proves_nothing() {
    let (mut world, _) = flooded();
    let (mut world_2, mut flood) = (World::new(), Flood(0));
    let mut client = world_2.client("ann");
    // Both worlds have the same nonce key.
    let mut other = Client { nonce: client.nonce.clone(), ..world.stranger("bob") };
    other.path.remote.set_port(client.path.remote.port() + 2);
    let draft = other.allocate();
    assert_eq!(world.hear(&other.path, &other.sign(draft)), Heard::Nothing);
    world_2.pass(Duration::from_mins(10));
    flood.go_on(&mut world_2, 4000);
    let draft = client.allocate();
    let request = client.sign(draft);
    assert_eq!(world_2.hear(&client.path, &request), Heard::Nothing);
    assert_eq!(world_2.hear(&client.path, &request).code(), 438, "the retransmission");
}

#[test]
fn a_live_allocation_proves_the_address_for_stale_nonces_and_keepalives_until_it_ends() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().number(LIFETIME, 3600);
    assert_eq!(world.ask(&client, draft).code(), 0);
    world.pass(Duration::from_mins(20));
    Flood(0).go_on(&mut world, 4000);
    let draft = client.request(method::REFRESH);
    let stale = world.ask(&client, draft);
    assert_eq!(stale.code(), 438);
    for _ in 0..3000 {
        let draft = client.request(method::BINDING);
        assert_eq!(world.hear(&client.path, &draft.bare()).code(), 0);
    }
    client.learn(&stale);
    let draft = client.request(method::REFRESH).number(LIFETIME, 0);
    assert_eq!(world.ask(&client, draft).code(), 0);
    let draft = client.request(method::BINDING);
    assert_eq!(world.hear(&client.path, &draft.bare()), Heard::Nothing);
}

#[test]
fn keepalives_of_ten_thousand_clients_behind_one_network_are_all_answered() {
    let mut world = World::new();
    let mut client = world.stranger("ann");
    for _ in 0..3 {
        // One in 10 s each, as browsers do, evenly spread.
        for n in 0..10_000u32 {
            if n % 100 == 0 {
                world.pass(Duration::from_millis(100));
            }
            let [.., high, low] = (1024 + n).to_be_bytes();
            client.path.remote.set_port(u16::from_be_bytes([high, low]));
            let draft = client.request(method::BINDING);
            assert_eq!(world.hear(&client.path, &draft.bare()).code(), 0);
        }
    }
}

#[test]
fn over_a_stream_everybody_is_answered_for_its_address_is_proven() {
    let (mut world, _) = flooded();
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut client = world.stranger("ann");
        client.path.transport = transport;
        for _ in 0..3000 {
            let draft = client.allocate();
            assert_eq!(world.hear(&client.path, &draft.bare()).code(), 401);
            let draft = client.request(method::BINDING);
            assert_eq!(world.hear(&client.path, &draft.bare()).code(), 0);
        }
    }
}

#[test]
fn without_a_limit_everybody_is_answered() {
    let mut world = World::with(|config| config.terms.limits.unauthenticated_per_prefix = 0);
    assert_eq!(Flood(0).go_on(&mut world, 10_000), 10_000);
}
