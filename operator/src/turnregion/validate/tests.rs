use super::*;
use crate::turnregion::test_support::{region, region_with};

fn managed(region: &TurnRegion) -> ManagedRegion {
    match validate(region).expect("a valid region") {
        Validated::Managed(managed) => *managed,
        Validated::External { .. } => panic!("managed"),
    }
}

fn refused(spec: &str) -> String {
    validate(&region_with(spec)).expect_err(spec).to_string()
}

#[test]
fn a_short_region_gets_the_documented_defaults() {
    let region = managed(&region());
    assert_eq!(region.udp_ports, [3478]);
    assert_eq!((region.relay.first(), region.relay.last(), region.relay.count()), (49152, 65535, 16384));
    assert_eq!(region.replicas, Replicas::Default(2));
    assert_eq!(region.quotas, NodeQuotas { per_user: 20, per_node: 16384 });
    assert_eq!((region.max_unavailable, region.exchange_drain), (1, Duration::from_hours(1)));
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
            "a privileged port",
            "{listeners: [{name: dns, protocol: UDP, port: 53}]}",
            "spec.listeners[dns].port: 53 lies below 1024, which relays cannot open yet: write 1024 to 65535, such as 3478",
        ),
        (
            "no UDP listener",
            "{listeners: [{name: tcp, protocol: TCP, port: 3478}]}",
            "spec.listeners: none is UDP, and the other transports are not served yet: add {name: udp, protocol: UDP, port: 3478}",
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
    assert_eq!(region.quotas, NodeQuotas { per_user: 10, per_node: 10 });
}

#[test]
fn several_mistakes_are_told_together() {
    let message = refused("{replicas: -1, upgrade: {drainDeadline: soon}}");
    assert!(message.contains("spec.replicas: -1 is out of range: write 0 to 500"), "{message}");
    assert!(message.contains("spec.upgrade.drainDeadline"), "{message}");
}

#[test]
fn what_does_nothing_yet_is_listed_and_what_works_is_not() {
    let spec = "{listeners: [{name: udp, protocol: UDP, port: 3478}, {name: tls, protocol: TLS, port: 443}], \
                tls: {secretName: t}, failoverGroup: india, cost: {perGiB: '7.30', currency: INR}, \
                scaling: {min: 2, max: 20}, quotas: {allocationsPerUser: 5}}";
    let lines = managed(&region_with(spec)).not_in_effect;
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].contains("listeners[tls]: TLS 443"));
    let plain = "{listeners: [{name: udp, protocol: UDP, port: 3478}], scaling: {min: 3}}";
    assert!(managed(&region_with(plain)).not_in_effect.is_empty());
}

#[test]
fn an_external_region_is_listed_and_says_what_it_does_not_do_yet() {
    let spec = "{mode: External, endpoints: [{host: turn.example.org, protocol: UDP, port: 3478}], auth: null}";
    let Ok(Validated::External { not_in_effect, .. }) = validate(&region_with(spec)) else { panic!("external") };
    assert_eq!(not_in_effect, ["spec.mode External: the endpoints are neither probed nor published yet"]);
}
