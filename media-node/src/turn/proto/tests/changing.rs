//! Terms that change while clients are there.

use std::net::SocketAddr;
use std::time::Duration;

use super::{peer, peer_v6};
use crate::turn::proto::attribute::CHANNEL_NUMBER;
use crate::turn::proto::message::method;
use crate::turn::proto::server::PeerError;
use crate::turn::proto::test_support::{Client, Heard, World};
use crate::turn::proto::{Drop, PeerPolicy, Terms};

const CHANNEL: [u8; 2] = [0x40, 0];

fn change(world: &World, change: impl FnOnce(&mut Terms)) {
    let mut terms = (*world.shared.terms()).clone();
    change(&mut terms);
    world.shared.set_terms(terms);
}

fn deny(world: &World, networks: &[&str]) {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    change(world, |terms| terms.peers = PeerPolicy::new(vec![], networks));
}

fn permit(world: &mut World, client: &mut Client, peer: SocketAddr) -> u16 {
    let draft = client.request(method::CREATE_PERMISSION).peer(peer);
    world.ask(client, draft).code()
}

fn bind(world: &mut World, client: &mut Client, number: [u8; 2], peer: SocketAddr) -> u16 {
    let number = [number[0], number[1], 0, 0];
    let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &number).peer(peer);
    world.ask(client, draft).code()
}

fn says(world: &mut World, client: &mut Client, peer: SocketAddr) -> bool {
    let indication = client.send(peer, b"hello");
    world.hear(&client.path, &indication) != Heard::Nothing
}

fn says_by_channel(world: &mut World, client: &Client) -> bool {
    let data = [&CHANNEL[..], &[0, 5], b"hello"].concat();
    world.hear(&client.path, &data) != Heard::Nothing
}

fn hears(world: &mut World, relayed: SocketAddr, peer: SocketAddr) -> bool {
    world.peer_sends(relayed, peer, b"hello").is_some()
}

#[test]
fn a_lowered_quota_ends_no_allocation_and_refuses_new_ones() {
    let mut world = World::new();
    let clients: Vec<_> = (0..3).map(|_| world.allocated("ann")).collect();
    change(&world, |terms| terms.quotas.per_user = 2);
    let mut late = world.client("ann");
    let draft = late.allocate();
    assert_eq!(world.ask(&late, draft).code(), 486);
    for (mut client, relayed) in clients {
        assert_eq!(permit(&mut world, &mut client, peer()), 0);
        assert!(says(&mut world, &mut client, peer()) && hears(&mut world, relayed, peer()));
        let draft = client.request(method::REFRESH);
        assert_eq!(world.ask(&client, draft).code(), 0, "it may stay as long as it likes");
    }
    change(&world, |terms| terms.quotas.total = 3);
    let mut bob = world.client("bob");
    let draft = bob.allocate();
    assert_eq!(world.ask(&bob, draft).code(), 508);
    change(&world, |terms| (terms.quotas.total, terms.quotas.per_user) = (4, 4));
    let draft = late.allocate();
    assert_eq!(world.ask(&late, draft).code(), 0, "a raised one counts at once");
}

#[test]
fn a_peer_that_is_denied_is_neither_sent_to_nor_heard_whatever_was_granted_before() {
    // On both shards.
    let mut world = World::new();
    let other: SocketAddr = "192.0.3.9:4000".parse().unwrap();
    let mut clients: Vec<_> = (0..2).map(|_| world.allocated("ann")).collect();
    assert_ne!(World::shard_of(&clients[0].0.path), World::shard_of(&clients[1].0.path));
    for (client, _) in &mut clients {
        assert_eq!(bind(&mut world, client, CHANNEL, peer()), 0);
        assert_eq!(permit(&mut world, client, other), 0);
        assert!(says_by_channel(&mut world, client));
    }
    deny(&world, &["192.0.2.0/24"]);
    for (client, relayed) in &mut clients {
        let error = PeerError { peer: peer(), icmp_type: 3, icmp_code: 3, data: 0 };
        assert!(world.peer_error(*relayed, error).is_none());
        assert!(!hears(&mut world, *relayed, peer()));
        assert!(!says_by_channel(&mut world, client));
        assert!(!says(&mut world, client, peer()));
        assert_eq!((permit(&mut world, client, peer()), bind(&mut world, client, CHANNEL, peer())), (403, 403));
        assert!(says(&mut world, client, other) && hears(&mut world, *relayed, other), "others are not affected");
    }
    let totals = world.shared.totals();
    assert_eq!((totals.dropped(Drop::NoChannel), totals.dropped(Drop::NoPermission)), (2, 6));
}

#[test]
fn the_first_packet_after_a_denial_is_dropped_whichever_it_is() {
    type Packet = fn(&mut World, &mut Client, SocketAddr) -> bool;
    let packets: [(&str, Packet); 3] = [
        ("from the peer", |world, _, relayed| hears(world, relayed, peer())),
        ("by channel", |world, client, _| says_by_channel(world, client)),
        ("by indication", |world, client, _| says(world, client, peer())),
    ];
    for (case, passes) in packets {
        let mut world = World::new();
        let (mut client, relayed) = world.allocated("ann");
        assert_eq!(bind(&mut world, &mut client, CHANNEL, peer()), 0);
        assert!(passes(&mut world, &mut client, relayed), "{case}");
        deny(&world, &["192.0.2.9/32"]);
        assert!(!passes(&mut world, &mut client, relayed), "{case}");
    }
}

#[test]
fn what_is_denied_in_another_form_is_withdrawn_too() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().with(crate::turn::proto::attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(world.ask(&client, draft).code(), 0);
    let translated: SocketAddr = "[64:ff9b::192.0.2.9]:4000".parse().unwrap();
    assert_eq!((permit(&mut world, &mut client, translated), permit(&mut world, &mut client, peer_v6())), (0, 0));
    deny(&world, &["192.0.2.9/32"]);
    assert!(!says(&mut world, &mut client, translated));
    assert!(says(&mut world, &mut client, peer_v6()));
}

#[test]
fn a_peer_that_is_opened_can_be_used_at_once() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    let inside: SocketAddr = "10.200.0.1:4000".parse().unwrap();
    assert_eq!(permit(&mut world, &mut client, inside), 403);
    let opened = PeerPolicy::new(vec!["10.200.0.0/24".parse().unwrap()], vec![]);
    change(&world, |terms| terms.peers = opened);
    assert_eq!(bind(&mut world, &mut client, CHANNEL, inside), 0);
    assert!(says_by_channel(&mut world, &client) && hears(&mut world, relayed, inside));
}

#[test]
fn a_peer_that_is_denied_for_a_while_has_to_be_asked_for_anew_under_its_old_number() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    let other: SocketAddr = "192.0.3.9:4000".parse().unwrap();
    assert_eq!(bind(&mut world, &mut client, CHANNEL, peer()), 0);
    deny(&world, &["192.0.2.9/32"]);
    assert!(!says_by_channel(&mut world, &client));
    deny(&world, &[]);
    assert!(
        !says_by_channel(&mut world, &client) && !hears(&mut world, relayed, peer()),
        "nothing comes back by itself"
    );
    assert_eq!(bind(&mut world, &mut client, CHANNEL, other), 400, "packets on their way must not reach another peer");
    assert_eq!(bind(&mut world, &mut client, CHANNEL, peer()), 0);
    assert!(says_by_channel(&mut world, &client) && hears(&mut world, relayed, peer()));
}

#[test]
fn a_denial_that_is_taken_back_before_anything_arrives_changes_nothing() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, peer()), 0);
    deny(&world, &["192.0.2.9/32"]);
    deny(&world, &[]);
    assert!(says(&mut world, &mut client, peer()) && hears(&mut world, relayed, peer()));
}

#[test]
fn a_bandwidth_counts_for_allocations_that_live_and_is_taken_off_them() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    assert_eq!(permit(&mut world, &mut client, peer()), 0);
    let passed =
        |world: &mut World| (0..1000).filter(|_| world.peer_sends(relayed, peer(), &[0; 1000]).is_some()).count();
    assert_eq!(passed(&mut world), 1000);
    // 250 at once.
    change(&world, |terms| terms.quotas.bandwidth_per_allocation = Some(8_000_000));
    assert_eq!(passed(&mut world), 250);
    change(&world, |terms| terms.quotas.per_user = 7);
    assert_eq!(passed(&mut world), 0, "what was used up stays so when something else changes");
    world.pass(Duration::from_secs(1));
    assert_eq!(passed(&mut world), 250);
    change(&world, |terms| terms.quotas.bandwidth_per_allocation = None);
    assert_eq!(passed(&mut world), 1000);
}

#[test]
fn credentials_and_strangers_are_judged_by_what_is_in_force() {
    let mut world = World::new();
    let mut client = world.client("ann");
    change(&world, |terms| terms.max_credential_ttl = Duration::from_mins(30));
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 401, "its hour is too far away");
    change(&world, |terms| terms.max_credential_ttl = Duration::from_hours(2));
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 0);

    let mut answered = |limit| {
        change(&world, |terms| terms.limits.unauthenticated_per_prefix = limit);
        let mut stranger = world.stranger("bob");
        let mut asks = || {
            let request = stranger.allocate().bare();
            world.hear(&stranger.path, &request) != Heard::Nothing
        };
        (0..5000).filter(|_| asks()).count()
    };
    assert_eq!(answered(0), 5000);
    assert!(answered(10) < 50);
    assert_eq!(answered(0), 5000);
}
