//! What a user reads who wrote something wrong, and that nobody else suffers for it.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    checks::Checks,
    command::kubectl,
    operator,
    scenario::{self, Scenario},
    schema, wait,
};
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use rtcfleet_crds::condition;

/// A region of no machine: the mistakes are about words.
const NOWHERE: &str = "nowhere";
const SOON: Duration = Duration::from_secs(20);

/// A mistake: its name, whether only an older schema lets it in, what is laid over a good spec, and what the user reads.
type Mistake = (&'static str, Schema, &'static str, &'static str);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Schema {
    Present,
    Older,
}

use Schema::{Older, Present};

/// Every mistake that the operator finds. Left out are `Incomplete`, because the API server writes what it asks for, and
/// `TooManyParts`, because this cluster's networks are private.
const MISTAKES: [Mistake; 22] = [
    (
        "admin-port",
        Present,
        "{listeners: [{name: udp, protocol: UDP, port: 3478}, {name: tcp, protocol: TCP, port: 9443}]}",
        "spec.listeners[tcp].port: 9443 is the relay's own admin port: choose another",
    ),
    (
        "metrics-port",
        Present,
        "{listeners: [{name: udp, protocol: UDP, port: 3478}, {name: tls, protocol: TLS, port: 9090}], tls: {secretName: turn-tls}}",
        "spec.listeners[tls].port: 9090 is the relay's own metrics port: choose another",
    ),
    (
        "default-in-range",
        Present,
        "{listeners: null, relay: {minPort: 3000, maxPort: 4000}}",
        "spec.relay: 3000 to 4000 holds port 3478 of listener udp: move the range, such as 49152 to 65535, or give the listener another port; spec.relay: 3000 to 4000 holds port 3478 of listener tcp: move the range, such as 49152 to 65535, or give the listener another port",
    ),
    (
        "no-bandwidth",
        Present,
        "{quotas: {bandwidthPerAllocation: 0k}}",
        "spec.quotas.bandwidthPerAllocation: \"0k\" is no number above 0: write digits with k, M, G, T or nothing after them, such as 4M",
    ),
    (
        "few-ports",
        Present,
        "{relay: {minPort: 50000, maxPort: 50009}, quotas: {allocationsPerNode: 11}}",
        "spec.relay: 10 ports for spec.quotas.allocationsPerNode 11: widen minPort to maxPort to at least 11 ports, or lower the quota",
    ),
    (
        "greedy-user",
        Present,
        "{quotas: {allocationsPerUser: 30, allocationsPerNode: 20}}",
        "spec.quotas.allocationsPerUser: 30 is more than allocationsPerNode 20: lower it to at most 20, or raise allocationsPerNode",
    ),
    (
        "own-port",
        Present,
        "{relay: {minPort: 9000, maxPort: 9400}}",
        "spec.relay: 9000 to 9400 holds the relay's own metrics port 9090: move the range, such as 49152 to 65535",
    ),
    (
        "two-addresses",
        Present,
        "{addresses: {from: Static, machines: [{name: m1, addresses: [192.0.2.1, 192.0.2.2]}]}}",
        "spec.addresses.machines[m1]: two IPv4 addresses: write at most one a family",
    ),
    (
        "two-mistakes",
        Present,
        "{listeners: [{name: tcp, protocol: TCP, port: 9443}], relay: {minPort: 50000, maxPort: 50009}, quotas: {allocationsPerNode: 11}}",
        "spec.listeners[tcp].port: 9443 is the relay's own admin port: choose another; spec.relay: 10 ports for spec.quotas.allocationsPerNode 11: widen minPort to maxPort to at least 11 ports, or lower the quota",
    ),
    (
        "no-certificate",
        Older,
        "{listeners: [{name: tls, protocol: TLS, port: 443}]}",
        "spec.tls: missing, and listener tls needs a certificate: write {secretName: turn-tls}, naming a kubernetes.io/tls Secret",
    ),
    (
        "port-twice",
        Older,
        "{listeners: [{name: tcp, protocol: TCP, port: 443}, {name: tls, protocol: TLS, port: 443}], tls: {secretName: turn-tls}}",
        "spec.listeners[tls].port: 443 is the port of listener tcp: choose another (TCP and TLS share one port space)",
    ),
    (
        "no-port",
        Older,
        "{listeners: [{name: udp, protocol: UDP, port: 0}]}",
        "spec.listeners[udp].port: 0 is not a port: write 1 to 65535, such as 3478",
    ),
    (
        "no-listener",
        Older,
        "{listeners: []}",
        "spec.listeners: the list is empty: write {name: udp, protocol: UDP, port: 3478}, or leave listeners out for UDP and TCP 3478",
    ),
    (
        "no-range",
        Older,
        "{relay: {minPort: 60000, maxPort: 50000}}",
        "spec.relay: 60000 to 50000 is no range of ports: write 1024 <= minPort <= maxPort <= 65535, such as 49152 and 65535",
    ),
    (
        "no-network",
        Older,
        "{relay: {allowPeers: [10.20.0.0]}}",
        "spec.relay.allowPeers: \"10.20.0.0\" is no network: write address/prefix length, such as 10.20.0.0/16 or 2001:db8::/32",
    ),
    (
        "no-auth",
        Older,
        "{auth: null}",
        "spec.auth: missing: write {realm: turn.example.org, secretRef: {name: turn-auth}}",
    ),
    (
        "no-address",
        Older,
        "{addresses: {from: Static, machines: [{name: m1, addresses: [turn.example.org]}]}}",
        "spec.addresses.machines[m1]: \"turn.example.org\" is not an IP address: write one such as 203.0.113.7 or 2001:db8::7",
    ),
    (
        "no-duration",
        Older,
        "{upgrade: {drainDeadline: 1.5h}}",
        "spec.upgrade.drainDeadline: \"1.5h\" is not a duration: write hours, minutes and seconds, such as 45s, 10m or 1h30m",
    ),
    ("many-replicas", Older, "{replicas: 501}", "spec.replicas: 501 is out of range: write 0 to 500"),
    ("no-minimum", Older, "{scaling: {min: 0}}", "spec.scaling.min: 0 is out of range: write 1 to 500"),
    (
        "all-unavailable",
        Older,
        "{upgrade: {maxUnavailable: 101}}",
        "spec.upgrade.maxUnavailable: 101 is out of range: write 1 to 100",
    ),
    (
        "no-quota",
        Older,
        "{quotas: {allocationsPerUser: 0}}",
        "spec.quotas.allocationsPerUser: 0 is out of range: write 1 to 100000",
    ),
];

/// What only an older schema lets in and no program of today can read.
const MALFORMED: &str = "{listeners: all of them}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_is_told_with_its_remedy_and_a_malformed_object_stops_no_other() -> Result<()> {
    scenario::with("mistakes", async |scenario| {
        let mut checks = Checks::default();
        for mistake in MISTAKES.iter().filter(|mistake| mistake.1 == Present) {
            store(&scenario, mistake.0, mistake.2).await?;
        }
        schema::without(&scenario.client, &scenario.namespace, async || {
            store(&scenario, "malformed", MALFORMED).await?;
            for mistake in MISTAKES.iter().filter(|mistake| mistake.1 == Older) {
                store(&scenario, mistake.0, mistake.2).await?;
            }
            Ok(())
        })
        .await?;
        for (name, _, _, message) in MISTAKES {
            checks.check(&format!("{name} is told"), is_told(&scenario, name, message)).await;
        }
        checks.check("a malformed object is told in an Event", malformed_is_told(&scenario)).await;
        checks.check("a new leader serves others beside it", others_are_served(&scenario)).await;
        checks.check("a corrected object is no longer stalled", corrected(&scenario)).await;
        checks.verdict()
    })
    .await
}

async fn store(scenario: &Scenario, name: &str, more: &str) -> Result<()> {
    let region = serde_json::from_value(scenario::region(name, NOWHERE, more)?)?;
    let regions = schema::untyped(&scenario.client, &scenario.namespace);
    regions.create(&PostParams::default(), &region).await.with_context(|| format!("{name} is not stored"))?;
    Ok(())
}

/// In the conditions, as kubectl prints them, and in an Event.
async fn is_told(scenario: &Scenario, name: &str, message: &str) -> Result<()> {
    wait::until("the mistake is told", SOON, async || {
        for (kind, status) in [(condition::STALLED, "True"), (condition::READY, "False")] {
            let of_kind = format!("{{range .status.conditions[?(@.type==\"{kind}\")]}}{{.status}} {{.message}}{{end}}");
            let path = format!("jsonpath={of_kind}");
            let told = kubectl(&["-n", &scenario.namespace, "get", "tr", name, "-o", &path], "").await?;
            ensure!(told.stdout == format!("{status} {message}"), "{kind} says {:?}", told.stdout);
        }
        Ok(())
    })
    .await?;
    wait::until("an Event tells it", SOON, async || {
        let told = warnings(scenario, name).await?;
        ensure!(told.contains(&("InvalidSpec".to_owned(), message.to_owned())), "{told:?}");
        Ok(())
    })
    .await
}

/// Reasons and messages of the warnings about a region.
async fn warnings(scenario: &Scenario, name: &str) -> Result<BTreeSet<(String, String)>> {
    let about = ListParams::default().fields(&format!("involvedObject.name={name},type=Warning"));
    let events = Api::<Event>::namespaced(scenario.client.clone(), &scenario.namespace).list(&about).await?;
    Ok(events.into_iter().map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default())).collect())
}

async fn malformed_is_told(scenario: &Scenario) -> Result<()> {
    wait::until("an Event about the malformed object", SOON, async || {
        let told = warnings(scenario, "malformed").await?;
        let helps = |message: &str| {
            message.contains("all of them") && message.ends_with("correct the field and apply the object again")
        };
        ensure!(told.iter().any(|(reason, message)| reason == "Malformed" && helps(message)), "{told:?}");
        Ok(())
    })
    .await
}

/// The hard way: a process that has never seen the cluster without the malformed object.
async fn others_are_served(scenario: &Scenario) -> Result<()> {
    let before = operator::kill_leader(&scenario.client).await?;
    operator::another_leads(&scenario.client, &before, Duration::from_mins(1)).await?;
    scenario.serving("southindia", "{replicas: 1}").await?;
    Ok(())
}

async fn corrected(scenario: &Scenario) -> Result<()> {
    let (name, ..) = MISTAKES[0];
    let right = r#"{"spec": {"replicas": 0, "listeners": [{"name": "udp", "protocol": "UDP", "port": 3478}]}}"#;
    let arguments = ["-n", &scenario.namespace, "patch", "tr", name, "--type=merge", "-p", right];
    let patched = kubectl(&arguments, "").await?;
    ensure!(patched.succeeded(), "{}", patched.stderr);
    let region = wait::ready(&scenario.regions(), name, SOON).await?;
    let conditions = wait::conditions(&region);
    ensure!(conditions.iter().all(|one| one.type_ != condition::STALLED), "{conditions:?}");
    Ok(())
}
