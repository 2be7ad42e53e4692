//! RFC 8656 section 12.

use std::net::SocketAddr;
use std::time::Duration;

use crate::turn::proto::attribute::CHANNEL_NUMBER;
use crate::turn::proto::counters::Drop;
use crate::turn::proto::message::method;
use crate::turn::proto::test_support::{Client, Heard, World};

fn bind(world: &mut World, client: &mut Client, number: u16, peer: &str) -> u16 {
    let [high, low] = number.to_be_bytes();
    let peer = peer.parse().unwrap();
    let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[high, low, 0, 0]).peer(peer);
    world.ask(client, draft).code()
}

fn data(number: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let [len_high, len_low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[high, low, len_high, len_low], payload].concat()
}

fn arrives(world: &mut World, client: &Client, number: u16) -> Option<SocketAddr> {
    match world.hear(&client.path, &data(number, b"hello")) {
        Heard::AtPeer { to, .. } => Some(to),
        _ => None,
    }
}

/// Long-lived nonces and allocations, so that minutes can pass.
fn patient() -> World {
    World::with(|config| {
        config.lifetimes.nonce = Duration::from_secs(100_000);
        config.lifetimes.allocation = Duration::from_hours(1);
    })
}

#[test]
fn data_flows_both_ways_through_a_channel() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000"), 0);
    assert_eq!(
        world.hear(&client.path, &data(0x4000, b"hello")),
        Heard::AtPeer { from: relayed, to: super::peer(), payload: b"hello".to_vec(), dont_fragment: false }
    );
    let heard = world.peer_sends(relayed, super::peer(), b"world!");
    assert_eq!(heard, Some((client.path, b"\x40\x00\x00\x06world!".to_vec())));
    let totals = world.shared.totals();
    assert_eq!((totals.packets_to_peers, totals.bytes_to_peers), (1, 5));
    assert_eq!((totals.packets_to_clients, totals.bytes_to_clients), (1, 6));
}

#[test]
fn an_empty_payload_is_a_payload() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000");
    assert!(
        matches!(world.hear(&client.path, &data(0x4000, b"")), Heard::AtPeer { payload, .. } if payload.is_empty())
    );
    assert_eq!(world.peer_sends(relayed, super::peer(), b"").unwrap().1, b"\x40\x00\x00\x00");
}

#[test]
fn channel_data_may_be_padded_and_must_be_whole() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000");
    for (case, bytes, expected) in [
        ("as long as it says", &b"\x40\x00\x00\x05hello"[..], true),
        ("padded to four", b"\x40\x00\x00\x05hello\0\0\0", true),
        ("shorter than it says", b"\x40\x00\x00\x06hello", false),
        ("longer than padding explains", b"\x40\x00\x00\x05hello\0\0\0\0", false),
        ("no length", b"\x40\x00\x00", false),
        ("a number alone", b"\x40", false),
    ] {
        let heard = matches!(world.hear(&client.path, bytes), Heard::AtPeer { payload, .. } if payload == b"hello");
        assert_eq!(heard, expected, "{case}");
    }
}

#[test]
fn numbers_of_rfc_5766_can_be_bound_and_heard_and_no_others() {
    for (number, expected) in
        [(0x3FFF, 400), (0x4000, 0), (0x4FFF, 0), (0x5000, 0), (0x7FFF, 0), (0x8000, 400), (0xFFFF, 400), (0, 400)]
    {
        let mut world = World::new();
        let (mut client, _) = world.allocated("ann");
        assert_eq!(bind(&mut world, &mut client, number, "192.0.2.9:4000"), expected, "{number:#x}");
        assert_eq!(arrives(&mut world, &client, number).is_some(), expected == 0, "{number:#x}");
    }
}

#[test]
fn a_bind_that_lacks_something_is_bad() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    let number = |draft: crate::turn::proto::test_support::Draft| draft.with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
    let without_peer = number(client.request(method::CHANNEL_BIND));
    let without_number = client.request(method::CHANNEL_BIND).peer(super::peer());
    let short_number = client.request(method::CHANNEL_BIND).peer(super::peer()).with(CHANNEL_NUMBER, &[0x40, 0]);
    let port_zero = number(client.request(method::CHANNEL_BIND)).peer("192.0.2.9:0".parse().unwrap());
    for draft in [without_peer, without_number, short_number, port_zero] {
        assert_eq!(world.ask(&client, draft).code(), 400);
    }
    assert_eq!(bind(&mut world, &mut client, 0x4000, "[2001:db8:2::1]:1"), 443);
}

#[test]
fn a_number_has_one_peer_and_a_peer_one_number() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    for (case, number, peer, expected) in [
        ("first", 0x4000, "192.0.2.9:4000", 0),
        ("the same again", 0x4000, "192.0.2.9:4000", 0),
        ("the number for another peer", 0x4000, "192.0.2.9:4001", 400),
        ("the peer under another number", 0x4001, "192.0.2.9:4000", 400),
        ("another port is another peer", 0x4001, "192.0.2.9:4001", 0),
    ] {
        assert_eq!(bind(&mut world, &mut client, number, peer), expected, "{case}");
    }
    assert_eq!(arrives(&mut world, &client, 0x4000), Some(super::peer()), "as it was");
}

#[test]
fn a_binding_lasts_ten_minutes_and_its_permission_five() {
    let mut world = patient();
    let (mut client, relayed) = world.allocated("ann");
    bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000");
    world.pass(Duration::from_secs(299));
    assert!(arrives(&mut world, &client, 0x4000).is_some());
    world.pass(Duration::from_secs(1));
    assert_eq!(arrives(&mut world, &client, 0x4000), None, "the permission has expired, the channel has not");
    assert_eq!(world.shared.totals().dropped(Drop::NoPermission), 1);
    let draft = client.request(method::CREATE_PERMISSION).peer(super::peer());
    assert_eq!(world.ask(&client, draft).code(), 0);
    world.pass(Duration::from_secs(299));
    assert!(arrives(&mut world, &client, 0x4000).is_some());
    assert_eq!(world.peer_sends(relayed, super::peer(), b"x").unwrap().1[..2], [0x40, 0x00]);
    world.pass(Duration::from_secs(1));
    let draft = client.request(method::CREATE_PERMISSION).peer(super::peer());
    assert_eq!(world.ask(&client, draft).code(), 0);
    assert_eq!(arrives(&mut world, &client, 0x4000), None, "ten minutes");
    let (_, indication) = world.peer_sends(relayed, super::peer(), b"x").unwrap();
    assert_eq!(indication[..2], [0x00, 0x17], "a Data indication again");
}

#[test]
fn a_bind_refreshes_channel_and_permission() {
    let mut world = patient();
    let (mut client, _) = world.allocated("ann");
    for _ in 0..10 {
        assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000"), 0);
        world.pass(Duration::from_secs(299));
        assert!(arrives(&mut world, &client, 0x4000).is_some());
    }
}

#[test]
fn neither_number_nor_peer_is_bound_otherwise_until_five_minutes_after_expiry() {
    let mut world = patient();
    let (mut client, _) = world.allocated("ann");
    assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000"), 0);
    world.pass(Duration::from_secs(600 + 299));
    assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:4001"), 400);
    assert_eq!(bind(&mut world, &mut client, 0x4001, "192.0.2.9:4000"), 400);
    world.pass(Duration::from_secs(1));
    assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:4001"), 0);
    assert_eq!(bind(&mut world, &mut client, 0x4001, "192.0.2.9:4000"), 0);
    assert_eq!(arrives(&mut world, &client, 0x4000), Some("192.0.2.9:4001".parse().unwrap()));
    assert_eq!(arrives(&mut world, &client, 0x4001), Some(super::peer()));
}

#[test]
fn the_same_pair_can_be_bound_again_in_those_five_minutes() {
    let mut world = patient();
    let (mut client, _) = world.allocated("ann");
    assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000"), 0);
    world.pass(Duration::from_secs(700));
    assert_eq!(arrives(&mut world, &client, 0x4000), None);
    assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000"), 0);
    assert_eq!(arrives(&mut world, &client, 0x4000), Some(super::peer()));
}

#[test]
fn channels_are_bounded_and_old_ones_make_room() {
    let mut world = World::with(|config| {
        config.lifetimes.nonce = Duration::from_secs(100_000);
        config.lifetimes.allocation = Duration::from_hours(1);
        config.terms.limits.channels = 2;
        config.terms.limits.permissions = 1;
    });
    let (mut client, relayed) = world.allocated("ann");
    assert_eq!(bind(&mut world, &mut client, 0x4000, "192.0.2.9:1"), 0);
    assert_eq!(bind(&mut world, &mut client, 0x4001, "192.0.2.8:1"), 508, "no room for the permission");
    assert_eq!(bind(&mut world, &mut client, 0x4001, "192.0.2.9:2"), 0);
    assert_eq!(bind(&mut world, &mut client, 0x4002, "192.0.2.9:3"), 508, "no room for the channel");
    assert!(world.peer_sends(relayed, "192.0.2.8:1".parse().unwrap(), b"x").is_none());
    world.pass(Duration::from_mins(15));
    assert_eq!(bind(&mut world, &mut client, 0x4002, "192.0.2.9:3"), 0);
}

#[test]
fn a_channel_of_one_allocation_is_nothing_to_another() {
    let mut world = World::new();
    let (mut ann, _) = world.allocated("ann");
    let (bob, _) = world.allocated("bob");
    bind(&mut world, &mut ann, 0x4000, "192.0.2.9:4000");
    assert_eq!(arrives(&mut world, &bob, 0x4000), None);
    assert_eq!(world.shared.totals().dropped(Drop::NoChannel), 1);
    let stranger = world.stranger("eve");
    assert_eq!(arrives(&mut world, &stranger, 0x4000), None);
    assert_eq!(world.shared.totals().dropped(Drop::NoAllocation), 1);
}

#[test]
fn nothing_is_relayed_for_an_allocation_that_expired_but_was_not_swept() {
    let mut world = World::with(|config| config.lifetimes.permission = Duration::from_secs(10_000));
    let (mut client, relayed) = world.allocated("ann");
    world.pass(Duration::from_mins(5));
    bind(&mut world, &mut client, 0x4000, "192.0.2.9:4000");
    world.pass_unnoticed(Duration::from_mins(5));
    assert_eq!(arrives(&mut world, &client, 0x4000), None);
    assert!(world.peer_sends(relayed, super::peer(), b"x").is_none());
}
