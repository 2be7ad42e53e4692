//! What the node finds when it asks itself for peers that it must refuse, and whether it relays.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rtcfleet_node_api::{PeerRules, Relaying};

use crate::{
    admin::Admin,
    caller::Caller,
    node::{PATIENCE, Plan},
};

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let over = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < over, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn probing(probe: &str) -> (Plan, Admin) {
    let mut plan = Plan::new();
    plan.probe = probe.into();
    let admin = Admin::new(&mut plan);
    (plan, admin)
}

fn rules(admin: &Admin) -> PeerRules {
    until("no round", || admin.status().peer_rules)
}

fn relaying(admin: &Admin) -> Relaying {
    until("no verdict", || admin.status().relaying)
}

#[test]
fn a_node_that_opens_loopback_finds_the_rest_refused_and_keeps_no_allocation() {
    let (plan, admin) = probing("30s");
    let node = plan.start();
    assert_eq!(rules(&admin).granted, Vec::<std::net::IpAddr>::new());
    let line = node.wait_for_line(&["peers that must be refused are refused"]);
    assert!(line.contains("\"INFO\""), "{line}");
    let (_, page) = node.get("/metrics");
    let refused = |method: &str| format!("rtcfleet_turn_requests_total{{method=\"{method}\",outcome=\"403\"}} ");
    let count = |row: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(row)).unwrap_or_else(|| panic!("no {row}in\n{page}"));
        line.parse::<f64>().unwrap()
    };
    assert!(count(&refused("create_permission")) >= 7.0, "metadata, private and more: {page}");
    assert!(count(&refused("channel_bind")) >= 3.0, "listener, metrics and admin: {page}");
    assert!(!page.contains("method=\"create_permission\",outcome=\"success\""), "{page}");
    assert!(count("rtcfleet_turn_peer_rules_granted ") < 0.5);
    assert!(count("rtcfleet_turn_peer_rules_checked_timestamp_seconds ") > 1e9);
    assert!(count("rtcfleet_turn_peer_rules_probe_failures_total{reason=\"no_answer\"} ") < 0.5);
    assert!(count("rtcfleet_turn_peer_rules_probe_failures_total{reason=\"refused\"} ") < 0.5);
    assert_eq!(admin.status().sessions.allocations, 0);
}

#[test]
fn over_ipv6_the_forms_that_carry_ipv4_are_refused_too() {
    let (mut plan, admin) = probing("30s");
    plan.listener = std::net::SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), plan.listener.port());
    plan.relay = "addresses: ['::1'], minPort: 61000, maxPort: 61999".to_owned();
    let node = plan.start();
    assert_eq!(rules(&admin).granted, Vec::<std::net::IpAddr>::new());
    assert!(node.metric("rtcfleet_turn_requests_total") >= 12, "as many forms as there are");
}

#[test]
fn a_node_that_is_told_to_end_does_not_wait_for_its_own_allocations() {
    let (mut plan, admin) = probing("2s");
    plan.more += "\ndrain: {onTerminate: 10m}";
    let node = plan.start();
    rules(&admin);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.exit().code(), Some(0));
}

#[test]
fn rounds_go_on_with_a_rotated_secret() {
    let (plan, admin) = probing("2s");
    let node = plan.start();
    rules(&admin);
    node.plan.write("secret", "south");
    node.wait_for_line(&["other secrets are in force"]);
    let rotated = jiff::Timestamp::now();
    until("no round with the new secret", || Some(rules(&admin)).filter(|rules| rules.checked_at > rotated));
    assert_eq!(node.metric("rtcfleet_turn_peer_rules_probe_failures_total"), 0);
}

#[test]
fn a_round_that_the_quota_forbids_is_a_failure_and_no_all_clear() {
    let (mut plan, admin) = probing("2s");
    plan.more += "\nquotas: {allocations: 1}";
    let node = plan.start();
    let secret = node.plan.directory.path().join("secret");
    let mut alice = Caller::new(node.plan.listener, &secret, "alice");
    // A round may be having the one that there is.
    until("no allocation", || (alice.allocate().code() == 0).then_some(()));
    let checked = admin.status().peer_rules;
    let line = node.wait_for_line(&["the peer rules could not be probed", "Allocate with 508"]);
    assert!(line.contains("\"WARN\""), "{line}");
    assert_eq!(admin.status().peer_rules, checked);
    assert!(node.metric("rtcfleet_turn_peer_rules_probe_failures_total") >= 1);
}

#[test]
fn a_node_proves_over_each_transport_and_behind_a_nat_that_it_relays_and_counts_no_session_for_it() {
    // There and back, each to a peer and from one.
    for (case, relay, tcp, packets) in [
        ("UDP", "addresses: [127.0.0.1]", false, 4),
        ("a TCP listener only", "addresses: [127.0.0.1]", true, 4),
        ("1:1 NAT", "addresses: [127.0.0.1], publicAddresses: [203.0.113.7]", false, 4),
        ("both families", "addresses: [127.0.0.1, '::1']", false, 8),
        (
            "allocations, where callers may not reach each other",
            "addresses: [127.0.0.1], denyPeers: [127.0.0.1]",
            false,
            0,
        ),
    ] {
        let (mut plan, admin) = probing("30s");
        plan.more += "\nquotas: {allocationsPerUser: 1}";
        plan.relay = format!("{relay}, minPort: 61000, maxPort: 61999");
        if tcp {
            plan.listener.set_port(0);
            plan.listen("TCP", std::net::Ipv4Addr::LOCALHOST.into());
        }
        let node = plan.start();
        let began = Instant::now();
        assert_eq!(relaying(&admin).problem, None, "{case}");
        assert!(began.elapsed() < Duration::from_secs(5), "{case}: somebody waits for it");
        let line = node.wait_for_line(&["this node relays"]);
        assert!(line.contains("\"INFO\""), "{case}: {line}");
        assert_eq!(node.metric("rtcfleet_turn_relaying"), 1, "{case}");
        // One that takes long to come back is sent again.
        let relayed = node.metric("rtcfleet_turn_relayed_packets_total");
        assert!(if packets == 0 { relayed == 0 } else { relayed >= packets }, "{case}: {relayed}");
        assert_eq!(node.metric("rtcfleet_turn_allocations"), 0, "{case}");
    }
}

#[test]
fn a_node_that_is_full_keeps_its_last_verdict() {
    let (mut plan, admin) = probing("2s");
    plan.more += "\nquotas: {allocations: 2}";
    let node = plan.start();
    relaying(&admin);
    let secret = node.plan.directory.path().join("secret");
    let mut alice = Caller::new(node.plan.listener, &secret, "alice");
    // A round may be having both that there are.
    until("no allocation", || (alice.allocate().code() == 0).then_some(()));
    let line = node.wait_for_line(&["whether this node relays could not be tried", "Allocate with 508"]);
    assert!(line.contains("\"WARN\""), "{line}");
    let last = admin.status().relaying.unwrap();
    assert_eq!(last.problem, None);
    assert_eq!(alice.refresh(0), 0);
    until("no further verdict", || Some(relaying(&admin)).filter(|next| next.checked_at > last.checked_at));
    node.wait_for_line(&["this node relays"]);
}

#[test]
fn what_the_probe_has_is_no_session() {
    let (plan, admin) = probing("0s");
    let node = plan.start();
    let secret = node.plan.directory.path().join("secret");
    for user in media_node::turn::probe::USERS {
        let mut caller = Caller::new(node.plan.listener, &secret, user);
        assert_eq!(caller.allocate().code(), 0);
    }
    assert_eq!(node.metric("rtcfleet_turn_allocations"), 2);
    assert_eq!(admin.status().sessions.allocations, 0);
    node.signal(Signal::SIGTERM);
    assert_eq!(node.exit().code(), Some(0), "nobody waits for it");
}
