//! What clients are told by a node that is to go: RFC 8489 section 10, RFC 8656 section 7.2.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::turn::proto::attribute::{
    ALTERNATE_SERVER, EVEN_PORT, MOBILITY_TICKET, REQUESTED_TRANSPORT, RESERVATION_TOKEN,
};
use crate::turn::proto::message::method;
use crate::turn::proto::server::Transport;
use crate::turn::proto::test_support::{Client, Style, World};
use crate::turn::proto::{Alternates, Method, Outcome};

const V4: [&str; 2] = ["203.0.113.8", "203.0.113.9"];
const V6: &str = "2001:db8::8";

fn drain(world: &World, alternates: &[&str]) {
    let alternates = alternates.iter().map(|ip| ip.parse().unwrap()).collect();
    world.shared.set_drain(Some(Alternates::parse(alternates).unwrap()));
}

/// Code and alternates.
fn allocate(world: &mut World, client: &mut Client) -> (u16, Vec<SocketAddr>) {
    let draft = client.allocate();
    let answer = world.ask(client, draft);
    (answer.code(), answer.alternates())
}

/// A client whose 5-tuple is this, with realm and nonce.
fn at(world: &mut World, local: &str, remote: &str, transport: Transport) -> Client {
    let mut client = world.stranger("ann");
    client.path.local = local.parse().unwrap();
    client.path.remote = remote.parse().unwrap();
    client.path.transport = transport;
    world.challenge(&mut client);
    client
}

#[test]
fn a_new_client_is_sent_to_a_node_of_its_family_on_the_port_that_it_came_to() {
    let v4 = ("203.0.113.7:3478", "198.51.100.1:1000");
    let v6 = ("[2001:db8::7]:443", "[2001:db8:1::1]:1001");
    for (case, alternates, (local, remote), transport, expected) in [
        ("IPv4", vec![V4[0]], v4, Transport::Udp, (300, vec!["203.0.113.8:3478"])),
        ("IPv6 over TLS", vec![V6], v6, Transport::Tls, (300, vec!["[2001:db8::8]:443"])),
        ("both", vec![V6, V4[0]], v4, Transport::Tcp, (300, vec!["203.0.113.8:3478", "[2001:db8::8]:3478"])),
        ("IPv6, and both", vec![V4[0], V6], v6, Transport::Tls, (300, vec!["[2001:db8::8]:443", "203.0.113.8:443"])),
        ("none of its family", vec![V6], v4, Transport::Udp, (508, vec![])),
        ("none", vec![], v6, Transport::Tls, (508, vec![])),
    ] {
        let mut world = World::new();
        drain(&world, &alternates);
        let mut client = at(&mut world, local, remote, transport);
        let (code, alternates) = allocate(&mut world, &mut client);
        let alternates: Vec<String> = alternates.iter().map(ToString::to_string).collect();
        assert_eq!((code, alternates.iter().map(String::as_str).collect()), expected, "{case}");
        assert_eq!(world.held(), [0; 8], "{case}");
    }
}

#[test]
fn who_is_sent_elsewhere_can_tell_that_it_was_the_node_who_said_so() {
    for style in [Style::Legacy, Style::Md5, Style::Sha256] {
        let mut world = World::new();
        drain(&world, &V4);
        let mut client = Client { style, ..world.client("ann") };
        let draft = client.allocate().fingerprint();
        let answer = world.ask(&client, draft);
        assert_eq!(answer.code(), 300, "{style:?}");
        assert!(answer.is_signed_for(&client) && answer.has_right_fingerprint(), "{style:?}");
    }
}

#[test]
fn nobody_is_sent_anywhere_who_is_not_authenticated_or_asks_for_what_no_node_gives() {
    let mut world = World::new();
    drain(&world, &V4);
    let mut client = world.client("ann");
    let wrong = Client { password: "wrong".to_owned(), ..client.clone() };
    let stale = Client { nonce: b"obMatJos2gAAAAAAAAAAAAAAA".to_vec(), ..client.clone() };
    let requests = [
        ("without credentials", client.allocate().bare(), 401),
        ("with a wrong password", wrong.sign(client.allocate()), 401),
        ("with a nonce of another", stale.sign(client.allocate()), 438),
        (
            "for TCP allocations",
            client.sign(client.clone().request(method::ALLOCATE).with(REQUESTED_TRANSPORT, &[6, 0, 0, 0])),
            442,
        ),
        ("without a transport", client.sign(client.clone().request(method::ALLOCATE)), 400),
        ("with an attribute that nobody knows", client.sign(client.clone().allocate().with(0x7abc, &[])), 420),
    ];
    for (case, request, code) in requests {
        let answer = world.hear(&client.path, &request).reply();
        assert_eq!((answer.code(), answer.has(ALTERNATE_SERVER)), (code, false), "{case}");
    }
    let totals = world.shared.totals();
    assert_eq!(totals.requests(Method::Allocate, Outcome::TryAlternate), 0);
}

#[test]
fn clients_are_spread_over_the_alternates_and_a_request_that_is_repeated_is_answered_alike() {
    let mut world = World::new();
    let all: Vec<String> = (1..=8).map(|n| format!("203.0.113.{n}")).collect();
    drain(&world, &all.iter().map(String::as_str).collect::<Vec<_>>());
    let mut sent: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for _ in 0..800 {
        let mut client = world.client("ann");
        let request = client.sign(client.clone().allocate());
        let answer = world.hear(&client.path, &request).reply();
        assert_eq!(answer, world.hear(&client.path, &request).reply());
        let [to] = answer.alternates()[..] else { panic!("one alternate: {answer:?}") };
        *sent.entry(to.ip()).or_default() += 1;
        client.transactions += 1;
    }
    assert_eq!(sent.len(), 8);
    assert!(sent.values().all(|clients| (50..150).contains(clients)), "{sent:?}");
    assert_eq!(world.shared.totals().requests(Method::Allocate, Outcome::TryAlternate), 1600);
}

#[test]
fn what_lives_goes_on_and_there_is_a_way_back() {
    let mut world = World::new();
    let mut old = world.client("ann");
    let allocate_old = old.sign(old.clone().allocate().with(MOBILITY_TICKET, &[]));
    let granted = world.hear(&old.path, &allocate_old).reply();
    old.transactions += 1;
    drain(&world, &V4);
    let again = world.hear(&old.path, &allocate_old).reply();
    assert_eq!((again.code(), again.relayed()), (0, granted.relayed()), "its answer may have been lost");
    for number in [method::REFRESH, method::CREATE_PERMISSION] {
        let draft = old.request(number).peer(super::peer());
        assert_eq!(world.ask(&old, draft).code(), 0);
    }
    let mut moved = at(&mut world, "203.0.113.7:3478", "198.51.100.77:2000", Transport::Udp);
    let draft = moved.request(method::REFRESH).with(MOBILITY_TICKET, &granted.value(MOBILITY_TICKET).unwrap());
    let refresh = moved.sign(draft);
    assert_eq!(world.hear_all(&moved.path, &refresh).code(), 0, "a client may move");

    let mut new = world.client("bob");
    assert_eq!(allocate(&mut world, &mut new).0, 300);
    world.shared.set_drain(None);
    assert_eq!(allocate(&mut world, &mut new).0, 0);
}

#[test]
fn a_token_is_good_at_no_other_node() {
    let mut world = World::new();
    let mut first = world.client("ann");
    let draft = first.allocate().with(EVEN_PORT, &[0x80]);
    let token = world.ask(&first, draft).token().unwrap();
    drain(&world, &V4);
    let mut second = world.client("ann");
    let draft = second.allocate().with(RESERVATION_TOKEN, &token);
    assert_eq!(world.ask(&second, draft).code(), 508);
}
