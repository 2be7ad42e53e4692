//! Clients whose address changes (RFC 8016). Two threads serve them, and the kernel chooses which by the port; so each
//! test moves so often that both kinds of move happen.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use media_node::turn::proto::{
    attribute::{LIFETIME, MOBILITY_TICKET},
    message::method,
};

use crate::{
    PEER,
    caller::{Caller, echo},
    node::{Node, PATIENCE, Plan},
    stream::Stream,
    streams::until,
};

const CHANNEL: u16 = 0x4001;
/// With two threads, all of them go the same way once in 2^31 runs.
const MOVES: u64 = 32;

/// A caller with a mobile allocation, a permission and a channel for `peer`.
struct Phone {
    caller: Caller,
    relayed: SocketAddr,
    ticket: Vec<u8>,
}

impl Phone {
    fn new(node: &Node, peer: SocketAddr) -> Self {
        Self::of(crate::caller(node, "alice"), peer)
    }

    fn of(mut caller: Caller, peer: SocketAddr) -> Self {
        let request = caller.client.allocate().with(MOBILITY_TICKET, &[]);
        let answer = caller.ask_signed(request);
        assert_eq!(answer.code(), 0);
        assert_eq!(caller.bind_channel(CHANNEL, peer), 0);
        Self { relayed: answer.relayed()[0], ticket: answer.value(MOBILITY_TICKET).unwrap(), caller }
    }

    /// A Refresh with the ticket, from another port. The caller there.
    fn announce(&mut self) -> Caller {
        let next = self.caller.elsewhere();
        self.announce_from(next)
    }

    fn announce_from(&mut self, mut next: Caller) -> Caller {
        let request = next.client.request(method::REFRESH).number(LIFETIME, 600).with(MOBILITY_TICKET, &self.ticket);
        let answer = next.ask_signed(request);
        assert_eq!(answer.code(), 0);
        self.ticket = answer.value(MOBILITY_TICKET).unwrap();
        next
    }
}

fn channel_data(payload: &[u8]) -> Vec<u8> {
    [&CHANNEL.to_be_bytes()[..], &u16::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

#[test]
fn a_caller_that_changes_its_address_goes_on_talking_by_the_same_relay() {
    let node = Plan::new().start();
    let peer = UdpSocket::bind((PEER, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut phone = Phone::new(&node, peer.local_addr().unwrap());
    let mut buffer = [0; 100];
    for round in 0..MOVES {
        let next = phone.announce();
        peer.send_to(b"to the old address", phone.relayed).unwrap();
        assert_eq!(phone.caller.hear(), channel_data(b"to the old address"), "round {round}");

        let payload = format!("from the new address in round {round}");
        next.send(&channel_data(payload.as_bytes()));
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (payload.as_bytes(), phone.relayed));

        peer.send_to(b"to the new address", phone.relayed).unwrap();
        assert_eq!(next.hear(), channel_data(b"to the new address"));
        assert!(phone.caller.hears_nothing());
        phone.caller = next;
    }
    let another = echo(PEER);
    assert_eq!(phone.caller.indication_echo(another, b"by the permission").1, b"by the permission");
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 1);
    assert_eq!(node.metric("rtcfleet_turn_moves_total"), MOVES);
    assert_eq!(node.metric("rtcfleet_turn_relay_ports_used"), 1);
    let (_, page) = node.get("/metrics");
    for kind in ["within", "between"] {
        let zero = format!("rtcfleet_turn_moves_total{{kind=\"{kind}\"}} 0");
        assert!(!page.lines().any(|line| line == zero), "{zero}");
    }
    assert_eq!(phone.caller.refresh(0), 0);
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 0);
    assert_eq!(node.metric("rtcfleet_turn_relay_ports_used"), 0);
}

#[test]
fn what_a_caller_sends_at_once_from_its_new_address_arrives_in_order() {
    let node = Plan::new().start();
    let peer = UdpSocket::bind((PEER, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut phone = Phone::new(&node, peer.local_addr().unwrap());
    for _ in 0..MOVES {
        let next = phone.announce();
        for n in 0..30 {
            next.send(&channel_data(&[n; 8]));
        }
        let mut buffer = [0; 100];
        for n in 0..30 {
            let (len, _) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..len], [n; 8]);
        }
        phone.caller = next;
    }
}

#[test]
fn what_waits_in_the_relay_socket_moves_with_it() {
    let node = Plan::new().start();
    let peer = UdpSocket::bind((PEER, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut phone = Phone::new(&node, peer.local_addr().unwrap());
    for _ in 0..MOVES {
        let next = phone.announce();
        next.send(&channel_data(b"here"));
        for n in 0..20 {
            peer.send_to(&[n], phone.relayed).unwrap();
        }
        // Each by the one path or by the other, none lost, none twice.
        let mut heard: Vec<u8> = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while heard.len() < 20 && Instant::now() < deadline {
            heard.extend(phone.caller.hear_within(Duration::from_millis(1)).map(|bytes| bytes[4]));
            heard.extend(next.hear_within(Duration::from_millis(1)).map(|bytes| bytes[4]));
        }
        heard.sort_unstable();
        assert_eq!(heard, (0..20).collect::<Vec<u8>>());
        peer.recv_from(&mut [0; 100]).unwrap();
        phone.caller = next;
    }
}

/// A caller on a connection, with the credentials of another one.
fn over_tcp(of: &Caller, server: SocketAddr) -> Caller {
    Caller::over_as(Stream::plain(server), &of.client.username, &of.client.password)
}

#[test]
fn a_caller_goes_from_udp_to_tcp_and_back() {
    let mut plan = Plan::new();
    let tcp = plan.listen("TCP", IpAddr::V4(Ipv4Addr::LOCALHOST));
    let node = plan.start();
    let peer = echo(PEER);
    let mut phone = Phone::new(&node, peer);
    for _ in 0..MOVES / 4 {
        let next = over_tcp(&phone.caller, tcp);
        phone.caller = phone.announce_from(next);
        for payload in [&b"by a connection"[..], &[7; 1200]] {
            assert_eq!(phone.caller.channel_echo(CHANNEL, payload)[4..][..payload.len()], *payload);
        }
        let next = Caller::named(node.plan.listener, &phone.caller.client.username, &phone.caller.client.password);
        phone.caller = phone.announce_from(next);
        assert_eq!(phone.caller.channel_echo(CHANNEL, b"by datagrams"), channel_data(b"by datagrams"));
    }
    assert_eq!(node.metric("rtcfleet_turn_moves_total"), MOVES / 2);
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 1);
}

#[test]
fn a_caller_that_has_lost_its_connection_comes_back_by_another() {
    let mut plan = Plan::new();
    let tcp = plan.listen("TCP", IpAddr::V4(Ipv4Addr::LOCALHOST));
    let node = plan.start();
    let peer = UdpSocket::bind((PEER, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut phone = Phone::of(over_tcp(&crate::caller(&node, "alice"), tcp), peer.local_addr().unwrap());
    let gone = || node.metric_row("rtcfleet_turn_dropped_packets_total{reason=\"client_gone\"}");
    for _ in 0..MOVES / 4 {
        let before = gone();
        let another = over_tcp(&phone.caller, tcp);
        drop(std::mem::replace(&mut phone.caller, another));
        until("the node has not seen the end of the connection", || {
            peer.send_to(b"to nobody", phone.relayed).unwrap();
            gone() > before
        });
        let next = over_tcp(&phone.caller, tcp);
        phone.caller = phone.announce_from(next);
        peer.send_to(b"welcome back", phone.relayed).unwrap();
        assert_eq!(phone.caller.hear(), channel_data(b"welcome back"));
    }
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 1);
    assert_eq!(phone.caller.refresh(0), 0);
    assert_eq!(node.metric("rtcfleet_turn_relay_ports_used"), 0);
}

#[test]
fn a_ticket_is_of_no_use_to_another_user() {
    let node = Plan::new().start();
    let phone = Phone::new(&node, (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 4000).into());
    for _ in 0..4 {
        let mut eve = crate::caller(&node, "eve");
        let request = eve.client.request(method::REFRESH).with(MOBILITY_TICKET, &phone.ticket);
        assert_eq!(eve.ask_signed(request).code(), 441);
    }
    assert_eq!(node.metric("rtcfleet_turn_moves_total"), 0);
}

#[test]
fn a_node_can_be_told_to_refuse_mobility() {
    let mut plan = Plan::new();
    plan.more = "mobility: {enabled: false}".to_owned();
    let node = plan.start();
    let mut caller = crate::caller(&node, "alice");
    let request = caller.client.allocate().with(MOBILITY_TICKET, &[]);
    assert_eq!(caller.ask_signed(request).code(), 405);
    assert_eq!(caller.allocate().code(), 0, "without asking for it");
}
