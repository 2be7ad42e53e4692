use rtcfleet_node_api::{CpuLoad, Load, NicCapacity, NicLoad, NodeState, PeerRules, Rate};

use super::*;
use crate::turnregion::status::tests::{node, now};

fn in_days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

/// A node whose certificate ends in so many days.
fn shows(days: i64, problem: Option<&str>) -> NodeStatus {
    let certificate = Certificate { not_after: in_days(days), problem: problem.map(str::to_owned) };
    NodeStatus { certificate: Some(certificate), ..node(NodeState::Active) }
}

fn numbered(nodes: &[NodeStatus]) -> Vec<(u32, &NodeStatus)> {
    (0..).zip(nodes).collect()
}

#[test]
fn a_certificate_is_told_of_before_it_ends_with_what_to_do() {
    let good = TlsSecret::Ends(in_days(60));
    let unreadable = TlsSecret::Unreadable { why: "no PEM".into() };
    for (case, nodes, secret, expected) in [
        ("nodes and Secret are good", vec![shows(60, None), shows(60, None)], &good, None),
        ("nodes do not say yet, the Secret is good", vec![node(NodeState::Starting)], &good, None),
        ("two weeks are enough", vec![shows(14, None)], &TlsSecret::Ends(in_days(14)), None),
        (
            "less is not",
            vec![shows(13, None), shows(60, None)],
            &TlsSecret::Ends(in_days(13)),
            Some((
                "ExpiresSoon",
                "the certificate of Secret turn-tls ends at 2026-02-14T12:00:00Z: renew it in the Secret; nodes take the new one up without a restart",
            )),
        ),
        (
            "nodes do not say yet, the Secret's is old",
            vec![],
            &TlsSecret::Ends(in_days(2)),
            Some((
                "ExpiresSoon",
                "the certificate of Secret turn-tls ends at 2026-02-03T12:00:00Z: renew it in the Secret; nodes take the new one up without a restart",
            )),
        ),
        (
            "it has ended",
            vec![shows(0, None)],
            &TlsSecret::Ends(in_days(0)),
            Some((
                "Expired",
                "the certificate of Secret turn-tls ended at 2026-02-01T12:00:00Z: renew it in the Secret; nodes take the new one up without a restart",
            )),
        ),
        (
            "the Secret is gone, and what nodes keep ends",
            vec![shows(3, None)],
            &TlsSecret::Missing,
            Some((
                "ExpiresSoon",
                "the certificate of Secret turn-tls ends at 2026-02-04T12:00:00Z: renew it in the Secret; nodes take the new one up without a restart",
            )),
        ),
        (
            "it was renewed, and some nodes do not show it",
            vec![shows(3, None), shows(60, None), shows(5, None)],
            &good,
            Some((
                "NodesBehind",
                "Secret turn-tls holds a certificate until 2026-04-02T12:00:00Z, but the one shown on slots 0, 2 ends at 2026-02-04T12:00:00Z: the kubelet brings the new one within two minutes; if it does not, read the logs of these nodes",
            )),
        ),
        (
            "nodes cannot use the new one, long before the old one ends",
            vec![shows(60, None), shows(40, Some("tls.key is another one's"))],
            &unreadable,
            Some((
                "NodesBehind",
                "what Secret turn-tls holds now cannot be used on slot 1 (tls.key is another one's), where the certificate read before goes on until 2026-03-13T12:00:00Z: write a certificate and the key that belongs to it",
            )),
        ),
    ] {
        let told = certificate_expiring(&numbered(&nodes), ("turn-tls", secret), now());
        let told = told.as_ref().map(|told| (told.reason, told.message.as_str()));
        assert_eq!(told, expected, "{case}");
    }
}

#[test]
fn the_message_about_a_certificate_does_not_change_from_look_to_look() {
    let nodes = [shows(5, None)];
    let at = |time| certificate_expiring(&numbered(&nodes), ("turn-tls", &TlsSecret::Ends(in_days(5))), time);
    assert_eq!(at(now()), at(in_days(4)));
}

/// A node in this state that runs these limits.
fn runs(state: NodeState, hash: &str, problem: Option<&str>) -> NodeStatus {
    let limits = Limits { hash: hash.into(), problem: problem.map(str::to_owned) };
    NodeStatus { limits: Some(limits), ..node(state) }
}

#[test]
fn limits_that_serving_nodes_do_not_run_yet_are_told_of_with_the_slots() {
    use NodeState::{Active, Drained, Draining, Starting};
    let behind = "serve by quotas, peers and capacity of before: the kubelet brings the new ones within two minutes, and no relay restarts; if it does not, read the logs of these nodes and the Events of their machines";
    let old = || runs(Active, "old", None);
    let new = || runs(Active, "new", None);
    for (case, nodes, expected) in [
        ("all run them", vec![new(), new()], None),
        ("an older release does not say", vec![node(Active), new()], None),
        ("one that starts reads them, one that is drained needs none", vec![runs(Starting, "old", None), runs(Drained, "old", None)], None),
        ("some do not yet", vec![old(), new(), runs(Draining, "old", None)], Some(("NodesBehind", format!("slots 0, 2 {behind}")))),
        (
            "one has refused them",
            vec![old(), runs(Active, "old", Some("limits.yaml: quotas: x"))],
            Some((
                "Refused",
                "quotas, peers and capacity as they are written are refused on slot 1, where those before go on: write others, or give these relays an image of this release (limits.yaml: quotas: x)".to_owned(),
            )),
        ),
        ("what was refused is taken back, and the kubelet has not brought that yet", vec![runs(Active, "new", Some("x"))], None),
    ] {
        let told = limits_pending(&numbered(&nodes), "new").map(|told| (told.reason, told.message));
        assert_eq!(told, expected, "{case}");
    }
}

#[test]
fn peers_that_were_granted_are_named_once_sorted_and_not_without_end() {
    let granted = |addresses: &[&str]| {
        let granted = addresses.iter().map(|text| text.parse().unwrap()).collect();
        NodeStatus { peer_rules: Some(PeerRules { checked_at: now(), granted }), ..node(NodeState::Active) }
    };
    let told = |nodes: &[NodeStatus]| peer_rules_violated(&numbered(nodes)).map(|told| told.message);
    assert_eq!(told(&[node(NodeState::Active), granted(&[])]), None);
    assert_eq!(
        told(&[granted(&["10.0.0.1", "::1"]), granted(&[]), granted(&["169.254.169.254", "10.0.0.1"])]).unwrap(),
        "relays reach what they must not: slots 0, 2 granted 10.0.0.1, 169.254.169.254, ::1: take networks out of spec.relay.allowPeers or write spec.relay.denyPeers; if neither opens them, it is a bug: close the region to the outside and report it"
    );
    let many: Vec<String> = (1..=32).map(|last| format!("10.0.0.{last}")).collect();
    let many = told(&[granted(&many.iter().map(String::as_str).collect::<Vec<_>>())]).unwrap();
    assert!(many.contains("granted 10.0.0.1, 10.0.0.2") && many.contains("10.0.0.8 and 24 more: "), "{many}");
}

#[test]
fn a_capacity_that_nobody_knows_is_asked_for() {
    let with = |source| {
        let capacity = NicCapacity {
            source,
            sent_bits_per_second: None,
            received_bits_per_second: None,
            packets_per_second: None,
        };
        let nic = NicLoad { interface: "eth0".into(), sent: Rate::default(), received: Rate::default(), capacity };
        let cpu = CpuLoad { process_percent: 1.0, machine_percent: 2.0, softirq_percent: 0.5 };
        let load = Load { window_seconds: 5.0, cpu, nic: Some(nic) };
        NodeStatus { load: Some(load), ..node(NodeState::Active) }
    };
    let known = [CapacitySource::Configured, CapacitySource::CloudTable, CapacitySource::LinkSpeed].map(with);
    assert_eq!(capacity_unknown(&numbered(&known)), None);
    assert_eq!(capacity_unknown(&numbered(&[node(NodeState::Active)])), None);
    let told = capacity_unknown(&numbered(&[with(CapacitySource::Unknown), with(CapacitySource::LinkSpeed)])).unwrap();
    assert_eq!(
        told.message,
        "what the network interface can carry is not known on slot 0, and a cautious guess is used: write spec.capacity.nic, such as {tx: 10G, rx: 10G}"
    );
}
