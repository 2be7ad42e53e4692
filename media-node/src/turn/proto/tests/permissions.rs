//! RFC 8656 sections 9 and 10.

use std::net::SocketAddr;
use std::time::Duration;

use crate::turn::proto::attribute::{CHANNEL_NUMBER, XOR_PEER_ADDRESS};
use crate::turn::proto::config::{RelayAddress, RelayAddresses};
use crate::turn::proto::message::method;
use crate::turn::proto::peer::PeerPolicy;
use crate::turn::proto::test_support::{Client, World};

fn permit(world: &mut World, client: &mut Client, peers: &[&str]) -> u16 {
    let mut draft = client.request(method::CREATE_PERMISSION);
    for peer in peers {
        draft = draft.peer(peer.parse().unwrap());
    }
    world.ask(client, draft).code()
}

fn hears(world: &mut World, relayed: SocketAddr, from: &str) -> bool {
    world.peer_sends(relayed, from.parse().unwrap(), b"x").is_some()
}

#[test]
fn a_permission_is_for_an_address_with_every_port_and_for_five_minutes() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    assert!(!hears(&mut world, relayed, "192.0.2.9:1"));
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.9:1"]), 0);
    assert!(hears(&mut world, relayed, "192.0.2.9:1") && hears(&mut world, relayed, "192.0.2.9:2"));
    assert!(!hears(&mut world, relayed, "192.0.2.8:1"));
    world.pass(Duration::from_secs(299));
    assert!(hears(&mut world, relayed, "192.0.2.9:1"));
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.9:0"]), 0, "again");
    world.pass(Duration::from_secs(299));
    assert!(hears(&mut world, relayed, "192.0.2.9:1"));
    world.pass(Duration::from_secs(1));
    assert!(!hears(&mut world, relayed, "192.0.2.9:1"));
}

#[test]
fn several_peers_are_permitted_together_or_not_at_all() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.1:1", "192.0.2.2:1"]), 0);
    assert!(hears(&mut world, relayed, "192.0.2.1:1") && hears(&mut world, relayed, "192.0.2.2:1"));
    for (bad, expected) in [("10.0.0.1:1", 403), ("[2001:db8:2::1]:1", 443)] {
        assert_eq!(permit(&mut world, &mut client, &["192.0.2.3:1", bad]), expected);
        assert!(!hears(&mut world, relayed, "192.0.2.3:1"));
    }
}

#[test]
fn a_request_without_peers_or_with_a_broken_one_is_bad() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, &[]), 400);
    for broken in [
        &[][..],
        &[0, 1, 0, 0],
        &[0, 3, 0, 0, 1, 2, 3, 4],
        &[0, 2, 0, 0, 1, 2, 3, 4],
        &[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
    ] {
        let draft = client.request(method::CREATE_PERMISSION).peer(super::peer()).with(XOR_PEER_ADDRESS, broken);
        assert_eq!(world.ask(&client, draft).code(), 400, "{broken:?}");
    }
    assert!(!hears(&mut world, relayed, "192.0.2.9:4000"));
}

#[test]
fn permissions_are_bounded_and_expired_ones_make_room() {
    let mut world = World::with(|config| config.terms.limits.permissions = 2);
    let (mut client, relayed) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.1:1"]), 0);
    world.pass(Duration::from_secs(100));
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.2:1", "192.0.2.2:2"]), 0, "one address counts once");
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.3:1"]), 508);
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.1:1", "192.0.2.2:1"]), 0, "those that are there can be kept");
    world.pass(Duration::from_mins(5));
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.3:1", "192.0.2.4:1"]), 0);
    assert!(hears(&mut world, relayed, "192.0.2.4:1") && !hears(&mut world, relayed, "192.0.2.1:1"));
}

#[test]
fn peers_that_can_never_have_room_together_are_not_looked_at_one_by_one() {
    let mut world = World::with(|config| config.terms.limits.permissions = 2);
    let (mut client, _) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.1:1", "10.0.0.1:1"]), 403);
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.1:1", "192.0.2.2:1", "10.0.0.1:1"]), 508);
}

#[test]
fn permissions_end_with_their_allocation_and_belong_to_it_alone() {
    let mut world = World::new();
    let (mut ann, _) = world.allocated("ann");
    let (_, of_bob) = world.allocated("bob");
    assert_eq!(permit(&mut world, &mut ann, &["192.0.2.1:1"]), 0);
    assert!(!hears(&mut world, of_bob, "192.0.2.1:1"));
}

#[test]
fn no_way_leads_to_a_denied_peer() {
    for denied in ["127.0.0.1:22", "10.0.0.1:80", "169.254.169.254:80", "0.0.0.0:80", "255.255.255.255:9"] {
        let mut world = World::new();
        let (mut client, _) = world.allocated("ann");
        assert_eq!(permit(&mut world, &mut client, &[denied]), 403, "{denied}");
        let draft =
            client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(denied.parse().unwrap());
        assert_eq!(world.ask(&client, draft).code(), 403, "{denied}");
    }
}

#[test]
fn the_deployment_opens_and_closes_peers() {
    let mut world = World::with(|config| {
        config.terms.peers =
            PeerPolicy::new(vec!["10.200.0.0/16".parse().unwrap()], vec!["192.0.2.0/24".parse().unwrap()]);
    });
    let (mut client, _) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, &["10.200.0.1:1"]), 0);
    assert_eq!(permit(&mut world, &mut client, &["192.0.2.9:1"]), 403);
}

#[test]
fn the_machine_itself_is_no_peer_except_where_it_relays() {
    let mut world = World::with(|config| {
        config.relays = RelayAddresses::new(&[
            RelayAddress { local: "10.1.1.1".parse().unwrap(), public: "203.0.113.9".parse().unwrap() },
            RelayAddress { local: "2001:db8::7".parse().unwrap(), public: "2001:db8::7".parse().unwrap() },
        ])
        .unwrap();
        // Whatever is opened.
        config.terms.peers = PeerPolicy::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], vec![]);
    });
    world.shared.set_own_addresses(&["198.51.100.77", "2001:db8::77"].map(|own| own.parse().unwrap()));
    let mut client = world.client("ann");
    let draft = client.allocate().with(crate::turn::proto::attribute::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(world.ask(&client, draft).code(), 0);
    for (case, peer, expected) in [
        ("the public relay address", "203.0.113.9:1", 0),
        ("the relay address that is both", "[2001:db8::7]:1", 0),
        ("the local relay address behind the NAT", "10.1.1.1:1", 403),
        ("another address of the machine", "198.51.100.77:1", 403),
        ("another one, IPv6", "[2001:db8::77]:1", 403),
        ("the relay address, carried in IPv6", "[::ffff:203.0.113.9]:1", 403),
        ("by NAT64", "[64:ff9b::203.0.113.9]:1", 403),
        ("by 6to4", "[2002:cb00:7109::1]:1", 403),
    ] {
        assert_eq!(permit(&mut world, &mut client, &[peer]), expected, "{case}");
    }
}

#[test]
fn an_address_that_the_machine_gets_later_is_no_peer_from_then_on() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, &["198.51.100.77:1"]), 0);
    world.shared.set_own_addresses(&["198.51.100.77".parse().unwrap()]);
    assert_eq!(permit(&mut world, &mut client, &["198.51.100.77:1"]), 403);
    let peer = "198.51.100.77:1".parse().unwrap();
    let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(peer);
    assert_eq!(world.ask(&client, draft).code(), 403);
    world.shared.set_own_addresses(&[]);
    assert_eq!(permit(&mut world, &mut client, &["198.51.100.77:1"]), 0, "it went to another machine");
}

#[test]
fn a_deny_of_the_user_closes_calls_through_one_node_too() {
    let mut world = World::with(|config| {
        config.terms.peers = PeerPolicy::new(vec![], vec!["203.0.113.7/32".parse().unwrap()]);
    });
    let (mut client, _) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, &["203.0.113.7:50001"]), 403);
}
