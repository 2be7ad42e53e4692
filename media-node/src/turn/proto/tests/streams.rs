//! What is different over TCP and TLS: padding (RFC 8656 section 12.5), no amplification, and an end that is seen.

use std::time::Duration;

use crate::turn::proto::attribute::{ADDITIONAL_ADDRESS_FAMILY, CHANNEL_NUMBER};
use crate::turn::proto::config::Realm;
use crate::turn::proto::counters::Drop;
use crate::turn::proto::framing::{FRAME_MAX, Next, next};
use crate::turn::proto::message::method;
use crate::turn::proto::server::Transport;
use crate::turn::proto::test_support::{Client, Heard, World};

fn over(world: &mut World, user: &str, transport: Transport) -> Client {
    let mut client = world.stranger(user);
    client.path.transport = transport;
    world.challenge(&mut client);
    client
}

fn bound(world: &mut World, transport: Transport) -> (Client, std::net::SocketAddr) {
    let mut client = over(world, "ann", transport);
    let draft = client.allocate();
    let relayed = world.ask(&client, draft).relayed()[0];
    let draft = client.request(method::CHANNEL_BIND).with(CHANNEL_NUMBER, &[0x40, 0, 0, 0]).peer(super::peer());
    assert_eq!(world.ask(&client, draft).code(), 0);
    (client, relayed)
}

#[test]
fn channel_data_is_padded_on_streams_and_not_over_udp() {
    for (transport, expected) in [(Transport::Udp, 9), (Transport::Tcp, 12), (Transport::Tls, 12)] {
        let mut world = World::new();
        let (client, relayed) = bound(&mut world, transport);
        let (path, bytes) = world.peer_sends(relayed, super::peer(), b"hello").unwrap();
        assert_eq!((path, bytes.len()), (client.path, expected), "{transport:?}");
        assert_eq!(bytes[..9], *b"\x40\x00\x00\x05hello", "{transport:?}");
        assert!(bytes[9..].iter().all(|padding| *padding == 0));
    }
}

#[test]
fn whatever_goes_to_a_client_on_a_stream_is_one_frame() {
    let mut world = World::new();
    let (_, relayed) = bound(&mut world, Transport::Tcp);
    for (peer, most) in [("192.0.2.9:4000", 65_503), ("192.0.2.9:4001", 65_444)] {
        for length in (0..9).chain([1199, 1200, most]) {
            let (_, bytes) = world.peer_sends(relayed, peer.parse().unwrap(), &vec![7; length]).unwrap();
            assert_eq!(next(&bytes, FRAME_MAX), Ok(Next::Frame(bytes.len())), "{length} bytes from {peer}");
        }
        assert_eq!(world.peer_sends(relayed, peer.parse().unwrap(), &vec![7; 65_507]), None);
    }
    assert_eq!(world.shared.totals().dropped(Drop::TooLarge), 2);
}

#[test]
fn padded_channel_data_of_a_client_reaches_the_peer_without_its_padding() {
    let mut world = World::new();
    let (client, _) = bound(&mut world, Transport::Tls);
    let heard = world.hear(&client.path, b"\x40\x00\x00\x05hello\0\0\0");
    assert!(matches!(heard, Heard::AtPeer { payload, .. } if payload == b"hello"));
}

#[test]
fn a_challenge_on_a_stream_may_be_larger_than_over_udp() {
    let realm = "r".repeat(Realm::MAX);
    for (transport, algorithms) in [(Transport::Udp, false), (Transport::Tcp, true)] {
        let mut world = World::with(|config| config.realm = Realm::parse(&realm).unwrap());
        let mut client = world.stranger("ann");
        client.path.transport = transport;
        let smallest = client.request(method::ALLOCATE).bare();
        let answer = world.hear(&client.path, &smallest).reply();
        assert_eq!(answer.code(), 401);
        assert_eq!(answer.has(crate::turn::proto::attribute::PASSWORD_ALGORITHMS), algorithms, "{transport:?}");
    }
}

#[test]
fn the_end_of_a_connection_ends_its_allocation_and_no_other() {
    let mut world = World::new();
    let mut ann = over(&mut world, "ann", Transport::Tcp);
    let draft = ann.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(world.ask(&ann, draft).relayed().len(), 2);
    let (bob, at_bob) = world.allocated("bob");
    // The same addresses, over another transport.
    world.close(&crate::turn::proto::ClientPath { transport: Transport::Tls, ..ann.path });
    assert_eq!(world.held()[..2], [2, 3]);
    world.close(&ann.path);
    assert_eq!(world.held()[..2], [1, 1]);
    assert!(world.open().contains(&at_bob));
    world.close(&ann.path);
    world.close(&bob.path);
    assert_eq!(world.held(), [0; 8], "ports, quota and timers are given back");
    world.pass(Duration::from_hours(1));
}

#[test]
fn a_reservation_outlives_the_connection_that_made_it() {
    let mut world = World::new();
    let mut ann = over(&mut world, "ann", Transport::Tcp);
    let draft = ann.allocate().with(crate::turn::proto::attribute::EVEN_PORT, &[0x80]);
    let token = world.ask(&ann, draft).token().expect("a token");
    world.close(&ann.path);
    let mut again = over(&mut world, "ann", Transport::Tcp);
    let draft = again.allocate().with(crate::turn::proto::attribute::RESERVATION_TOKEN, &token);
    assert_eq!(world.ask(&again, draft).code(), 0);
    world.close(&again.path);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.held(), [0; 8]);
}
