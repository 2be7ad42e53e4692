//! Clients over TCP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use media_node::turn::proto::{
    attribute::{ADDITIONAL_ADDRESS_FAMILY, DATA},
    fuzzing,
    message::method,
    test_support::Answer,
};
use nix::sys::signal::Signal;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rtcfleet_node_api::SetState;

use crate::{
    PEER,
    admin::Admin,
    caller::{Caller, echo},
    node::{Node, PATIENCE, Plan},
    stream::Stream,
};

pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let over = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < over, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start() -> (Node, SocketAddr) {
    let mut plan = Plan::new();
    let tcp = plan.listen("TCP", HERE);
    (plan.start(), tcp)
}

pub fn caller(node: &Node, stream: Stream, user: &str) -> Caller {
    Caller::over(stream, &node.plan.directory.path().join("secret"), user)
}

/// All that a client does with a relay, on one connection.
pub fn call(caller: &mut Caller) {
    let peer = echo(PEER);
    assert_eq!(caller.binding().mapped(), Some(caller.client.path.remote));
    assert_eq!(caller.allocate().relayed().len(), 1);
    assert_eq!(caller.permit(peer), 0);
    for length in [0, 1, 2, 3, 4, 1200, 9000] {
        let payload = vec![7; length];
        assert!(caller.indication_echo(peer, &payload) == (Some(peer), payload), "{length} bytes");
    }
    assert_eq!(caller.bind_channel(0x4001, peer), 0);
    for length in [0_u16, 1, 2, 3, 4, 1201] {
        let heard = caller.channel_echo(0x4001, &vec![9; length.into()]);
        let [high, low] = length.to_be_bytes();
        assert_eq!(heard[..4], [0x40, 0x01, high, low]);
        assert_eq!(heard.len(), 4 + usize::from(length).next_multiple_of(4), "padded");
        assert!(heard[4..4 + usize::from(length)].iter().all(|byte| *byte == 9));
    }
}

#[test]
fn a_caller_over_tcp_talks_to_a_peer_by_indication_and_by_channel() {
    let (node, tcp) = start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    call(&mut alice);
    assert_eq!(node.metric("rtcfleet_turn_connections{transport=\"tcp\"}"), 1);
    assert_eq!(alice.refresh(0), 0);
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 0);
    call(&mut alice);
}

#[test]
fn over_ipv6_and_on_every_address_of_the_machine_connections_are_served_too() {
    let mut plan = Plan::new();
    let v4 = plan.listen("TCP", Ipv4Addr::UNSPECIFIED.into());
    let v6 = plan.listen("TCP", Ipv6Addr::UNSPECIFIED.into());
    let node = plan.start();
    for server in [
        SocketAddr::new(Ipv4Addr::new(127, 0, 0, 3).into(), v4.port()),
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), v6.port()),
    ] {
        call(&mut caller(&node, Stream::plain(server), "alice"));
    }
}

#[test]
fn a_node_without_a_listener_for_udp_relays_over_tcp_and_asks_itself_over_tcp() {
    let mut plan = Plan::new();
    plan.listener.set_port(0);
    plan.probe = "30s".to_owned();
    let tcp = plan.listen("TCP", HERE);
    let node = plan.start();
    call(&mut caller(&node, Stream::plain(tcp), "alice"));
    node.wait_for_line(&["peers that must be refused are refused"]);
    assert_eq!(node.metric("rtcfleet_turn_peer_rules_probe_failures_total"), 0);
}

#[test]
fn both_families_are_allocated_over_one_connection() {
    let mut plan = Plan::new();
    plan.relay = "addresses: [127.0.0.1, '::1'], minPort: 61000, maxPort: 61999, allowPeers: [127.0.0.0/8]".to_owned();
    let tcp = plan.listen("TCP", HERE);
    let node = plan.start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    let request = alice.client.allocate().with(ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    assert_eq!(alice.ask_signed(request).relayed().len(), 2);
    alice.stream().end();
    until("both relayed ports are given back", || node.metric("rtcfleet_turn_relay_ports_used") == 0);
}

#[test]
fn two_callers_reach_each_other_over_different_transports() {
    let (node, tcp) = start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    let mut bob = crate::caller(&node, "bob");
    let (of_alice, of_bob) = (alice.allocate().relayed()[0], bob.allocate().relayed()[0]);
    assert_eq!((alice.permit(of_bob), bob.bind_channel(0x4000, of_alice)), (0, 0));
    let indication = alice.client.send(of_bob, b"hello");
    alice.send(&indication);
    assert_eq!(bob.hear(), b"\x40\x00\x00\x05hello");
    bob.send(b"\x40\x00\x00\x02ho");
    let heard = Answer(alice.hear());
    assert_eq!((heard.peer(), heard.value(DATA)), (Some(of_bob), Some(b"ho".to_vec())));
}

#[test]
fn messages_that_come_byte_by_byte_or_many_at_once_are_the_same_messages() {
    let (node, tcp) = start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    let peer = echo(PEER);
    assert_eq!((alice.allocate().code(), alice.bind_channel(0x4000, peer)), (0, 0));

    let request = alice.client.request(method::BINDING).bare();
    for byte in &request {
        alice.send(&[*byte]);
        // Else the kernel would join them.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(Answer(alice.hear()).mapped(), Some(alice.client.path.remote));

    let mut many = Vec::new();
    for number in 0..100_u8 {
        many.extend_from_slice(&[0x40, 0, 0, 5, number, 0, 0, 0, number, 0, 0, 0]);
        many.extend_from_slice(&alice.client.send(peer, &[number]));
    }
    // A cut in the middle of a message.
    let (first, second) = many.split_at(many.len() / 2 + 1);
    alice.send(first);
    std::thread::sleep(Duration::from_millis(20));
    alice.send(second);
    let mut heard: Vec<u8> = (0..200).map(|_| alice.hear()).map(|echo| echo[4]).collect();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), 100, "{heard:?}");
    assert_eq!(node.metric("rtcfleet_turn_slow_reader_drops_total"), 0);
}

#[test]
fn what_is_no_turn_closes_its_connection_and_no_other() {
    let (node, tcp) = start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    assert_eq!(alice.allocate().code(), 0);
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"\x00\x01\x00\x00\x00\x00\x00\x00", b"\x80"]
    {
        let mut stream = Stream::plain(tcp);
        stream.send(garbage);
        assert_eq!(stream.hear(), None, "{garbage:?}");
    }
    assert_eq!(node.metric("rtcfleet_turn_connections_closed_total{reason=\"not_turn\"}"), 4);
    assert_eq!(alice.refresh(600), 0);
}

#[test]
fn mutated_messages_cost_the_connection_that_they_come_on_and_nothing_else() {
    let (node, tcp) = start();
    bombard(&node, &mut caller(&node, Stream::plain(tcp), "alice"), || Stream::plain(tcp));
}

/// Changed messages of all kinds over many connections, none of whose answers are read, while a caller relays on.
pub fn bombard(node: &Node, alice: &mut Caller, connect: impl Fn() -> Stream) {
    let peer = echo(PEER);
    assert_eq!((alice.allocate().code(), alice.bind_channel(0x4000, peer)), (0, 0));
    let messages = fuzzing::messages();
    let mut random = StdRng::seed_from_u64(1);
    let mut settled = 0;
    for connection in 0..200 {
        let mut stream = connect();
        for _ in 0..50 {
            let mut bytes = messages[random.random_range(0..messages.len())].1.clone();
            for _ in 0..random.random_range(0..3) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            if stream.try_send(&bytes).is_err() {
                break;
            }
        }
        if connection == 20 {
            settled = node.metric("process_resident_memory_bytes");
        }
    }
    until("all other connections have ended", || node.metric("rtcfleet_turn_connections") == 1);
    assert!(node.metric("rtcfleet_turn_connections_closed_total{reason=\"not_turn\"}") > 0, "something was sent");
    let grown = node.metric("process_resident_memory_bytes").saturating_sub(settled);
    assert!(grown < 4 << 20, "{grown} bytes");
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 1);
    assert_eq!(alice.channel_echo(0x4000, b"on and on"), b"\x40\x00\x00\x09on and on\0\0\0");
}

#[test]
fn the_end_of_a_connection_ends_its_allocation_at_once() {
    let (node, tcp) = start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    assert_eq!(alice.allocate().code(), 0);
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 1);
    drop(alice);
    until("the allocation ends", || node.metric("rtcfleet_turn_allocations") == 0);
    assert_eq!(node.metric("rtcfleet_turn_connections"), 0);
    assert_eq!(node.metric("rtcfleet_turn_relay_ports_used"), 0);
    assert_eq!(node.metric("rtcfleet_turn_connections_accepted_total"), 1);
}

#[test]
fn a_request_before_the_end_of_a_connection_is_still_answered() {
    let (_node, tcp) = start();
    let mut stream = Stream::plain(tcp);
    let mut client = media_node::turn::proto::test_support::Client::new(tcp, stream.own(), "", "");
    let request = client.request(method::BINDING).bare();
    stream.send(&request);
    stream.end();
    assert_eq!(Answer(stream.hear().unwrap()).mapped(), Some(stream.own()));
    assert_eq!(stream.hear(), None);
}

#[test]
fn the_deadline_of_a_drain_closes_connections_and_the_node_takes_new_ones_afterwards() {
    let mut plan = Plan::new();
    let admin = Admin::new(&mut plan);
    let tcp = plan.listen("TCP", HERE);
    let node = plan.start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    let mut silent = Stream::plain(tcp);
    assert_eq!(alice.allocate().code(), 0);
    admin.set(&SetState::Draining { deadline: Timestamp::now(), alternates: Vec::new() });
    assert_eq!(alice.stream().hear(), None);
    assert_eq!(silent.hear(), None, "one without an allocation, too");
    node.wait_for_state("Drained");
    admin.set(&SetState::Active);
    call(&mut caller(&node, Stream::plain(tcp), "alice"));
    assert_eq!(node.metric("rtcfleet_turn_connections_closed_total{reason=\"drained\"}"), 2);
}

#[test]
fn a_node_that_ends_closes_its_connections() {
    let (node, tcp) = start();
    let mut silent = Stream::plain(tcp);
    until("it is accepted", || node.metric("rtcfleet_turn_connections") == 1);
    node.signal(Signal::SIGTERM);
    assert_eq!(silent.hear(), None);
    assert_eq!(node.exit().code(), Some(0));
}

#[test]
fn a_second_node_on_the_same_tcp_port_does_not_start_but_one_right_after_the_first_does() {
    let (node, tcp) = start();
    let mut alice = caller(&node, Stream::plain(tcp), "alice");
    assert_eq!(alice.allocate().code(), 0);
    let mut plan = Plan::new();
    plan.listeners.push(format!("{{protocol: TCP, address: '{tcp}'}}"));
    let output = plan.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("listeners[1].address: ") && said.contains("end what listens there"), "{said}");
    // It closes first, so that its side of the connection stays in TIME_WAIT.
    drop(node);
    let node = plan.start();
    call(&mut caller(&node, Stream::plain(tcp), "alice"));
}

#[test]
fn a_client_that_does_not_read_loses_media_and_not_its_connection() {
    let (node, tcp) = start();
    read_late(&node, &mut caller(&node, Stream::plain(tcp), "alice"));
}

/// A peer sends more than there is room for; then the client reads.
pub fn read_late(node: &Node, alice: &mut Caller) {
    let peer = UdpSocket::bind((PEER, 0)).unwrap();
    let relayed = alice.allocate().relayed()[0];
    assert_eq!(alice.bind_channel(0x4000, peer.local_addr().unwrap()), 0);
    let before = node.metric("process_resident_memory_bytes");
    let over = Instant::now() + PATIENCE;
    while node.metric("rtcfleet_turn_slow_reader_drops_total") < 1000 {
        for _ in 0..100 {
            peer.send_to(&[5; 1200], relayed).unwrap();
        }
        assert!(Instant::now() < over, "media is dropped");
    }
    let grown = node.metric("process_resident_memory_bytes").saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    // What was kept comes in whole messages, and after it what comes now.
    alice.send(b"\x40\x00\x00\x04mark");
    let mut buffer = [0; 16];
    assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, relayed));
    let mut heard = 0;
    loop {
        let message = alice.hear();
        heard += 1;
        match message.as_slice() {
            b"\x40\x00\x00\x04done" => break,
            media => assert_eq!((media.len(), &media[..5]), (1204, &b"\x40\x00\x04\xb0\x05"[..])),
        }
        if heard == 100 {
            // There is room again.
            peer.send_to(b"done", relayed).unwrap();
        }
    }
    assert!(heard > 200, "about as much as the buffers have room for: {heard}");
    assert_eq!(alice.refresh(600), 0);
}
