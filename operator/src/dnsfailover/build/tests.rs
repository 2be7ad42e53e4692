use std::net::IpAddr;

use k8s_openapi::api::core::v1::PodSpec;
use rtcfleet_crds::turn_region::Protocol;
use serde_json::{Value, json};

use super::*;
use crate::dnsfailover::test_support::managed;
use crate::failover::seen::{Node, NodeState, Seen};
use crate::listener::ListenerPort;
use crate::turnregion::validate::SecretKeys;

fn offer(name: &str, nodes: Vec<Node>) -> Arc<Offer> {
    Arc::new(Offer {
        uid: name.into(),
        failover_group: None,
        is_valid: true,
        seen: Seen {
            name: name.into(),
            transports: vec![Protocol::Udp, Protocol::Tls],
            nodes,
            capacity: None,
            load: None,
        },
        secret: SecretKeys { name: "turn-auth".into(), current: "current".into(), previous: Some("previous".into()) },
        certificate: Some("turn-tls".into()),
        region: format!("in-{name}"),
        tolerations: vec![Toleration { key: Some("media".into()), ..Toleration::default() }],
        image_pull_secrets: vec!["registry".into()],
    })
}

fn node(name: &str, addresses: &[&str], state: NodeState) -> Node {
    let listener = |(protocol, port)| ListenerPort { protocol, port };
    Node {
        name: name.into(),
        addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
        listeners: [(Protocol::Udp, 3478), (Protocol::Tls, 443)].map(listener).into(),
        state,
    }
}

fn built(offers: &[Arc<Offer>], families: &[&str], authorities: Option<&str>) -> Objects {
    let name = managed("{health: {interval: 250ms}}");
    let families: Vec<IpAddr> = families.iter().map(|one| one.parse().unwrap()).collect();
    let material = Material {
        offers,
        authorities,
        families: Families::of(&families),
        canaries: vec!["10.96.0.1:443".into()],
        image: "media-node:1",
        operator_namespace: "rtc-fleet-system",
    };
    Objects::build(&name, name.probers.as_ref().unwrap(), &probers(offers), &material)
}

fn config(objects: &Objects) -> Value {
    crate::yaml::parse(&objects.config.data.as_ref().unwrap()["probe.yaml"]).unwrap()
}

fn pod(objects: &Objects, prober: &str) -> PodSpec {
    let is_it = |one: &&Deployment| one.metadata.name.as_deref() == Some(&format!("india-probe-{prober}"));
    let found = objects.deployments.iter().find(is_it).unwrap();
    found.spec.clone().unwrap().template.spec.unwrap()
}

#[test]
fn there_is_a_prober_in_each_region_and_one_outside_of_them() {
    let objects = built(&[offer("central", vec![]), offer("south", vec![])], &["10.0.0.1"], None);
    let names: Vec<_> = objects.deployments.iter().map(|one| one.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["india-probe-central", "india-probe-operator", "india-probe-south"]);
    let central = pod(&objects, "central");
    assert_eq!(central.node_selector.unwrap()[labels::REGION], "in-central");
    assert_eq!(central.tolerations.unwrap().len(), 1);
    let outside = serde_json::to_value(pod(&objects, "operator").affinity).unwrap();
    let term = &outside["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["preference"];
    let expected = json!({"key": labels::REGION, "operator": "NotIn", "values": ["in-central", "in-south"]});
    assert_eq!(term["matchExpressions"][0], expected);
}

#[test]
fn without_a_region_there_is_nothing_to_probe() {
    assert_eq!(probers(&[]), []);
}

#[test]
fn every_relay_that_is_to_take_calls_is_probed_at_each_listener_in_the_families_that_probers_have() {
    let nodes = vec![
        node("central-1", &["192.0.2.2"], NodeState::NotReady),
        node("central-0", &["192.0.2.1", "2001:db8::1"], NodeState::Ready),
        node("central-2", &["192.0.2.3"], NodeState::Draining),
    ];
    let names = |families: &[&str]| {
        let config = config(&built(&[offer("central", nodes.clone())], families, None));
        config["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&["10.0.0.1"]), ["central-0/4/3478", "central-0/4/443", "central-1/4/3478", "central-1/4/443"]);
    assert_eq!(names(&["10.0.0.1", "fd00::1"]).len(), 6);
}

#[test]
fn a_relay_is_probed_where_it_is_open_at_what_its_region_wants_or_is_judged_by() {
    let targets = |wanted: &[Protocol], open: &[&[(Protocol, u16)]]| {
        let nodes = open.iter().enumerate().map(|(number, open)| {
            let listeners = open.iter().map(|(protocol, port)| ListenerPort { protocol: *protocol, port: *port });
            let plain = node(&format!("n{number}"), &["192.0.2.1"], NodeState::Ready);
            Node { listeners: listeners.collect(), ..plain }
        });
        let plain = Arc::unwrap_or_clone(offer("central", nodes.collect()));
        let wanting = Offer { seen: Seen { transports: wanted.to_vec(), ..plain.seen }, ..plain };
        let config = config(&built(&[Arc::new(wanting)], &["10.0.0.1"], None));
        let named = config["targets"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        named.collect::<Vec<_>>()
    };
    let (udp, tcp, tls) = ((Protocol::Udp, 3478), (Protocol::Tcp, 3478), (Protocol::Tls, 443));
    let moved = targets(&[Protocol::Udp], &[&[udp], &[(Protocol::Udp, 5000)]]);
    assert_eq!(moved, ["n0/4/3478", "n1/4/5000"]);
    let left = targets(&[Protocol::Udp], &[&[udp, tls], &[udp]]);
    assert_eq!(left, ["n0/4/3478", "n1/4/3478"], "TLS is on its way out");
    let other = targets(&[Protocol::Tls], &[&[udp, tcp], &[udp, tcp]]);
    assert_eq!(other.len(), 4, "no relay is exchanged yet: {other:?}");
}

#[test]
fn a_prober_is_told_what_callers_know() {
    let central = offer("central", vec![node("central-0", &["192.0.2.1"], NodeState::Ready)]);
    let objects = built(&[central], &["10.0.0.1"], Some("-----BEGIN"));
    let config = config(&objects);
    let tls = json!({
        "name": "central-0/4/443", "region": "central", "address": "192.0.2.1:443", "transport": "TLS",
        "serverName": "turn.example.org",
    });
    assert_eq!(config["targets"][1], tls);
    assert_eq!(config["interval"], "250ms");
    assert_eq!(config["canary"], json!(["tcp:10.96.0.1:443"]));
    let file = config["caFile"].as_str().unwrap();
    assert_eq!(objects.config.data.as_ref().unwrap()[file], "-----BEGIN");
    let other = built(&[offer("central", vec![])], &["10.0.0.1"], Some("-----BEGIN another"));
    assert_ne!(crate::yaml::parse::<Value>(other.probe_yaml()).unwrap()["caFile"], file, "others have another file");
    let files = json!(["/etc/rtc-fleet/auth/central/current", "/etc/rtc-fleet/auth/central/previous"]);
    assert_eq!(config["regions"]["central"]["auth"]["secretFiles"], files);
}

#[test]
fn relays_that_come_and_go_restart_no_prober() {
    let none = built(&[offer("central", vec![])], &["10.0.0.1"], None);
    let one = built(&[offer("central", vec![node("a", &["192.0.2.1"], NodeState::Ready)])], &["10.0.0.1"], Some("PEM"));
    assert_eq!(none.deployments, one.deployments);
    assert_ne!(none.config, one.config);
}

#[test]
fn a_prober_holds_its_secrets_and_nobody_elses_rights() {
    let objects = built(&[offer("central", vec![])], &["10.0.0.1"], None);
    let pod = pod(&objects, "central");
    assert_eq!(pod.automount_service_account_token, Some(false));
    let auth =
        pod.volumes.as_ref().unwrap().iter().find(|one| one.name == "auth-central").unwrap().secret.clone().unwrap();
    assert_eq!((auth.secret_name.as_deref(), auth.optional), (Some("turn-auth"), Some(true)));
    let security = serde_json::to_value(&pod.containers[0].security_context).unwrap();
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(security["readOnlyRootFilesystem"], true);
}
