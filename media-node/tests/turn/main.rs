//! The real binary, over real sockets on loopback.
// A helper that cannot go on is a test that fails; clippy knows this only of functions marked as tests.
#![allow(clippy::unwrap_used)]

mod adjusting;
mod admin;
mod caller;
mod draining;
mod flooding;
mod measuring;
mod moving;
mod node;
mod prober;
mod probing;
mod refusing;
mod rotating;
mod run_as;
mod stream;
mod streams;
mod tls;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use media_node::turn::proto::{
    attribute::{ICMP, REQUESTED_ADDRESS_FAMILY},
    test_support::Answer,
};
use nix::sys::signal::Signal;
use rtcfleet_node_api::{NodeState, SetState};

use crate::{
    admin::Admin,
    caller::{Caller, echo},
    node::{Node, PATIENCE, Plan, binary},
    streams::until,
};

/// Not the address that the node relays on: its own are no peers.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn caller(node: &Node, user: &str) -> Caller {
    Caller::new(node.plan.listener, &node.plan.directory.path().join("secret"), user)
}

#[test]
fn a_caller_talks_to_a_peer_by_indication_and_by_channel() {
    let node = Plan::new().start();
    let mut caller = caller(&node, "alice");
    let peer = echo(PEER);
    assert_eq!(caller.binding().mapped(), Some(caller.client.path.remote));

    let relayed = caller.allocate().relayed();
    assert_eq!(relayed.len(), 1);
    assert!((61000..62000).contains(&relayed[0].port()), "{relayed:?}");

    assert_eq!(caller.permit(peer), 0);
    assert_eq!(caller.indication_echo(peer, b"by indication"), (Some(peer), b"by indication".to_vec()));

    assert_eq!(caller.bind_channel(0x4001, peer), 0);
    assert_eq!(caller.channel_echo(0x4001, b"by channel"), b"\x40\x01\x00\x0aby channel");

    assert_eq!(caller.refresh(0), 0);
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 0);
    assert_eq!(node.metric("rtcfleet_turn_relay_ports_used"), 0);
    assert_eq!(node.metric("rtcfleet_turn_relayed_packets_total"), 4);
    assert_eq!(node.metric("rtcfleet_turn_relayed_bytes_total"), 2 * 13 + 2 * 10);
}

#[test]
fn two_callers_of_one_node_talk_to_each_other_through_their_relays() {
    let node = Plan::new().start();
    let (mut alice, mut bob) = (caller(&node, "alice"), caller(&node, "bob"));
    let (of_alice, of_bob) = (alice.allocate().relayed()[0], bob.allocate().relayed()[0]);
    assert_eq!((alice.permit(of_bob), bob.permit(of_alice)), (0, 0));
    let indication = alice.client.send(of_bob, b"hello");
    alice.send(&indication);
    let heard = Answer(bob.hear());
    assert_eq!(heard.peer(), Some(of_alice));
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    let mut plan = Plan::new();
    let port = plan.listener.port();
    plan.listener = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let node = plan.start();
    for asked in [Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 4)] {
        let server = SocketAddr::from((asked, port));
        let mut caller = Caller::new(server, &node.plan.directory.path().join("secret"), "alice");
        let peer = echo(PEER);
        assert_eq!(caller.binding().mapped(), Some(caller.client.path.remote));
        assert_eq!(caller.allocate().code(), 0);
        assert_eq!(caller.permit(peer), 0);
        assert_eq!(caller.indication_echo(peer, b"x"), (Some(peer), b"x".to_vec()), "relayed data as well");
    }
}

#[test]
fn over_ipv6_too_answers_leave_from_the_address_that_was_asked_and_callers_reach_each_other() {
    let mut plan = Plan::new();
    let port = plan.listener.port();
    plan.listener = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    plan.relay = "addresses: ['::1'], minPort: 61000, maxPort: 61999".to_owned();
    let node = plan.start();
    let secret = node.plan.directory.path().join("secret");
    let server = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| Caller::new(server, &secret, user));
    let [of_alice, of_bob] = [&mut alice, &mut bob].map(|caller| {
        let request = caller.client.allocate().with(REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        caller.ask_signed(request).relayed()[0]
    });
    assert_eq!((alice.bind_channel(0x4000, of_bob), bob.bind_channel(0x4fff, of_alice)), (0, 0));
    alice.send(b"\x40\x00\x00\x05hello");
    assert_eq!(bob.hear(), b"\x4f\xff\x00\x05hello");
}

#[test]
fn a_peer_that_nobody_listens_on_breaks_nothing_for_the_others() {
    let node = Plan::new().start();
    let mut caller = caller(&node, "alice");
    let peer = echo(PEER);
    let silent = SocketAddr::new(PEER, node::free_port());
    assert_eq!(caller.allocate().code(), 0);
    assert_eq!((caller.permit(peer), caller.permit(silent)), (0, 0));
    // The kernel answers with an ICMP error, and the client hears of it (RFC 8656 section 11.5).
    let indication = caller.client.send(silent, b"anybody?");
    let heard = caller.ask(&indication);
    assert_eq!(heard.peer(), Some(silent));
    assert!(heard.has(ICMP));
    assert_eq!(caller.indication_echo(peer, b"still here"), (Some(peer), b"still here".to_vec()));
    assert_eq!(node.metric("rtcfleet_turn_icmp_errors_total"), 1);
}

#[test]
fn sigterm_refuses_new_allocations_and_lets_live_ones_end() {
    let mut plan = Plan::new();
    plan.more = "drain: {onTerminate: 10m}".to_owned();
    let mut node = plan.start();
    let (mut alice, mut bob) = (caller(&node, "alice"), caller(&node, "bob"));
    let peer = echo(PEER);
    assert_eq!(alice.allocate().code(), 0);
    node.signal(Signal::SIGTERM);
    node.wait_for_state("Draining");
    assert_eq!(bob.allocate().code(), 508);
    assert_eq!(alice.permit(peer), 0);
    assert_eq!(alice.indication_echo(peer, b"on and on"), (Some(peer), b"on and on".to_vec()));
    assert_eq!(node.get("/readyz").0, 200, "live sessions need the node's flows");
    assert!(node.is_running());
    assert_eq!(alice.refresh(0), 0);
    assert_eq!(node.exit().code(), Some(0));
}

#[test]
fn the_grace_period_and_a_second_signal_both_end_the_process_with_live_allocations() {
    for (grace, signals) in [("100ms", 1), ("10m", 2)] {
        let mut plan = Plan::new();
        plan.more = format!("drain: {{onTerminate: {grace}}}");
        let node = plan.start();
        assert_eq!(caller(&node, "alice").allocate().code(), 0);
        node.signal(Signal::SIGINT);
        if signals == 2 {
            node.wait_for_state("Draining");
            node.signal(Signal::SIGTERM);
        }
        assert_eq!(node.exit().code(), Some(0), "{grace}");
    }
}

#[test]
fn the_admin_api_drains_a_node_and_takes_it_back() {
    let mut plan = Plan::new();
    let admin = Admin::new(&mut plan);
    let node = plan.start();
    let (mut alice, mut bob) = (caller(&node, "alice"), caller(&node, "bob"));
    assert_eq!(alice.allocate().code(), 0);
    let status = admin.status();
    assert_eq!((status.state, status.sessions.allocations), (NodeState::Active, 1));
    assert_eq!(status.public_addresses, [IpAddr::from(Ipv4Addr::LOCALHOST)]);

    let deadline = Timestamp::now() + Duration::from_hours(1);
    assert_eq!(admin.set(&SetState::Draining { deadline, alternates: Vec::new() }).state, NodeState::Draining);
    assert_eq!(bob.allocate().code(), 508);
    assert_eq!(admin.set(&SetState::Active).state, NodeState::Active);
    assert_eq!(bob.allocate().code(), 0);

    admin.set(&SetState::Draining { deadline: Timestamp::now(), alternates: Vec::new() });
    node.wait_for_state("Drained");
    let over = Instant::now() + PATIENCE;
    while admin.status().sessions.allocations > 0 {
        assert!(Instant::now() < over, "sessions are ended at the deadline");
    }
    assert_eq!(alice.refresh(600), 437, "its allocation is gone");
    assert_eq!(admin.set(&SetState::Active).state, NodeState::Active);
    assert_eq!(alice.allocate().code(), 0);
}

#[test]
fn a_rotated_secret_is_in_force_without_a_restart() {
    let node = Plan::new().start();
    let mut before = caller(&node, "alice");
    assert_eq!(before.allocate().code(), 0);
    let directory = node.plan.directory.path();
    let code_of = |secret: &str| Caller::new(node.plan.listener, &directory.join(secret), "bob").allocate().code();
    node.plan.write("previous", "north");
    node.plan.write("secret", "south");
    node.wait_for_line(&["other secrets are in force"]);
    until("the new one is in force", || code_of("secret") == 0);
    assert_eq!(code_of("previous"), 0, "by the previous one");
    std::fs::remove_file(directory.join("previous")).unwrap();
    node.plan.write("north", "north");
    until("the rotation is over", || code_of("north") == 401);
    assert_eq!(before.refresh(600), 0, "live allocations go on");
}

#[test]
fn a_node_waits_for_its_machines_addresses_alive_but_not_ready() {
    let mut plan = Plan::new();
    plan.relay = "machinesFile: machines.yaml, minPort: 61000, maxPort: 61999".to_owned();
    plan.write("machines.yaml", "machines: {another: {addresses: [127.0.0.1]}}");
    let node = plan.spawn();
    node.wait_for_line(&["waiting for the addresses to relay on", "this-one"]);
    assert_eq!((node.get("/healthz").0, node.get("/readyz").0), (200, 503));
    node.plan.write("machines.yaml", "machines: {this-one: {addresses: [127.0.0.1], publicAddresses: [203.0.113.7]}}");
    node.wait_for_state("Active");
    assert_eq!((node.get("/healthz").0, node.get("/readyz").0), (200, 200));
    let relayed = caller(&node, "alice").allocate().relayed();
    assert_eq!(relayed[0].ip(), IpAddr::from([203, 0, 113, 7]));
}

#[test]
fn a_node_that_waits_ends_at_the_first_signal() {
    let mut plan = Plan::new();
    plan.relay = "machinesFile: machines.yaml, minPort: 61000, maxPort: 61999".to_owned();
    let node = plan.spawn();
    node.wait_for_line(&["waiting for the addresses to relay on"]);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.exit().code(), Some(0));
}

#[test]
fn a_second_node_on_the_same_port_does_not_start() {
    let node = Plan::new().start();
    let mut plan = Plan::new();
    plan.listener = node.plan.listener;
    let output = plan.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("listeners[0].address: ") && said.contains("end what listens there"), "{said}");
}

#[test]
fn an_address_of_another_machine_is_refused_at_start() {
    let mut plan = Plan::new();
    plan.relay = "addresses: [192.0.2.7], minPort: 61000, maxPort: 61999".to_owned();
    let output = plan.command().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("relay.addresses: 192.0.2.7: ") && said.contains("publicAddresses"), "{said}");
}

#[test]
fn every_mistake_is_on_stderr_with_exit_code_2() {
    let mut plan = Plan::new();
    plan.relay = "minPort: 70000, addresses: [0.0.0.0]".to_owned();
    plan.more = "admin: {certificate: a}".to_owned();
    let output = plan.command().arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for path in ["relay.minPort: 70000 is not a port", "relay.addresses[0]: ", "admin.key: ", "admin.clientCa: "] {
        assert!(said.contains(path), "{path} in {said}");
    }
}

#[test]
fn the_example_of_the_documentation_is_a_good_configuration() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/media-node/turn.yaml");
    media_node::config::load(&example, &media_node::config::Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_documentation_names_every_key_of_the_schema() {
    let output = binary().arg("config-schema").output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let document =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/media-node.md")).unwrap();
    let keys = keys_of(&schema);
    assert!(keys.len() > 20, "{keys:?}");
    let missing: Vec<_> = keys.iter().filter(|key| !document.contains(&format!("{key}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The names of all properties that hold no further ones.
fn keys_of(schema: &serde_json::Value) -> Vec<&str> {
    let inner = |value: &serde_json::Value| value.to_string().contains("#/$defs/") || value.get("properties").is_some();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let own = properties.clone().filter(|(_, value)| !inner(value)).map(|(key, _)| key.as_str());
    let groups = schema["$defs"].as_object().into_iter().flatten().chain(properties).map(|(_, group)| group);
    own.chain(groups.flat_map(keys_of)).collect()
}
