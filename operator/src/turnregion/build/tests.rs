use super::*;
use crate::turnregion::observed::REVISION;
use crate::turnregion::test_support::managed;
use crate::yaml;

const IMAGE: &str = "rtc-fleet/media-node:1";

fn built(spec: &str) -> (ManagedRegion, Objects) {
    let region = managed(spec);
    let machine = |name: &str, address: &str, public: Option<&str>| Machine {
        name: name.into(),
        usable: true,
        leaving: false,
        addresses: vec![address.parse().unwrap()],
        public: public.map(|text| text.parse().unwrap()).into_iter().collect(),
        instance_type: None,
    };
    let nameless = Machine { addresses: Vec::new(), ..machine("m0", "10.0.0.9", None) };
    let typed = Machine { instance_type: Some("c5.2xlarge".into()), ..machine("m2", "10.0.0.2", Some("203.0.113.2")) };
    let machines = [typed, machine("m1", "10.0.0.1", None), nameless];
    let objects = Objects::build(&region, &machines, IMAGE);
    (region, objects)
}

/// Compares with a committed file; `UPDATE_GOLDEN=1` writes it instead.
fn golden(name: &str, text: &str) {
    let path = format!("{}/src/turnregion/build/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, expected,
        "{name}: a changed template exchanges every node of every fleet. If that is meant, say so in the changelog and run with UPDATE_GOLDEN=1"
    );
}

const DEFAULT_LISTENERS: &str =
    "{listeners: [{name: second, protocol: TCP, port: 3478}, {name: first, protocol: UDP, port: 3478}]}";

const WHOLE: &str = "{listeners: [{name: udp, protocol: UDP, port: 3478}, {name: alt, protocol: UDP, port: 5349}], \
     relay: {minPort: 50000, maxPort: 59999, allowPeers: [10.200.0.0/24], denyPeers: [198.51.100.0/24]}, \
     quotas: {allocationsPerUser: 7, allocationsPerNode: 900}, upgrade: {maxUnavailable: 2, drainDeadline: 10m, evictionDeadline: 2m}, \
     placement: {nodeSelector: {pool: media}, priorityClassName: media}, \
     template: {labels: {team: rtc, rtcfleet.dev/slot: mine}, annotations: {note: x}, resources: {limits: {memory: 1Gi}}, imagePullSecrets: [registry]}}";

/// Every transport, ports below 1024, a certificate, and what nodes cannot find out themselves.
const EVERY_TRANSPORT: &str = "{listeners: [{name: tls, protocol: TLS, port: 443}, {name: tcp, protocol: TCP, port: 3478}, {name: udp, protocol: UDP, port: 3478}], \
     tls: {secretName: turn-tls}, quotas: {bandwidthPerAllocation: 1.5M}, capacity: {nic: {tx: 10G, rx: 10000M, packets: 1M}}}";

#[test]
fn a_region_with_every_transport_is_as_committed() {
    let (region, objects) = built(EVERY_TRANSPORT);
    golden("every-transport-deployment.yaml", &yaml::text(&objects.deployment(&region, 0)));
    golden("every-transport-turn-configmap.yaml", &yaml::text(&objects.turn));
    golden("every-transport-limits-configmap.yaml", &yaml::text(&objects.limits));
}

#[test]
fn a_node_begins_as_root_only_for_a_port_below_1024_and_then_with_two_rights() {
    for (case, listener, as_root) in [
        ("the last port that needs a privilege", "{name: a, protocol: UDP, port: 1023}", true),
        ("the first that needs none", "{name: a, protocol: UDP, port: 1024}", false),
        ("TCP", "{name: a, protocol: TCP, port: 80}", true),
    ] {
        let (region, objects) = built(&format!("{{listeners: [{listener}]}}"));
        let pod = objects.deployment(&region, 0).spec.unwrap().template.spec.unwrap();
        let user = pod.security_context.unwrap();
        let expected = if as_root { (Some(false), Some(0)) } else { (Some(true), Some(65532)) };
        assert_eq!((user.run_as_non_root, user.run_as_user), expected, "{case}");
        assert_eq!((user.run_as_group, user.fs_group), (Some(65532), Some(65532)), "{case}");
        let container = &pod.containers[0];
        let rights = container.security_context.clone().unwrap();
        assert_eq!(rights.allow_privilege_escalation, Some(false), "{case}");
        let capabilities = rights.capabilities.unwrap();
        let added = as_root.then(|| vec!["NET_BIND_SERVICE".to_owned(), "SETUID".to_owned()]);
        assert_eq!((capabilities.drop, capabilities.add), (Some(vec!["ALL".to_owned()]), added), "{case}");
        let gives_up_root = container.args.iter().flatten().any(|argument| argument == "--run-as=65532");
        assert_eq!(gives_up_root, as_root, "{case}");
    }
}

#[test]
fn the_deployment_of_a_region_is_as_committed() {
    let (region, objects) = built(WHOLE);
    golden("deployment.yaml", &yaml::text(&objects.deployment(&region, 1)));
}

#[test]
fn the_configuration_of_a_region_is_as_committed() {
    let (_, objects) = built(WHOLE);
    golden("turn-configmap.yaml", &yaml::text(&objects.turn));
    golden("limits-configmap.yaml", &yaml::text(&objects.limits));
    golden("machines-configmap.yaml", &yaml::text(&objects.machines));
    golden("budget.yaml", &yaml::text(&objects.budget));
}

#[test]
fn the_revision_changes_with_what_nodes_run_and_with_nothing_else() {
    let revision = |spec: &str| built(spec).1.revision;
    let plain = revision("{}");
    for (case, spec, same) in [
        ("the number of relays", "{scaling: {min: 5}}", true),
        (
            "how many may be exchanged at a time, and how long that may take",
            "{upgrade: {maxUnavailable: 3, drainDeadline: 2h}}",
            true,
        ),
        ("a default, written out", "{relay: {minPort: 49152}}", true),
        ("a listener", "{listeners: [{name: udp, protocol: UDP, port: 3479}]}", false),
        ("the default listeners, written out under other names and in another order", DEFAULT_LISTENERS, true),
        ("a relayed port", "{relay: {maxPort: 65000}}", false),
        ("the realm", "{auth: {realm: turn.example.com, secretRef: {name: turn-auth}}}", false),
        ("the end of an eviction", "{upgrade: {evictionDeadline: 2m}}", false),
        ("a certificate, and with it a listener", "{tls: {secretName: turn-tls}}", false),
        ("a label of the pods", "{template: {labels: {a: b}}}", false),
        ("the Secret", "{auth: {realm: turn.example.org, secretRef: {name: other}}}", false),
    ] {
        assert_eq!(revision(spec) == plain, same, "{case}");
    }
    let [tls, other] = ["turn-tls", "other"].map(|name| revision(&format!("{{tls: {{secretName: {name}}}}}")));
    assert_ne!(tls, other, "the Secret of the certificate");
    let region = managed("{}");
    let newer = Objects::build(&region, &[], "rtc-fleet/media-node:2").revision;
    assert_ne!(newer, plain, "the image of the nodes");
    assert_eq!(Objects::build(&region, &[], IMAGE).revision, plain, "machines come and go without an exchange");
}

#[test]
fn what_may_change_while_nodes_run_changes_the_limits_and_neither_revision_nor_template() {
    let (region, plain) = built("{}");
    for (case, spec, same) in [
        ("a quota of users", "{quotas: {allocationsPerUser: 3}}", false),
        ("a quota of nodes", "{quotas: {allocationsPerNode: 300}}", false),
        ("a bandwidth", "{quotas: {bandwidthPerAllocation: 4M}}", false),
        ("a peer that is opened", "{relay: {allowPeers: [10.20.0.0/16]}}", false),
        ("a peer that is denied", "{relay: {denyPeers: [198.51.100.0/24]}}", false),
        ("the capacity", "{capacity: {nic: {tx: 10G}}}", false),
        (
            "how long credentials may be good",
            "{auth: {realm: turn.example.org, secretRef: {name: turn-auth}, maxTtl: 1h}}",
            false,
        ),
        ("a default, written out", "{quotas: {allocationsPerUser: 20}}", true),
        ("no capacity, written out", "{capacity: {nic: {}}}", true),
        ("what nodes are exchanged for", "{auth: {realm: turn.example.com, secretRef: {name: turn-auth}}}", true),
    ] {
        let (_, changed) = built(spec);
        assert_eq!(changed.limits == plain.limits, same, "{case}");
        assert_eq!(changed.limits_hash == plain.limits_hash, same, "{case}: the hash");
        assert_eq!(changed.limits.metadata, plain.limits.metadata, "{case}: pods that run mount it by its name");
        if !same {
            assert_eq!(changed.revision, plain.revision, "{case}");
            assert_eq!(changed.turn, plain.turn, "{case}");
            assert_eq!(changed.deployment(&region, 0), plain.deployment(&region, 0), "{case}");
        }
    }
}

#[test]
fn where_nodes_of_a_revision_are_open_can_be_read_back() {
    let (region, objects) = built("{tls: {secretName: turn-tls}}");
    let maps = [objects.machines.clone(), objects.turn.clone()];
    let found = listeners(&region.identity, &objects.revision, &maps);
    assert_eq!(found.as_deref(), Some(region.listeners.ports()));
    assert_eq!(listeners(&region.identity, "another", &maps), None);
}

#[test]
fn labels_of_the_user_do_not_displace_ours() {
    let (region, objects) = built(WHOLE);
    let spec = objects.deployment(&region, 4).spec.unwrap();
    let labels_of_pod = spec.template.metadata.clone().unwrap().labels.unwrap();
    assert_eq!((labels_of_pod[labels::SLOT].as_str(), labels_of_pod["team"].as_str()), ("4", "rtc"));
    for (key, value) in spec.selector.match_labels.unwrap() {
        assert_eq!(labels_of_pod.get(&key), Some(&value), "the selector must select its own pods");
    }
    assert_eq!(spec.template.metadata.unwrap().annotations.unwrap()[REVISION], objects.revision);
}

#[test]
fn slots_differ_in_name_and_slot_only() {
    let (region, objects) = built(WHOLE);
    let [first, second] = [0, 7].map(|slot| yaml::text(&objects.deployment(&region, slot)));
    let translated = first.replace("centralindia-0", "centralindia-7").replace("slot: '0'", "slot: '7'");
    assert_eq!(translated, second);
}
