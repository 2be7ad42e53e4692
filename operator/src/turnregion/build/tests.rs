use super::*;
use crate::turnregion::observed::REVISION;
use crate::turnregion::test_support::managed;

const IMAGE: &str = "rtc-fleet/media-node:1";

fn built(spec: &str) -> (ManagedRegion, Objects) {
    let region = managed(spec);
    let machine = |name: &str, address: &str, public: Option<&str>| Machine {
        name: name.into(),
        usable: true,
        addresses: vec![address.parse().unwrap()],
        public: public.map(|text| text.parse().unwrap()).into_iter().collect(),
    };
    let nameless = Machine { addresses: Vec::new(), ..machine("m0", "10.0.0.9", None) };
    let machines = [machine("m2", "10.0.0.2", Some("203.0.113.2")), machine("m1", "10.0.0.1", None), nameless];
    let objects = Objects::build(&region, &machines, IMAGE);
    (region, objects)
}

fn yaml(object: &impl serde::Serialize) -> String {
    serde_yaml::to_string(object).unwrap()
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

const WHOLE: &str = "{listeners: [{name: udp, protocol: UDP, port: 3478}, {name: alt, protocol: UDP, port: 5349}], \
     relay: {minPort: 50000, maxPort: 59999, allowPeers: [10.200.0.0/24], denyPeers: [198.51.100.0/24]}, \
     quotas: {allocationsPerUser: 7, allocationsPerNode: 900}, upgrade: {maxUnavailable: 2, drainDeadline: 10m, evictionDeadline: 2m}, \
     placement: {nodeSelector: {pool: media}, priorityClassName: media}, \
     template: {labels: {team: rtc, rtcfleet.dev/slot: mine}, annotations: {note: x}, resources: {limits: {memory: 1Gi}}, imagePullSecrets: [registry]}}";

#[test]
fn the_deployment_of_a_region_is_as_committed() {
    let (region, objects) = built(WHOLE);
    golden("deployment.yaml", &yaml(&objects.deployment(&region, 1)));
}

#[test]
fn the_configuration_of_a_region_is_as_committed() {
    let (_, objects) = built(WHOLE);
    golden("turn-configmap.yaml", &yaml(&objects.turn));
    golden("machines-configmap.yaml", &yaml(&objects.machines));
    golden("budget.yaml", &yaml(&objects.budget));
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
        ("a quota", "{quotas: {allocationsPerUser: 3}}", false),
        ("a listener", "{listeners: [{name: udp, protocol: UDP, port: 3479}]}", false),
        ("a label of the pods", "{template: {labels: {a: b}}}", false),
        ("the Secret", "{auth: {realm: turn.example.org, secretRef: {name: other}}}", false),
    ] {
        assert_eq!(revision(spec) == plain, same, "{case}");
    }
    let region = managed("{}");
    let newer = Objects::build(&region, &[], "rtc-fleet/media-node:2").revision;
    assert_ne!(newer, plain, "the image of the nodes");
    assert_eq!(Objects::build(&region, &[], IMAGE).revision, plain, "machines come and go without an exchange");
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
    let [first, second] = [0, 7].map(|slot| yaml(&objects.deployment(&region, slot)));
    let translated = first.replace("centralindia-0", "centralindia-7").replace("slot: '0'", "slot: '7'");
    assert_eq!(translated, second);
}
