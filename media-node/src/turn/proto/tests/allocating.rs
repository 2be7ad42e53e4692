//! RFC 8656 section 7.2.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::turn::proto::attribute::{
    ADDITIONAL_ADDRESS_FAMILY, ADDITIONAL_ADDRESS_FAMILY_ONCE, DONT_FRAGMENT, EVEN_PORT, LIFETIME,
    REQUESTED_ADDRESS_FAMILY, REQUESTED_TRANSPORT, RESERVATION_TOKEN,
};
use crate::turn::proto::config::{PortRange, RelayAddress, RelayAddresses};
use crate::turn::proto::message::method;
use crate::turn::proto::test_support::{Client, World};

const V6: [u8; 4] = [2, 0, 0, 0];

fn only(ip: &str) -> RelayAddresses {
    RelayAddresses::new(&[RelayAddress { local: ip.parse().unwrap(), public: ip.parse().unwrap() }]).unwrap()
}

#[test]
fn an_allocation_is_told_where_it_is_and_who_the_client_seems_to_be() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate();
    let answer = world.ask(&client, draft);
    assert_eq!((answer.code(), answer.lifetime(), answer.mapped()), (0, Some(600), Some(client.path.remote)));
    let [relayed] = answer.relayed()[..] else { panic!("one relayed address: {:?}", answer.relayed()) };
    assert_eq!(relayed.ip().to_string(), "203.0.113.7");
    assert!((50_000..=50_099).contains(&relayed.port()));
    assert_eq!(world.open(), BTreeSet::from([relayed]));
    assert_eq!(world.shared.totals().allocations, 1);
}

#[test]
fn behind_a_nat_clients_are_told_the_public_address() {
    let mut world = World::with(|config| {
        config.relays = RelayAddresses::new(&[RelayAddress {
            local: "10.1.1.1".parse().unwrap(),
            public: "203.0.113.9".parse().unwrap(),
        }])
        .unwrap();
    });
    let (_, relayed) = world.allocated("ann");
    assert_eq!(relayed.ip().to_string(), "203.0.113.9");
    assert_eq!(
        world.open().into_iter().map(|open| open.to_string()).collect::<Vec<_>>(),
        [format!("10.1.1.1:{}", relayed.port())]
    );
}

#[test]
fn requests_that_contradict_themselves_are_refused_and_leave_nothing() {
    let udp: (u16, &[u8]) = (REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let token: (u16, &[u8]) = (RESERVATION_TOKEN, &[1; 8]);
    for (case, attributes, expected) in [
        ("no transport", vec![], 400),
        ("a transport of the wrong length", vec![(REQUESTED_TRANSPORT, &[17][..])], 400),
        ("TCP between server and peer", vec![(REQUESTED_TRANSPORT, &[6, 0, 0, 0])], 442),
        ("DONT-FRAGMENT is supported", vec![udp, (DONT_FRAGMENT, &[])], 0),
        ("a lifetime of the wrong length", vec![udp, (LIFETIME, &[0, 1])], 400),
        ("an unknown token", vec![udp, token], 508),
        ("a token of the wrong length", vec![udp, (RESERVATION_TOKEN, &[1; 4])], 400),
        ("token and even port", vec![udp, token, (EVEN_PORT, &[0])], 400),
        ("token and family", vec![udp, token, (REQUESTED_ADDRESS_FAMILY, &V6)], 400),
        ("token and additional family", vec![udp, token, (ADDITIONAL_ADDRESS_FAMILY, &V6)], 400),
        ("both families attributes", vec![udp, (REQUESTED_ADDRESS_FAMILY, &V6), (ADDITIONAL_ADDRESS_FAMILY, &V6)], 400),
        ("a family that is none", vec![udp, (REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0])], 440),
        ("a family of the wrong length", vec![udp, (REQUESTED_ADDRESS_FAMILY, &[1])], 400),
        ("IPv4 as additional family", vec![udp, (ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0])], 400),
        ("an additional family that is none", vec![udp, (ADDITIONAL_ADDRESS_FAMILY, &[7, 0, 0, 0])], 400),
        ("a reserved pair of both families", vec![udp, (ADDITIONAL_ADDRESS_FAMILY, &V6), (EVEN_PORT, &[0x80])], 400),
        ("an even port of both families", vec![udp, (ADDITIONAL_ADDRESS_FAMILY, &V6), (EVEN_PORT, &[0])], 0),
        ("an even port of the wrong length", vec![udp, (EVEN_PORT, &[0, 0])], 400),
    ] {
        let mut world = World::new();
        let mut client = world.client("ann");
        let mut draft = client.request(method::ALLOCATE);
        for (kind, value) in attributes {
            draft = draft.with(kind, value);
        }
        let answer = world.ask(&client, draft);
        assert_eq!(answer.code(), expected, "{case}");
        assert!(answer.is_signed_for(&client), "{case}");
        if expected != 0 {
            assert_eq!(world.held(), [0; 8], "{case}");
        }
    }
}

#[test]
fn lifetimes_are_granted_between_the_default_and_the_maximum() {
    for (asked, granted) in [(0, 600), (1, 600), (600, 600), (601, 601), (3600, 3600), (3601, 3600), (u32::MAX, 3600)] {
        let mut world = World::new();
        let mut client = world.client("ann");
        let draft = client.allocate().number(LIFETIME, asked);
        assert_eq!(world.ask(&client, draft).lifetime(), Some(granted), "asked for {asked}");
        world.pass(Duration::from_secs(u64::from(granted) - 1));
        assert_eq!(world.held()[0], 1, "asked for {asked}");
        world.pass(Duration::from_secs(1));
        assert_eq!(world.held(), [0; 8], "asked for {asked}");
    }
}

#[test]
fn families_are_served_as_far_as_the_node_has_them() {
    let (v4, v6) = ("203.0.113.7", "2001:db8::7");
    let both = (ADDITIONAL_ADDRESS_FAMILY, V6);
    for (case, relays, attribute, expected, missing) in [
        ("IPv4 by default", None, None, Ok(vec![v4]), None),
        ("IPv6 on request", None, Some((REQUESTED_ADDRESS_FAMILY, V6)), Ok(vec![v6]), None),
        ("IPv4 on request", None, Some((REQUESTED_ADDRESS_FAMILY, [1, 0, 0, 0])), Ok(vec![v4]), None),
        ("both", None, Some(both), Ok(vec![v4, v6]), None),
        ("both, as coturn asks", None, Some((ADDITIONAL_ADDRESS_FAMILY_ONCE, V6)), Ok(vec![v4, v6]), None),
        ("no IPv6 here", Some(v4), Some((REQUESTED_ADDRESS_FAMILY, V6)), Err(440), None),
        ("no IPv4 here", Some(v6), None, Err(440), None),
        ("both, but no IPv6 here", Some(v4), Some(both), Ok(vec![v4]), Some((2, 440))),
        ("both, but no IPv4 here", Some(v6), Some(both), Ok(vec![v6]), Some((1, 440))),
    ] {
        let mut world = World::with(|config| {
            if let Some(one) = relays {
                config.relays = only(one);
            }
        });
        let mut client = world.client("ann");
        let mut draft = client.allocate();
        if let Some((kind, value)) = attribute {
            draft = draft.with(kind, &value);
        }
        let answer = world.ask(&client, draft);
        let relayed = answer.relayed().iter().map(|address| address.ip().to_string()).collect::<Vec<_>>();
        let got = if answer.code() == 0 { Ok(relayed) } else { Err(answer.code()) };
        assert_eq!(got, expected.map(|ips| ips.iter().map(ToString::to_string).collect()), "{case}");
        assert_eq!(answer.missing_family(), missing, "{case}");
    }
}

#[test]
fn a_dual_allocation_takes_what_it_can_get() {
    let mut world = World::new();
    let mut client = world.client("ann");
    for (_, relays) in &mut world.shards {
        relays.exhausted = true;
    }
    let draft = client.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &V6);
    assert_eq!(world.ask(&client, draft).code(), 508);
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn an_allocate_on_a_used_address_is_437_unless_it_is_the_same_request_again() {
    let mut world = World::new();
    let mut client = world.client("ann");
    let draft = client.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &V6).number(LIFETIME, 1000);
    let bytes = client.sign(draft);
    let first = world.hear(&client.path, &bytes);
    world.pass(Duration::from_secs(20));
    assert_eq!(world.hear(&client.path, &bytes), first, "answered alike");
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 437);
    assert_eq!(world.held()[..3], [1, 2, 2]);
}

#[test]
fn the_same_transaction_id_on_another_address_is_another_allocation() {
    let mut world = World::new();
    let (ann, first) = world.allocated("ann");
    let mut bob = world.client("bob");
    let draft = bob.allocate();
    assert_eq!(draft.transaction, [0, 0, 0, 0, 0, 0, 0, 2, 0xC1, 0xC1, 0xC1, 0xC1]);
    let answer = world.ask(&bob, draft);
    assert_eq!(answer.code(), 0);
    assert_ne!(answer.relayed()[0], first);
    assert_ne!(ann.path, bob.path);
}

#[test]
fn an_expired_allocation_that_nobody_swept_does_not_stand_in_the_way() {
    let mut world = World::with(|config| config.lifetimes.nonce = Duration::from_hours(1));
    let (mut client, first) = world.allocated("ann");
    world.pass_unnoticed(Duration::from_mins(10));
    let draft = client.allocate();
    let answer = world.ask(&client, draft);
    assert_eq!(answer.code(), 0);
    assert_eq!(world.held()[..4], [1, 1, 1, 1]);
    assert!(!world.open().contains(&first) || answer.relayed()[0] == first);
}

#[test]
fn users_and_node_have_quotas() {
    let mut world = World::with(|config| {
        config.terms.quotas.per_user = 2;
        config.terms.quotas.total = 3;
    });
    let mut codes = |user: &str| {
        let mut client = world.client(user);
        let draft = client.allocate();
        world.ask(&client, draft).code()
    };
    assert_eq!([codes("ann"), codes("ann"), codes("ann")], [0, 0, 486]);
    assert_eq!([codes("bob"), codes("bob")], [0, 508], "the node is full");
    world.pass(Duration::from_mins(10));
    assert_eq!(world.held(), [0; 8]);
    assert_eq!(world.allocated("ann").1.port() / 100, 500);
}

#[test]
fn the_quota_counts_the_user_whatever_the_expiry() {
    let mut world = World::with(|config| config.terms.quotas.per_user = 1);
    world.allocated("ann");
    world.pass(Duration::from_secs(5));
    let mut again = world.client("ann");
    let draft = again.allocate();
    assert_eq!(world.ask(&again, draft).code(), 486);
}

#[test]
fn what_is_admitted_is_counted_without_some_users_and_with_reserved_ports() {
    let mut world = World::new();
    world.allocated("ann");
    world.allocated("probe");
    let mut client = world.client("bob");
    let draft = client.allocate().with(EVEN_PORT, &[0x80]);
    assert_eq!(world.ask(&client, draft).code(), 0);
    let counted = |users: &str| world.shared.admitted_but_of(users);
    assert_eq!([counted("nobody"), counted("probe"), counted("pro"), counted("bob")], [4, 3, 3, 2]);
}

#[test]
fn closing_all_leaves_nothing() {
    let mut world = World::new();
    for user in ["ann", "bob", "eve"] {
        let mut client = world.client(user);
        let draft = client.allocate().with(EVEN_PORT, &[0x80]);
        assert_eq!(world.ask(&client, draft).code(), 0);
    }
    for (server, relays) in &mut world.shards {
        server.close_all(relays);
    }
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn a_port_that_another_process_has_is_passed_over() {
    let mut world = World::with(|config| config.ports = PortRange::parse(50_000, 50_009).unwrap());
    for (_, relays) in &mut world.shards {
        relays.taken = (50_000..=50_008).collect();
    }
    assert_eq!(world.allocated("ann").1.port(), 50_009);
    assert_eq!(world.shared.claimed_ports(), 1, "the ports that were tried are not kept");
}

#[test]
fn when_binds_keep_failing_the_search_ends() {
    let mut world = World::with(|config| config.ports = PortRange::parse(1024, 65_535).unwrap());
    for (_, relays) in &mut world.shards {
        relays.taken = (1024..=65_535).collect();
    }
    let mut client = world.client("ann");
    let draft = client.allocate();
    assert_eq!(world.ask(&client, draft).code(), 508);
    let binds: usize = world.shards.iter().map(|(_, relays)| relays.binds).sum();
    assert!(binds <= 16, "{binds} system calls for one request");
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn every_port_of_the_range_is_given_once_whatever_the_shard() {
    let mut world = World::with(|config| {
        config.terms.quotas.per_user = 1000;
        config.ports = PortRange::parse(50_000, 50_039).unwrap();
    });
    let ports: BTreeSet<u16> = (0..40).map(|_| world.allocated("ann").1.port()).collect();
    assert_eq!(ports.len(), 40);
    let mut late = world.client("ann");
    let draft = late.allocate();
    assert_eq!(world.ask(&late, draft).code(), 508, "the range is used up");
}

#[test]
fn ports_cannot_be_guessed_from_those_before() {
    let mut world = World::with(|config| {
        config.terms.quotas.per_user = 1000;
        config.ports = PortRange::parse(49_152, 65_535).unwrap();
    });
    let ports: Vec<u16> = (0..50).map(|_| world.allocated("ann").1.port()).collect();
    let near = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 16).count();
    assert!(near <= 3, "{near} of 49 follow closely: {ports:?}");
}

#[test]
fn an_even_port_is_even() {
    for _ in 0..20 {
        let mut world = World::new();
        let mut client = world.client("ann");
        let draft = client.allocate().with(EVEN_PORT, &[0]);
        let answer = world.ask(&client, draft);
        assert_eq!(answer.relayed()[0].port() % 2, 0);
        assert_eq!(answer.token(), None);
    }
}

/// A client with an even port, and the token for the next.
fn reserved(world: &mut World) -> (Client, u16, Vec<u8>) {
    let mut client = world.client("ann");
    let draft = client.allocate().with(EVEN_PORT, &[0x80]);
    let answer = world.ask(&client, draft);
    assert_eq!(answer.code(), 0);
    (client, answer.relayed()[0].port(), answer.token().unwrap())
}

#[test]
fn a_reserved_port_is_given_to_the_token_on_any_shard() {
    let mut world = World::new();
    let (first, port, token) = reserved(&mut world);
    assert_eq!(port % 2, 0);
    assert_eq!(world.held(), [1, 1, 1, 2, 1, 1, 2, 1], "one socket open, two ports claimed, both counted");
    let mut second = world.client("ann");
    assert_ne!(World::shard_of(&first.path), World::shard_of(&second.path));
    let draft = second.allocate().with(RESERVATION_TOKEN, &token);
    let bytes = second.sign(draft);
    let answer = world.hear(&second.path, &bytes).reply();
    assert_eq!((answer.code(), answer.relayed()[0].port()), (0, port + 1));
    assert_eq!(world.hear(&second.path, &bytes).reply(), answer, "retransmitted");
    let mut third = world.client("ann");
    let draft = third.allocate().with(RESERVATION_TOKEN, &token);
    assert_eq!(world.ask(&third, draft).code(), 508, "a token is good once");
    world.pass(Duration::from_secs(31));
    assert_eq!(world.held()[..4], [2, 2, 2, 2], "the reservation's end does not touch who used it");
    world.pass(Duration::from_mins(10));
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn a_reservation_is_kept_for_thirty_seconds_and_from_everybody_else() {
    let mut world = World::with(|config| {
        config.terms.quotas.per_user = 1000;
        config.ports = PortRange::parse(50_000, 50_003).unwrap();
    });
    let (_, port, token) = reserved(&mut world);
    let others: Vec<u16> = (0..2).map(|_| world.allocated("bob").1.port()).collect();
    assert!(!others.contains(&(port + 1)));
    let mut thief = world.client("bob");
    let draft = thief.allocate().with(RESERVATION_TOKEN, &token);
    assert_eq!(world.ask(&thief, draft).code(), 508, "another user's token");
    let draft = thief.allocate();
    assert_eq!(world.ask(&thief, draft).code(), 508, "all others are used");
    world.pass(Duration::from_secs(29));
    assert_eq!(world.shared.reservations(), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.shared.reservations(), 0);
    assert_eq!(world.allocated("bob").1.port(), port + 1, "free again");
}

#[test]
fn an_expired_token_is_refused_even_if_nobody_swept_it() {
    let mut world = World::new();
    let (_, _, token) = reserved(&mut world);
    world.pass_unnoticed(Duration::from_secs(30));
    let mut late = world.client("ann");
    let draft = late.allocate().with(RESERVATION_TOKEN, &token);
    assert_eq!(world.ask(&late, draft).code(), 508);
}

#[test]
fn a_reserved_port_that_was_taken_meanwhile_is_508_and_given_back() {
    let mut world = World::new();
    let (_, port, token) = reserved(&mut world);
    for (_, relays) in &mut world.shards {
        relays.taken.insert(port + 1);
    }
    let mut second = world.client("ann");
    let draft = second.allocate().with(RESERVATION_TOKEN, &token);
    assert_eq!(world.ask(&second, draft).code(), 508);
    assert_eq!(world.held(), [1, 1, 1, 1, 0, 1, 1, 1]);
}

#[test]
fn a_pair_needs_both_ports_to_be_free() {
    let mut world = World::with(|config| config.ports = PortRange::parse(50_001, 50_004).unwrap());
    for (_, relays) in &mut world.shards {
        relays.taken.insert(50_003);
    }
    let mut client = world.client("ann");
    let draft = client.allocate().with(EVEN_PORT, &[0x80]);
    assert_eq!(world.ask(&client, draft).code(), 508, "50002 has no 50003, 50004 no 50005");
    assert_eq!(world.held(), [0; 8]);
}

#[test]
fn a_reservation_past_the_quota_takes_the_allocation_with_it() {
    let mut world = World::with(|config| config.terms.quotas.per_user = 1);
    let mut client = world.client("ann");
    let draft = client.allocate().with(EVEN_PORT, &[0x80]);
    assert_eq!(world.ask(&client, draft).code(), 486);
    assert_eq!(world.held(), [0; 8]);
}
