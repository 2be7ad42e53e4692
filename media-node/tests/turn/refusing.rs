//! A node that has no more of something says so to the client, in a metric and in the log, and serves those it has.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    PEER, caller,
    caller::{Caller, echo},
    node::{Node, PATIENCE, Plan},
};

fn refusals(node: &Node, reason: &str) -> u64 {
    let (_, page) = node.get("/metrics");
    let row = format!("rtcfleet_turn_refusals_total{{reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&row)).unwrap_or_else(|| panic!("no {row} in {page}"));
    line.parse().unwrap()
}

/// Allocations of users of their own.
fn callers<const N: usize>(node: &Node) -> [Caller; N] {
    std::array::from_fn(|n| {
        let mut caller = caller(node, &format!("user{n}"));
        assert_eq!(caller.allocate().code(), 0);
        caller
    })
}

fn relays(caller: &mut Caller) -> bool {
    let peer = echo(PEER);
    caller.permit(peer) == 0 && caller.indication_echo(peer, b"on and on") == (Some(peer), b"on and on".to_vec())
}

#[test]
fn without_a_free_port_an_allocation_gets_508_and_the_reason_is_told_once() {
    let mut plan = Plan::new();
    // Ports that no other test has.
    plan.relay = "addresses: [127.0.0.1], minPort: 62100, maxPort: 62103, allowPeers: [127.0.0.0/8]".to_owned();
    let node = plan.start();
    let mut callers = callers::<4>(&node);
    let mut another = caller(&node, "another");
    assert_eq!(another.allocate().code(), 508);
    let line = node.wait_for_line(&["allocations were refused with 508", "\"reason\":\"ports\""]);
    assert!(line.contains("\"WARN\"") && line.contains("minPort"), "{line}");
    for _ in 0..20 {
        assert_eq!(another.allocate().code(), 508);
    }
    assert_eq!((refusals(&node, "ports"), refusals(&node, "descriptors")), (21, 0));
    assert!(callers.iter_mut().all(relays), "those that live go on");
    assert_eq!(callers[0].refresh(0), 0);
    assert_eq!(another.allocate().code(), 0);
    assert!(relays(&mut another));
    assert!(!node.has_said("allocations were refused with 508"), "twice");
}

#[test]
fn users_and_node_past_their_quotas_are_told_apart() {
    let mut plan = Plan::new();
    plan.more = "quotas: {allocationsPerUser: 1, allocations: 2}".to_owned();
    let node = plan.start();
    let _callers = callers::<1>(&node);
    assert_eq!(caller(&node, "user0").allocate().code(), 486);
    assert_eq!(caller(&node, "user1").allocate().code(), 0);
    assert_eq!(caller(&node, "user2").allocate().code(), 508);
    node.wait_for_line(&["allocations were refused with 508", "\"reason\":\"node_quota\""]);
    assert_eq!((refusals(&node, "user_quota"), refusals(&node, "node_quota"), refusals(&node, "ports")), (1, 1, 0));
    assert!(!node.has_said("user_quota"), "a client's own fault is not the log's matter");
}

#[test]
fn as_many_allocations_as_the_limit_on_open_files_has_room_for_and_no_more() {
    let mut plan = Plan::new();
    // 512 are kept for all else, and the two threads have a listener and two more each.
    plan.open_files = Some(512 + 2 * 3 + 4);
    let node = plan.start();
    let mut callers = callers::<4>(&node);
    let mut another = caller(&node, "another");
    assert_eq!(another.allocate().code(), 508);
    let line = node.wait_for_line(&["allocations were refused with 508", "\"reason\":\"descriptors\""]);
    assert!(line.contains("limit on open files"), "{line}");
    assert_eq!((refusals(&node, "descriptors"), refusals(&node, "ports")), (1, 0));
    assert!(callers.iter_mut().all(relays));
    assert_eq!(callers[0].refresh(0), 0);
    assert_eq!(another.allocate().code(), 0);
}

#[test]
fn a_node_that_others_left_no_descriptor_refuses_and_goes_on_once_there_are_some_again() {
    let mut plan = Plan::new();
    plan.open_files = Some(44);
    let node = plan.start();
    let mut alice = caller(&node, "alice");
    assert_eq!(alice.allocate().code(), 0);
    assert_eq!(alice.refresh(0), 0);
    // Idle connections, until the kernel gives no more descriptors.
    let held: Vec<TcpStream> = (0..32).map(|_| TcpStream::connect(node.plan.metrics).unwrap()).collect();
    let over = Instant::now() + PATIENCE;
    while alice.allocate().code() != 508 {
        assert_eq!(alice.refresh(0), 0);
        assert!(Instant::now() < over, "descriptors are left");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(alice.binding().mapped(), Some(alice.client.path.remote), "it lives");
    drop(held);
    while alice.allocate().code() != 0 {
        assert!(Instant::now() < over, "descriptors are not given back");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(relays(&mut alice));
    assert!(refusals(&node, "descriptors") >= 1);
    node.wait_for_line(&["allocations were refused with 508", "\"reason\":\"descriptors\""]);
}

#[test]
fn a_node_that_relays_as_much_as_it_may_takes_no_allocations_until_it_is_less() {
    let mut plan = Plan::new();
    plan.more = "quotas: {bandwidth: 100k}".to_owned();
    let node = plan.start();
    let [mut alice] = callers::<1>(&node);
    let peer = echo(PEER);
    assert_eq!(alice.permit(peer), 0);
    let mut bob = caller(&node, "bob");
    let over = Instant::now() + PATIENCE;
    let mut next = Instant::now();
    // Twice 1000 bytes every 10 ms are 1.6 Mbit/s.
    while bob.allocate().code() != 508 {
        assert_eq!(bob.refresh(0), 0);
        assert!(Instant::now() < over, "nothing is refused");
        alice.indication_echo(peer, &[0; 1000]);
        next += Duration::from_millis(10);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    assert_eq!(alice.indication_echo(peer, b"still here").1, b"still here");
    let line = node.wait_for_line(&["quotas.bandwidth is reached"]);
    assert!(line.contains("\"WARN\""), "{line}");
    assert!(refusals(&node, "bandwidth") >= 1);
    node.wait_for_line(&["new allocations are taken again"]);
    assert_eq!(bob.allocate().code(), 0);
    assert_eq!(node.metric("rtcfleet_turn_refusing"), 0);
}
