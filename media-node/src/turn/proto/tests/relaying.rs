//! Send and Data (RFC 8656 section 11), calls through one node, ICMP errors.

use std::net::SocketAddr;

use crate::turn::proto::attribute::{CHANNEL_NUMBER, DATA, DONT_FRAGMENT, ICMP, XOR_PEER_ADDRESS};
use crate::turn::proto::config::{RelayAddress, RelayAddresses};
use crate::turn::proto::counters::Drop;
use crate::turn::proto::message::{Class, Message, method};
use crate::turn::proto::server::{PeerError, RelayId};
use crate::turn::proto::test_support::{Answer, Client, Heard, World};

fn permitted(world: &mut World, user: &str, peer: SocketAddr) -> (Client, SocketAddr) {
    let (mut client, relayed) = world.allocated(user);
    let draft = client.request(method::CREATE_PERMISSION).peer(peer);
    assert_eq!(world.ask(&client, draft).code(), 0);
    (client, relayed)
}

#[test]
fn a_send_indication_reaches_the_peer_and_a_data_indication_the_client() {
    let mut world = World::new();
    let (mut client, relayed) = permitted(&mut world, "ann", super::peer());
    let bytes = client.send(super::peer(), b"hello");
    assert_eq!(
        world.hear(&client.path, &bytes),
        Heard::AtPeer { from: relayed, to: super::peer(), payload: b"hello".to_vec(), dont_fragment: false }
    );
    for payload in [&b""[..], b"x", b"xy", b"xyz", b"wxyz", &[7; 1400]] {
        let (path, bytes) = world.peer_sends(relayed, super::peer(), payload).unwrap();
        assert_eq!(path, client.path);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Indication, method::DATA));
        assert_eq!(message.attribute(DATA), Some(payload));
        assert_eq!(message.peers().collect::<Vec<_>>(), [Some(super::peer())]);
    }
}

#[test]
fn data_from_an_ipv6_peer_is_well_formed_too() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().with(crate::turn::proto::attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let relayed = world.ask(&client, draft).relayed()[0];
    let draft = client.request(method::CREATE_PERMISSION).peer(super::peer_v6());
    assert_eq!(world.ask(&client, draft).code(), 0);
    // As a socket reports it: with a flow and a scope.
    let SocketAddr::V6(mut from) = super::peer_v6() else { unreachable!() };
    from.set_flowinfo(7);
    from.set_scope_id(3);
    let (_, bytes) = world.peer_sends(relayed, from.into(), b"hello").unwrap();
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.peers().collect::<Vec<_>>(), [Some(super::peer_v6())]);
    assert_eq!(message.attribute(DATA), Some(&b"hello"[..]));
}

#[test]
fn indications_differ_in_their_transaction_ids() {
    let mut world = World::new();
    let (_, relayed) = permitted(&mut world, "ann", super::peer());
    let mut id = || Message::decode(&world.peer_sends(relayed, super::peer(), b"x").unwrap().1).unwrap().transaction();
    assert_ne!(id(), id());
}

#[test]
fn dont_fragment_is_passed_on() {
    let mut world = World::new();
    let (mut client, _) = permitted(&mut world, "ann", super::peer());
    let draft = client.draft(Class::Indication, method::SEND).peer(super::peer());
    let bytes = draft.with(DONT_FRAGMENT, &[]).with(DATA, b"x").bare();
    assert!(matches!(world.hear(&client.path, &bytes), Heard::AtPeer { dont_fragment: true, .. }));
}

#[test]
fn a_send_indication_that_lacks_something_goes_nowhere() {
    let mut world = World::new();
    let (mut client, _) = permitted(&mut world, "ann", super::peer());
    let mut send =
        |change: &dyn Fn(crate::turn::proto::test_support::Draft) -> crate::turn::proto::test_support::Draft| {
            let bytes = change(client.draft(Class::Indication, method::SEND)).bare();
            world.hear(&client.path, &bytes)
        };
    let peer = super::peer();
    assert!(matches!(send(&|draft| draft.peer(peer).with(DATA, b"x")), Heard::AtPeer { .. }));
    for (case, heard) in [
        ("no data", send(&|draft| draft.peer(peer))),
        ("no peer", send(&|draft| draft.with(DATA, b"x"))),
        ("a broken peer", send(&|draft| draft.with(XOR_PEER_ADDRESS, &[0, 1]).with(DATA, b"x"))),
        ("something unknown", send(&|draft| draft.peer(peer).with(DATA, b"x").with(0x7001, b""))),
        ("no permission", send(&|draft| draft.peer("192.0.2.1:1".parse().unwrap()).with(DATA, b"x"))),
        ("port zero", send(&|draft| draft.peer("192.0.2.9:0".parse().unwrap()).with(DATA, b"x"))),
        ("the other family", send(&|draft| draft.peer(super::peer_v6()).with(DATA, b"x"))),
    ] {
        assert_eq!(heard, Heard::Nothing, "{case}");
    }
    let totals = world.shared.totals();
    assert_eq!((totals.dropped(Drop::Malformed), totals.dropped(Drop::NoPermission)), (4, 3));
}

#[test]
fn a_channel_carries_what_comes_from_its_peer_and_indications_the_rest() {
    let mut world = World::new();
    let (mut client, relayed) = permitted(&mut world, "ann", super::peer());
    let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 1, 0, 0]).peer(super::peer());
    assert_eq!(world.ask(&client, draft).code(), 0);
    assert_eq!(world.peer_sends(relayed, super::peer(), b"x").unwrap().1, b"\x40\x01\x00\x01x");
    let other_port = world.peer_sends(relayed, "192.0.2.9:4001".parse().unwrap(), b"x").unwrap().1;
    assert_eq!(other_port[..2], [0x00, 0x17]);
    let bytes = client.send(super::peer(), b"by indication");
    assert!(matches!(world.hear(&client.path, &bytes), Heard::AtPeer { .. }), "a client may use both");
}

/// Two clients on different shards of one node, each permitted to send to the other's relayed address.
fn call_through_one_node(world: &mut World) -> [(Client, SocketAddr); 2] {
    let (mut ann, at_ann) = world.allocated("ann");
    let (mut bob, at_bob) = world.allocated("bob");
    assert_ne!(World::shard_of(&ann.path), World::shard_of(&bob.path));
    for (client, peer) in [(&mut ann, at_bob), (&mut bob, at_ann)] {
        let draft = client.request(method::CREATE_PERMISSION).peer(peer);
        assert_eq!(world.ask(client, draft).code(), 0);
    }
    [(ann, at_ann), (bob, at_bob)]
}

#[test]
fn two_clients_of_one_node_reach_each_other_behind_a_nat_too() {
    for (local, public) in [("203.0.113.7", "203.0.113.7"), ("10.1.1.1", "203.0.113.7")] {
        let mut world = World::with(|config| {
            let address = RelayAddress { local: local.parse().unwrap(), public: public.parse().unwrap() };
            config.relays = RelayAddresses::new(&[address]).unwrap();
        });
        let [(mut ann, at_ann), (bob, at_bob)] = call_through_one_node(&mut world);
        let bytes = ann.send(at_bob, b"hello");
        let Heard::AtPeer { from, to, payload, .. } = world.hear(&ann.path, &bytes) else { panic!("nothing sent") };
        assert_eq!(
            (from, to),
            (
                SocketAddr::new(local.parse().unwrap(), at_ann.port()),
                SocketAddr::new(local.parse().unwrap(), at_bob.port())
            )
        );
        let (path, bytes) = world.peer_sends(to, from, &payload).unwrap();
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(path, bob.path);
        assert_eq!(message.peers().collect::<Vec<_>>(), [Some(at_ann)], "the public address, as clients know it");
        assert_eq!(message.attribute(DATA), Some(&b"hello"[..]));
    }
}

#[test]
fn of_the_machine_itself_only_live_relayed_ports_are_reached_and_heard() {
    let mut world = World::new();
    let [(mut ann, at_ann), (mut bob, at_bob)] = call_through_one_node(&mut world);
    for port in [22, 3478, 9443, 50_000, 50_098] {
        let peer = SocketAddr::new(at_bob.ip(), port);
        if peer == at_ann || peer == at_bob {
            continue;
        }
        let bytes = ann.send(peer, b"x");
        assert_eq!(world.hear(&ann.path, &bytes), Heard::Nothing, "port {port}");
        assert_eq!(world.peer_sends(at_ann, peer, b"x"), None, "port {port}");
        let draft = ann.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(peer);
        let bindable = port >= 50_000;
        if !bindable {
            assert_eq!(world.ask(&ann, draft).code(), 403, "port {port}");
        }
    }
    let bytes = ann.send(at_bob, b"x");
    assert!(matches!(world.hear(&ann.path, &bytes), Heard::AtPeer { .. }));
    let draft = bob.request(method::REFRESH).number(crate::turn::proto::attribute::LIFETIME, 0);
    assert_eq!(world.ask(&bob, draft).code(), 0);
    assert_eq!(world.hear(&ann.path, &bytes), Heard::Nothing, "the port is no relay any more");
    assert!(world.shared.totals().dropped(Drop::OwnAddress) > 0);
}

#[test]
fn an_icmp_error_about_a_permitted_peer_is_reported() {
    let mut world = World::new();
    let (client, relayed) = permitted(&mut world, "ann", super::peer());
    let error = |icmp_type, icmp_code| PeerError { peer: super::peer(), icmp_type, icmp_code, data: 1400 };
    for (case, error, expected) in [
        ("port unreachable", error(3, 3), Some([0, 0, 6, 3, 0, 0, 0, 0])),
        ("fragmentation needed", error(3, 4), Some([0, 0, 6, 4, 0, 0, 5, 0x78])),
        ("time exceeded", error(11, 0), Some([0, 0, 22, 0, 0, 0, 0, 0])),
        ("echo reply", error(0, 0), None),
        ("another peer", PeerError { peer: "192.0.2.1:1".parse().unwrap(), ..error(3, 3) }, None),
    ] {
        let heard: Option<(_, Answer)> = world.peer_error(relayed, error);
        assert_eq!(heard.as_ref().map(|(path, _)| *path), expected.map(|_| client.path), "{case}");
        let indication = heard.map(|(_, indication)| indication);
        assert_eq!(indication.as_ref().and_then(|it| it.value(ICMP)), expected.map(|value| value.to_vec()), "{case}");
        assert_eq!(indication.as_ref().and_then(Answer::peer), expected.map(|_| super::peer()), "{case}");
        assert!(indication.is_none_or(|it| !it.has(DATA) && Message::decode(&it.0).is_ok()), "{case}");
    }
}

#[test]
fn datagrams_that_do_not_fit_with_their_header_are_dropped() {
    let mut world = World::new();
    let (mut client, relayed) = permitted(&mut world, "ann", super::peer());
    let largest = vec![0; 65_507];
    assert_eq!(world.peer_sends(relayed, super::peer(), &largest), None);
    assert!(world.peer_sends(relayed, super::peer(), &largest[..65_400]).is_some());
    let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(super::peer());
    assert_eq!(world.ask(&client, draft).code(), 0);
    assert_eq!(world.peer_sends(relayed, super::peer(), &largest), None);
    assert!(world.peer_sends(relayed, super::peer(), &largest[..65_503]).is_some());
    assert_eq!(world.shared.totals().dropped(Drop::TooLarge), 2);
}

#[test]
fn a_packet_on_a_relay_socket_that_nobody_owns_is_dropped() {
    let mut world = World::new();
    let now = world.now;
    let (server, _) = &mut world.shards[0];
    for id in [0, 1, 4_000_000_000] {
        assert!(server.handle_peer(now, RelayId(id), super::peer(), b"x").is_none());
    }
    assert_eq!(world.shared.totals().dropped(Drop::NoRelay), 3);
}
