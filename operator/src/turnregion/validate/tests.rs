use super::*;
use crate::fleet::policy::Count;
use crate::turnregion::test_support::{region, region_with};

fn managed(region: &TurnRegion) -> ManagedRegion {
    match validate(region, &[]).expect("a valid region") {
        Validated::Managed(managed) => *managed,
        Validated::External { .. } => panic!("managed"),
    }
}

/// What its nodes open, in order.
fn ports(region: &ManagedRegion) -> Vec<String> {
    region.listeners.ports().iter().map(|one| format!("{} {}", one.protocol.text(), one.port)).collect()
}

fn refused(spec: &str) -> String {
    validate(&region_with(spec), &[]).expect_err(spec).to_string()
}

#[test]
fn a_short_region_gets_the_documented_defaults() {
    let region = managed(&region());
    assert_eq!(ports(&region), ["UDP 3478", "TCP 3478"]);
    assert_eq!(region.listeners.certificate(), None);
    assert_eq!(region.nic, NicCapacity::default());
    assert_eq!((region.relay.first(), region.relay.last(), region.relay.count()), (49152, 65535, 16384));
    assert_eq!(region.fleet.count, Count::Default(2));
    assert_eq!(region.quotas, NodeQuotas { per_user: 20, per_node: 16384, bandwidth: None });
    assert_eq!((region.fleet.max_unavailable, region.fleet.exchange_drain), (1, Duration::from_hours(1)));
    assert_eq!(region.secret.previous.as_deref(), Some("previous"));
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_write() {
    for (case, spec, expected) in [
        (
            "fewer ports than allocations",
            "{relay: {minPort: 50000, maxPort: 50009}, quotas: {allocationsPerNode: 20}}",
            "spec.relay: 10 ports for spec.quotas.allocationsPerNode 20: widen minPort to maxPort to at least 20 ports, or lower the quota",
        ),
        (
            "a user may hold more than the node",
            "{quotas: {allocationsPerUser: 30, allocationsPerNode: 20}}",
            "spec.quotas.allocationsPerUser: 30 is more than allocationsPerNode 20: lower it to at most 20, or raise allocationsPerNode",
        ),
        (
            "the metrics port among the relayed ones",
            "{relay: {minPort: 9000, maxPort: 9400}}",
            "spec.relay: 9000 to 9400 holds the relay's own metrics port 9090: move the range, such as 49152 to 65535",
        ),
        (
            "a port that slipped through an older schema",
            "{listeners: [{name: dns, protocol: UDP, port: 0}]}",
            "spec.listeners[dns].port: 0 is not a port: write 1 to 65535, such as 3478",
        ),
        (
            "no listener",
            "{listeners: []}",
            "spec.listeners: the list is empty: write {name: udp, protocol: UDP, port: 3478}, or leave listeners out for UDP and TCP 3478",
        ),
        (
            "TLS without a certificate",
            "{listeners: [{name: tls, protocol: TLS, port: 443}]}",
            "spec.tls: missing, and listener tls needs a certificate: write {secretName: turn-tls}, naming a kubernetes.io/tls Secret",
        ),
        (
            "TCP and TLS on one port",
            "{listeners: [{name: tcp, protocol: TCP, port: 443}, {name: tls, protocol: TLS, port: 443}], tls: {secretName: t}}",
            "spec.listeners[tls].port: 443 is the port of listener tcp: choose another (TCP and TLS share one port space)",
        ),
        (
            "a listener that nobody wrote among the relayed ports",
            "{listeners: null, relay: {minPort: 3478, maxPort: 4000}, quotas: {allocationsPerNode: 1, allocationsPerUser: 1}, tls: {secretName: t}}",
            "spec.relay: 3478 to 4000 holds port 3478 of listener udp: move the range, such as 49152 to 65535, or give the listener another port; \
             spec.relay: 3478 to 4000 holds port 3478 of listener tcp: move the range, such as 49152 to 65535, or give the listener another port",
        ),
        (
            "no bandwidth",
            "{quotas: {bandwidthPerAllocation: 0M}}",
            "spec.quotas.bandwidthPerAllocation: \"0M\" is no number above 0: write digits with k, M, G, T or nothing after them, such as 4M",
        ),
        (
            "a capacity that slipped through an older schema",
            "{capacity: {nic: {rx: 10 Gbit}}}",
            "spec.capacity.nic.rx: \"10 Gbit\" is no number above 0: write digits with k, M, G, T or nothing after them, such as 10G",
        ),
        (
            "the admin port",
            "{listeners: [{name: udp, protocol: UDP, port: 3478}, {name: odd, protocol: TCP, port: 9443}]}",
            "spec.listeners[odd].port: 9443 is the relay's own admin port: choose another",
        ),
        (
            "two addresses of a family",
            "{addresses: {from: Static, machines: [{name: a, addresses: [192.0.2.1, 192.0.2.2]}]}}",
            "spec.addresses.machines[a]: two IPv4 addresses: write at most one a family",
        ),
        (
            "a text for an address",
            "{addresses: {from: Static, machines: [{name: a, addresses: [here]}]}}",
            "spec.addresses.machines[a]: \"here\" is not an IP address: write one such as 203.0.113.7 or 2001:db8::7",
        ),
        (
            "a duration that slipped through an older schema",
            "{upgrade: {drainDeadline: soon}}",
            "spec.upgrade.drainDeadline: \"soon\" is not a duration: write hours, minutes and seconds, such as 45s, 10m or 1h30m",
        ),
        (
            "a range that slipped through an older schema",
            "{relay: {minPort: 80, maxPort: 90}}",
            "spec.relay: 80 to 90 is no range of ports: write 1024 <= minPort <= maxPort <= 65535, such as 49152 and 65535",
        ),
        (
            "no credentials",
            "{auth: null}",
            "spec.auth: missing: write {realm: turn.example.org, secretRef: {name: turn-auth}}",
        ),
    ] {
        assert_eq!(refused(spec), expected, "{case}");
    }
}

#[test]
fn a_small_node_lowers_the_default_of_a_user() {
    let region = managed(&region_with("{quotas: {allocationsPerNode: 10}}"));
    assert_eq!(region.quotas, NodeQuotas { per_user: 10, per_node: 10, bandwidth: None });
}

#[test]
fn several_mistakes_are_told_together() {
    let message = refused("{replicas: -1, upgrade: {drainDeadline: soon}}");
    assert!(message.contains("spec.replicas: -1 is out of range: write 0 to 500"), "{message}");
    assert!(message.contains("spec.upgrade.drainDeadline"), "{message}");
}

#[test]
fn listeners_are_opened_as_written_whatever_their_order_and_number() {
    for (case, spec, expected) in [
        ("none is written, a certificate is", "{tls: {secretName: t}}", vec!["UDP 3478", "TCP 3478", "TLS 443"]),
        ("TCP alone", "{listeners: [{name: tcp, protocol: TCP, port: 80}]}", vec!["TCP 80"]),
        ("TLS alone", "{listeners: [{name: tls, protocol: TLS, port: 443}], tls: {secretName: t}}", vec!["TLS 443"]),
        (
            "one number in both port spaces, TLS first",
            "{listeners: [{name: b, protocol: TLS, port: 443}, {name: a, protocol: UDP, port: 443}], tls: {secretName: t}}",
            vec!["UDP 443", "TLS 443"],
        ),
        (
            "UDP on the number of a port of the node's own",
            "{listeners: [{name: udp, protocol: UDP, port: 9443}]}",
            vec!["UDP 9443"],
        ),
    ] {
        let region = managed(&region_with(spec));
        assert_eq!(ports(&region), expected, "{case}");
        let has_tls = expected.iter().any(|port| port.starts_with("TLS"));
        assert_eq!(region.listeners.certificate(), has_tls.then_some("t"), "{case}");
    }
}

#[test]
fn a_certificate_is_of_no_use_without_a_listener_for_it() {
    let spec = "{listeners: [{name: udp, protocol: UDP, port: 3478}], tls: {secretName: t}}";
    let region = managed(&region_with(spec));
    assert_eq!(region.listeners.certificate(), None);
    assert_eq!(
        region.not_in_effect,
        ["spec.tls: no listener is TLS; add {name: tls, protocol: TLS, port: 443}, or remove tls"]
    );
}

#[test]
fn what_does_nothing_yet_is_listed_and_what_works_is_not() {
    let spec = "{failoverGroup: india, cost: {perGiB: '7.30', currency: INR}, scaling: {min: 2, max: 20}}";
    let lines = managed(&region_with(spec)).not_in_effect;
    let fields: Vec<&str> = lines.iter().filter_map(|line| line.split_once(": ")).map(|(field, _)| field).collect();
    assert_eq!(fields, ["spec.cost"]);
    for works in [
        "{}",
        "{listeners: [{name: udp, protocol: UDP, port: 53}, {name: tls, protocol: TLS, port: 443}], tls: {secretName: t}}",
        "{tls: {secretName: t}, scaling: {min: 3}}",
        "{quotas: {allocationsPerUser: 5, bandwidthPerAllocation: 4M}, capacity: {nic: {tx: 10G}}}",
    ] {
        assert_eq!(managed(&region_with(works)).not_in_effect, Vec::<String>::new(), "{works}");
    }
}

#[test]
fn how_callers_reach_the_relays_of_a_region_with_mistakes_elsewhere_can_be_told() {
    let schedule = "{cron: '0 8 * * *', timeZone: Nowhere/Nowhere, min: 2}";
    let elsewhere = format!("{{scaling: {{min: 2, schedule: [{schedule}]}}, tls: {{secretName: t}}}}");
    validate(&region_with(&elsewhere), &[]).expect_err("a time zone that is none");
    let found = readable(&region_with(&elsewhere), &[]).expect("readable");
    assert_eq!(ports(&found), ["UDP 3478", "TCP 3478", "TLS 443"]);
    assert_eq!((found.secret.name.as_str(), found.listeners.certificate()), ("turn-auth", Some("t")));
    for (case, spec) in [
        ("credentials are made from nothing", "{auth: null}"),
        ("nobody knows the certificate", "{listeners: [{name: tls, protocol: TLS, port: 443}]}"),
        ("relays that run elsewhere", "{mode: External, endpoints: [], auth: null}"),
    ] {
        assert_eq!(readable(&region_with(spec), &[]), None, "{case}");
    }
}

#[test]
fn an_external_region_is_listed_and_says_what_it_does_not_do_yet() {
    let spec = "{mode: External, endpoints: [{host: turn.example.org, protocol: UDP, port: 3478}], auth: null}";
    let Ok(Validated::External { not_in_effect, .. }) = validate(&region_with(spec), &[]) else { panic!("external") };
    assert_eq!(not_in_effect, ["spec.mode External: the endpoints are neither probed nor published yet"]);
}
