//! Limits that change while clients are there.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use media_node::turn::proto::test_support::Answer;
use rtcfleet_node_api::Limits;

use crate::{
    PEER,
    admin::Admin,
    caller,
    caller::echo,
    node::{Node, PATIENCE, Plan},
};

const OTHER_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const OPEN: &str = "relay: {allowPeers: [127.0.0.0/8]}";

fn plan(limits: &str) -> Plan {
    let relay = "addresses: [127.0.0.1], minPort: 61000, maxPort: 61999".to_owned();
    let plan = Plan { relay, more: "limitsFile: limits.yaml".to_owned(), ..Plan::new() };
    plan.write("limits.yaml", limits);
    plan
}

/// Writes other limits and waits until they are in force.
fn put(node: &Node, limits: &str) {
    node.plan.write("limits.yaml", limits);
    node.wait_for_line(&["other limits are in force"]);
}

#[test]
fn a_peer_that_is_denied_stops_being_relayed_both_ways_and_one_that_is_opened_can_be_used() {
    let node = plan(OPEN).start();
    let [mut ann, mut bob] = ["ann", "bob"].map(|user| caller(&node, user));
    // One that only sends by itself, so that what it sends after the change is not asked for.
    let denied = UdpSocket::bind((PEER, 0)).unwrap();
    let peer = denied.local_addr().unwrap();
    let other = echo(OTHER_PEER);
    let relayed = [&mut ann, &mut bob].map(|caller| caller.allocate().relayed()[0]);
    assert_eq!((ann.bind_channel(0x4000, peer), bob.permit(peer)), (0, 0));
    assert_eq!((ann.permit(other), bob.bind_channel(0x4001, other)), (0, 0));
    for (caller, relayed) in [&ann, &bob].into_iter().zip(relayed) {
        denied.send_to(b"before", relayed).unwrap();
        assert!(!caller.hear().is_empty());
    }

    put(&node, "relay: {allowPeers: [127.0.0.3]}");
    for relayed in relayed {
        denied.send_to(b"after", relayed).unwrap();
    }
    ann.send(b"\x40\x00\x00\x05after");
    let indication = bob.client.send(peer, b"after");
    bob.send(&indication);
    // What comes back from the other peer was sent later on the same two ways.
    assert_eq!(ann.indication_echo(other, b"x"), (Some(other), b"x".to_vec()), "nothing of the denied peer before it");
    assert_eq!(bob.channel_echo(0x4001, b"x"), b"\x40\x01\x00\x01x", "nothing of the denied peer before it");
    denied.set_nonblocking(true).unwrap();
    assert!(denied.recv(&mut [0; 100]).is_err(), "something was relayed to it");
    assert_eq!((ann.permit(peer), ann.bind_channel(0x4000, peer)), (403, 403));

    put(&node, OPEN);
    assert_eq!(bob.permit(peer), 0);
    let indication = bob.client.send(peer, b"again");
    bob.send(&indication);
    denied.set_nonblocking(false).unwrap();
    denied.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 100];
    let len = denied.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"again");
    denied.send_to(b"answer", relayed[1]).unwrap();
    assert_eq!(Answer(bob.hear()).peer(), Some(peer));
}

#[test]
fn quotas_and_capacity_are_taken_up_and_a_wrong_file_changes_nothing_and_is_told() {
    let mut plan = plan(OPEN);
    let admin = Admin::new(&mut plan);
    plan.more += "\nlimitsFile: limits.yaml";
    let node = plan.start();
    let told = || admin.status().limits.expect("limits");
    let first = told();
    assert_eq!((first.hash.len(), first.problem.as_deref()), (64, None));
    let mut ann = caller(&node, "ann");
    assert_eq!(ann.allocate().code(), 0);

    put(&node, &format!("{OPEN}\nquotas: {{allocationsPerUser: 1}}\ncapacity: {{nic: {{tx: 3G}}}}"));
    let second = told();
    assert!(second.hash != first.hash && second.problem.is_none(), "{second:?}");
    assert_eq!((caller(&node, "ann").allocate().code(), ann.refresh(600)), (486, 0));
    wait("the capacity", || {
        let nic = admin.status().load.and_then(|load| load.nic);
        nic.is_some_and(|nic| nic.capacity.sent_bits_per_second == Some(3_000_000_000))
    });

    node.plan.write("limits.yaml", "quotas: {allocationsPerUser: many}");
    let line = node.wait_for_line(&["the limits file cannot be used"]);
    assert!(line.contains("limits.yaml: quotas.allocationsPerUser: ") && line.contains("\"WARN\""), "{line}");
    let Limits { hash, problem } = told();
    assert_eq!(hash, second.hash);
    assert!(problem.is_some_and(|problem| problem.contains("quotas.allocationsPerUser")));
    assert_eq!(node.metric("rtcfleet_turn_limits_stale"), 1);
    let failed = || node.metric("rtcfleet_turn_limits_read_errors_total");
    wait("another look", || failed() >= 2);
    assert!(!node.has_said("the limits file cannot be used"), "twice");
    assert_eq!((caller(&node, "ann").allocate().code(), ann.refresh(600)), (486, 0), "as before");

    put(&node, OPEN);
    assert_eq!(told(), first);
    assert_eq!(node.metric("rtcfleet_turn_limits_stale"), 0);
    assert_eq!(caller(&node, "ann").allocate().code(), 0);
}

#[test]
fn a_node_does_not_start_without_its_limits_file_or_with_a_wrong_one() {
    for (limits, said) in [
        (None, "limits.yaml: cannot be read"),
        (Some("quotas: {allocations: 0}"), "limits.yaml: quotas.allocations: 0 is not a number of allocations"),
        (Some("realm: other"), "limits.yaml: realm: there is no such key"),
    ] {
        let plan = plan(limits.unwrap_or(OPEN));
        if limits.is_none() {
            std::fs::remove_file(plan.directory.path().join("limits.yaml")).unwrap();
        }
        for check in [true, false] {
            let output = plan.command().args(check.then_some("--check")).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.contains(said), "{said} in {stderr}");
        }
    }
}

fn wait(what: &str, holds: impl Fn() -> bool) {
    let over = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < over, "{what}: it does not come");
        thread::sleep(Duration::from_millis(50));
    }
}
