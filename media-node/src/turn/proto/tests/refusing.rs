//! Why somebody who is authenticated is refused, and what is dropped of those who relay too much.

use std::net::SocketAddr;
use std::time::Duration;

use crate::turn::proto::attribute::{ADDITIONAL_ADDRESS_FAMILY, CHANNEL_NUMBER, EVEN_PORT, RESERVATION_TOKEN};
use crate::turn::proto::config::PortRange;
use crate::turn::proto::message::method;
use crate::turn::proto::test_support::{Client, Heard, World};
use crate::turn::proto::{Alternates, Drop, Refusal};

fn allocate(world: &mut World, user: &str) -> u16 {
    let mut client = world.client(user);
    let draft = client.allocate();
    world.ask(&client, draft).code()
}

/// What was counted, without zeros.
fn refused(world: &World) -> Vec<(Refusal, u64)> {
    let totals = world.shared.totals();
    let counts = Refusal::ALL.iter().map(|why| (*why, totals.refused(*why)));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn each_reason_for_a_486_or_508_is_counted_apart() {
    type Step = fn(&mut World) -> u16;
    let reasons: [(Refusal, u16, Step); 8] = [
        (Refusal::UserQuota, 486, |world| {
            assert_eq!(allocate(world, "ann"), 0);
            allocate(world, "ann")
        }),
        (Refusal::NodeQuota, 508, |world| {
            assert_eq!((allocate(world, "ann"), allocate(world, "bob")), (0, 0));
            allocate(world, "carol")
        }),
        (Refusal::Draining, 508, |world| {
            world.shared.set_drain(Some(Alternates::default()));
            allocate(world, "ann")
        }),
        (Refusal::Bandwidth, 508, |world| {
            world.shared.set_bandwidth_full(true);
            allocate(world, "ann")
        }),
        (Refusal::Memory, 508, |world| {
            world.shared.set_memory_full(true);
            allocate(world, "ann")
        }),
        (Refusal::Ports, 508, |world| {
            world.shards.iter_mut().for_each(|(_, relays)| relays.taken.extend(50_000..=50_099));
            allocate(world, "ann")
        }),
        (Refusal::Descriptors, 508, |world| {
            world.shards.iter_mut().for_each(|(_, relays)| relays.exhausted = true);
            allocate(world, "ann")
        }),
        (Refusal::Reservation, 508, |world| {
            let mut client = world.client("ann");
            let draft = client.allocate().with(RESERVATION_TOKEN, &[7; 8]);
            world.ask(&client, draft).code()
        }),
    ];
    for (why, code, step) in reasons {
        let mut world = World::with(|config| (config.terms.quotas.per_user, config.terms.quotas.total) = (1, 2));
        assert_eq!(step(&mut world), code, "{why:?}");
        assert_eq!(refused(&world), [(why, 1)], "{why:?}");
        world.pass(Duration::from_hours(1));
        assert_eq!(world.held(), [0; 8], "{why:?}");
    }
}

#[test]
fn a_whole_range_of_ports_that_is_in_use_is_a_reason_of_its_own() {
    let mut world = World::with(|config| config.ports = PortRange::parse(50_000, 50_001).unwrap());
    assert_eq!((allocate(&mut world, "ann"), allocate(&mut world, "bob")), (0, 0));
    assert_eq!(allocate(&mut world, "carol"), 508);
    assert_eq!(refused(&world), [(Refusal::Ports, 1)]);
    world.pass(Duration::from_hours(1));
    assert_eq!(allocate(&mut world, "carol"), 0);
}

#[test]
fn an_allocation_of_two_families_is_refused_once_if_it_gets_neither_and_not_at_all_if_it_gets_one() {
    for (taken, code, expected) in [(true, 508, vec![(Refusal::Descriptors, 1)]), (false, 0, vec![])] {
        let mut world = World::new();
        world.shards.iter_mut().for_each(|(_, relays)| relays.exhausted = taken);
        let mut client = world.client("ann");
        let draft = client.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        assert_eq!(world.ask(&client, draft).code(), code);
        assert_eq!(refused(&world), expected);
    }
}

#[test]
fn a_pair_that_the_quota_has_no_room_for_is_refused_by_the_quota() {
    let mut world = World::with(|config| config.terms.quotas.per_user = 1);
    let mut client = world.client("ann");
    let draft = client.allocate().with(EVEN_PORT, &[0x80]);
    assert_eq!(world.ask(&client, draft).code(), 486);
    assert_eq!(refused(&world), [(Refusal::UserQuota, 1)]);
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn permissions_and_channels_past_their_limits_are_counted() {
    let mut world = World::with(|config| (config.terms.limits.permissions, config.terms.limits.channels) = (2, 1));
    let (mut client, _) = world.allocated("ann");
    let mut bind = |world: &mut World, number: u8, peer: &str| {
        let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, number, 0, 0]);
        let draft = draft.peer(peer.parse().unwrap());
        world.ask(&client, draft).code()
    };
    assert_eq!(bind(&mut world, 0, "192.0.2.1:1"), 0);
    assert_eq!(bind(&mut world, 1, "192.0.2.2:1"), 508);
    for (peer, code) in [("192.0.2.2:1", 0), ("192.0.2.3:1", 508)] {
        let draft = client.request(method::CREATE_PERMISSION).peer(peer.parse().unwrap());
        assert_eq!(world.ask(&client, draft).code(), code);
    }
    assert_eq!(refused(&world), [(Refusal::Permissions, 1), (Refusal::Channels, 1)]);
}

#[test]
fn while_the_node_is_full_live_allocations_go_on() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    world.shared.set_bandwidth_full(true);
    world.shared.set_memory_full(true);
    permit(&mut world, &mut client);
    let draft = client.request(method::REFRESH);
    assert_eq!(world.ask(&client, draft).code(), 0);
    assert!(world.peer_sends(relayed, super::peer(), b"on and on").is_some());
    assert_eq!(allocate(&mut world, "bob"), 508);
    world.shared.set_memory_full(false);
    world.shared.set_bandwidth_full(false);
    assert_eq!(allocate(&mut world, "bob"), 0);
}

fn permit(world: &mut World, client: &mut Client) {
    let draft = client.request(method::CREATE_PERMISSION).peer(super::peer());
    assert_eq!(world.ask(client, draft).code(), 0);
}

/// Packets of 1000 bytes that get through, of 2000 in one second.
fn to_peer(world: &mut World, client: &mut Client) -> usize {
    let sends = (0..2000).filter(|n| {
        if n % 2 == 0 {
            world.pass(Duration::from_millis(1));
        }
        let indication = client.send(super::peer(), &[0; 1000]);
        world.hear(&client.path, &indication) != Heard::Nothing
    });
    sends.count()
}

fn to_client(world: &mut World, relayed: SocketAddr) -> usize {
    let sends = (0..2000).filter(|n| {
        if n % 2 == 0 {
            world.pass(Duration::from_millis(1));
        }
        world.peer_sends(relayed, super::peer(), &[0; 1000]).is_some()
    });
    sends.count()
}

#[test]
fn an_allocation_relays_as_much_as_it_may_each_way_and_others_are_not_affected() {
    // 1000 packets a second, and 250 at once.
    let mut world = World::with(|config| config.terms.quotas.bandwidth_per_allocation = Some(8_000_000));
    let (mut ann, at_ann) = world.allocated("ann");
    let (mut bob, _) = world.allocated("bob");
    permit(&mut world, &mut ann);
    permit(&mut world, &mut bob);
    let passed = to_peer(&mut world, &mut ann);
    assert!((1248..=1250).contains(&passed), "{passed}");
    assert_eq!(world.shared.totals().dropped(Drop::Bandwidth), 2000 - passed as u64);
    let indication = bob.send(super::peer(), &[0; 1000]);
    assert_ne!(world.hear(&bob.path, &indication), Heard::Nothing);
    let passed = to_client(&mut world, at_ann);
    assert!((1248..=1250).contains(&passed), "{passed}");
    let totals = world.shared.totals();
    assert_eq!(totals.bytes_to_clients, 1000 * passed as u64, "what is dropped is not relayed");
}

#[test]
fn without_a_limit_everything_is_relayed_and_what_has_no_permission_uses_up_nothing() {
    let mut world = World::new();
    let (mut ann, at_ann) = world.allocated("ann");
    permit(&mut world, &mut ann);
    assert_eq!((to_peer(&mut world, &mut ann), to_client(&mut world, at_ann)), (2000, 2000));
    let mut world = World::with(|config| config.terms.quotas.bandwidth_per_allocation = Some(8));
    let (mut ann, at_ann) = world.allocated("ann");
    for _ in 0..3 {
        assert!(world.peer_sends(at_ann, super::peer(), &vec![0; 60_000]).is_none());
    }
    permit(&mut world, &mut ann);
    assert!(world.peer_sends(at_ann, super::peer(), &vec![0; 60_000]).is_some());
    assert!(world.peer_sends(at_ann, super::peer(), &vec![0; 60_000]).is_none());
}
