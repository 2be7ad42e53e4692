//! RFC 8656 section 8.

use std::time::Duration;

use crate::turn::proto::attribute::{ADDITIONAL_ADDRESS_FAMILY, LIFETIME, REQUESTED_ADDRESS_FAMILY};
use crate::turn::proto::message::method;
use crate::turn::proto::test_support::{Client, Heard, World};

fn dual(world: &mut World) -> Client {
    let mut client = world.client("ann");
    let draft = client.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(world.ask(&client, draft).relayed().len(), 2);
    client
}

#[test]
fn a_refresh_starts_the_lifetime_anew() {
    let mut world = World::with(|config| config.lifetimes.nonce = Duration::from_hours(1));
    let (mut client, _) = world.allocated("ann");
    world.pass(Duration::from_secs(500));
    let draft = client.request(method::REFRESH).number(LIFETIME, 700);
    let answer = world.ask(&client, draft);
    assert_eq!((answer.code(), answer.lifetime()), (0, Some(700)));
    world.pass(Duration::from_secs(699));
    assert_eq!(world.held()[0], 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn lifetime_zero_deletes_at_once_and_says_so_again_when_asked_again() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("ann");
    let draft = client.request(method::REFRESH).number(LIFETIME, 0);
    let bytes = client.sign(draft);
    let answer = world.hear(&client.path, &bytes).reply();
    assert_eq!((answer.code(), answer.lifetime()), (0, Some(0)));
    assert_eq!(world.held(), [0; 8], "before the answer left");
    assert!(!world.open().contains(&relayed));
    world.pass(Duration::from_secs(39));
    assert_eq!(world.hear(&client.path, &bytes).reply(), answer, "retransmitted");
    let draft = client.request(method::REFRESH).number(LIFETIME, 0);
    assert_eq!(world.ask(&client, draft).code(), 437, "another request");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.hear(&client.path, &bytes).code(), 437, "nobody retransmits that late");
}

#[test]
fn a_replayed_deletion_does_not_touch_the_next_allocation() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    let draft = client.request(method::REFRESH).number(LIFETIME, 0);
    let deletion = client.sign(draft);
    assert_eq!(world.hear(&client.path, &deletion).code(), 0);
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 0);
    assert_eq!(world.hear(&client.path, &deletion).code(), 0);
    assert_eq!(world.held()[0], 1);
}

#[test]
fn the_address_can_be_used_again_at_once() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    for _ in 0..5 {
        let draft = client.request(method::REFRESH).number(LIFETIME, 0);
        assert_eq!(world.ask(&client, draft).code(), 0);
        let draft = client.allocate();
        assert_eq!(world.ask(&client, draft).code(), 0);
    }
    assert_eq!(world.held()[..4], [1, 1, 1, 1]);
}

#[test]
fn the_families_of_a_dual_allocation_live_and_end_each_on_its_own() {
    let mut world = World::new();
    let mut client = dual(&mut world);
    let draft = client.request(method::REFRESH).number(LIFETIME, 1200).with(REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(world.ask(&client, draft).lifetime(), Some(1200));
    world.pass(Duration::from_mins(10));
    assert_eq!(world.open().iter().map(std::net::SocketAddr::is_ipv6).collect::<Vec<_>>(), [true]);
    let Heard::Reply(stale) = world.hear(&client.path, &client.sign(client.clone().request(method::REFRESH))) else {
        panic!("no answer")
    };
    client.learn(&stale);
    let draft = client.request(method::REFRESH).with(REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
    assert_eq!(world.ask(&client, draft).code(), 443, "the IPv4 half has gone");
    let draft = client.request(method::CREATE_PERMISSION).peer(super::peer());
    assert_eq!(world.ask(&client, draft).code(), 443);
    world.pass(Duration::from_mins(10));
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn one_family_of_a_dual_allocation_can_be_deleted() {
    let mut world = World::new();
    let mut client = dual(&mut world);
    for peer in [super::peer(), super::peer_v6()] {
        let draft = client.request(method::CREATE_PERMISSION).peer(peer);
        assert_eq!(world.ask(&client, draft).code(), 0);
    }
    let draft = client.request(method::REFRESH).number(LIFETIME, 0).with(REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
    let bytes = client.sign(draft);
    let answer = world.hear(&client.path, &bytes).reply();
    assert_eq!(answer.code(), 0);
    assert_eq!(world.hear(&client.path, &bytes).reply(), answer, "retransmitted");
    let [relay] = world.open().into_iter().collect::<Vec<_>>()[..] else { panic!("{:?}", world.open()) };
    assert!(relay.is_ipv6());
    let bytes = client.send(super::peer_v6(), b"x");
    assert!(matches!(world.hear(&client.path, &bytes), Heard::AtPeer { .. }), "the other half goes on");
    let bytes = client.send(super::peer(), b"x");
    assert_eq!(world.hear(&client.path, &bytes), Heard::Nothing);
}

#[test]
fn a_refresh_for_a_family_that_was_never_there_is_443() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("ann");
    for (value, expected) in [(&[2, 0, 0, 0][..], 443), (&[9, 0, 0, 0], 443), (&[1, 0, 0, 0], 0), (&[1], 400)] {
        let draft = client.request(method::REFRESH).with(REQUESTED_ADDRESS_FAMILY, value);
        assert_eq!(world.ask(&client, draft).code(), expected, "{value:?}");
    }
}

#[test]
fn timers_are_asked_in_order_and_spurious_calls_are_harmless() {
    let mut world = World::new();
    let (client, _) = world.allocated("ann");
    let (server, relays) = &mut world.shards[World::shard_of(&client.path)];
    let due = server.poll_timeout().unwrap();
    assert_eq!(due, world.now.instant + Duration::from_mins(10));
    server.handle_timeout(world.now, relays);
    server.handle_timeout(world.now, relays);
    assert_eq!((server.allocations(), server.poll_timeout()), (1, Some(due)));
}

#[test]
fn many_expiries_at_once_are_worked_off_in_bounded_calls() {
    let mut world = World::with(|config| config.terms.quotas.per_user = 1000);
    for _ in 0..200 {
        let mut client = world.client("ann");
        let draft = client.allocate();
        let _ = world.ask(&client, draft);
    }
    assert_eq!(world.held()[0], 100, "as many as there are ports");
    world.pass_unnoticed(Duration::from_mins(10));
    let now = world.now;
    let (server, relays) = &mut world.shards[0];
    let before = server.allocations();
    server.handle_timeout(now, relays);
    assert!(before <= 64 || server.allocations() == before - 64);
    world.pass(Duration::ZERO);
    assert_eq!(world.held(), [0; 8]);
}
