//! One accepted and one refused object for every rule, with the words that a user reads.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use e2e::namespace;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use rtcfleet_crds::TurnRegion;
use serde_json::{Value, json};

use crate::dns_failover;

/// A rule in words; what the spec says besides region and auth, accepted and refused; part of the refusal's message.
type Rule = (&'static str, &'static str, &'static str, &'static str);

/// The rules across fields, in CEL. The message is asserted as a whole.
const CEL: [Rule; 20] = [
    (
        "either rtc-fleet or somebody else decides the number of relays",
        "{scaling: {min: 2}}",
        "{replicas: 3, scaling: {min: 2}}",
        "replicas and scaling exclude each other: write scaling to let rtc-fleet decide, or remove it and write replicas to let kubectl scale, an HPA or KEDA decide",
    ),
    (
        "a TLS listener has a certificate",
        "{listeners: [{name: tls, protocol: TLS, port: 443}], tls: {secretName: turn-tls}}",
        "{listeners: [{name: tls, protocol: TLS, port: 443}]}",
        "a TLS listener needs a certificate: write tls: {secretName: NAME}, naming a kubernetes.io/tls Secret",
    ),
    (
        "a listener stays out of the relayed ports, the default ones too",
        "{listeners: [{name: udp, protocol: UDP, port: 50000}], relay: {minPort: 50001}}",
        "{listeners: [{name: udp, protocol: UDP, port: 50000}]}",
        "a listener's port lies inside relay.minPort to relay.maxPort (49152 to 65535 unless written): choose another port, or move the relay range",
    ),
    (
        "endpoints belong to mode External, and only to it",
        "{mode: External, endpoints: [{host: turn.example.org, protocol: UDP, port: 3478}]}",
        "{endpoints: [{host: turn.example.org, protocol: UDP, port: 3478}]}",
        "mode: External needs endpoints, and only External has them: write both or neither",
    ),
    (
        "relays that we run have credentials",
        "{mode: External, endpoints: [{host: turn.example.org, protocol: UDP, port: 3478}], auth: null}",
        "{auth: null}",
        "auth is missing: write auth: {realm: turn.example.org, secretRef: {name: turn-auth}}; a relay without credentials serves anybody",
    ),
    (
        "listeners share no port, where TCP and TLS have one port space",
        "{listeners: [{name: udp, protocol: UDP, port: 3478}, {name: tcp, protocol: TCP, port: 3478}]}",
        "{listeners: [{name: tcp, protocol: TCP, port: 443}, {name: tls, protocol: TLS, port: 443}], tls: {secretName: turn-tls}}",
        "two listeners have the same port: give each its own (TCP and TLS share one port space; one TLS listener on 443 also takes plain TURN over TCP)",
    ),
    (
        "the relayed ports are a range, with the default of the end that is left out",
        "{relay: {minPort: 65535}}",
        "{relay: {maxPort: 49151}}",
        "relay.minPort lies above relay.maxPort: write the lower one first, such as minPort: 49152 and maxPort: 65535",
    ),
    (
        "opened networks are CIDRs of either family",
        "{relay: {allowPeers: [10.20.0.0/16, 'fd00:200::/64']}}",
        "{relay: {allowPeers: [10.20.0.0]}}",
        "allowPeers: write networks as address/prefix length, such as 10.20.0.0/16 or 2001:db8::/32",
    ),
    (
        "denied networks are CIDRs of either family",
        "{relay: {denyPeers: [198.51.100.0/24, '2001:db8::/32']}}",
        "{relay: {denyPeers: [198.51.100.0/33]}}",
        "denyPeers: write networks as address/prefix length, such as 198.51.100.0/24 or 2001:db8::/32",
    ),
    (
        "an annotation is named when addresses come from it, and only then",
        "{addresses: {from: NodeAnnotation, annotation: example.org/public-ip}}",
        "{addresses: {from: NodeInternalIP, annotation: example.org/public-ip}}",
        "from: NodeAnnotation needs annotation, the name of an annotation that holds a machine's addresses separated by commas; the other sources have none",
    ),
    (
        "machines are listed when addresses are static, and only then",
        "{addresses: {from: Static, machines: [{name: a, addresses: [203.0.113.7]}]}}",
        "{addresses: {from: Static}}",
        "from: Static needs machines, a list of {name, addresses}; the other sources have none",
    ),
    (
        "a machine's addresses are IP addresses",
        "{addresses: {from: Static, machines: [{name: a, addresses: [203.0.113.7, '2001:db8::7']}]}}",
        "{addresses: {from: Static, machines: [{name: a, addresses: [turn.example.org]}]}}",
        "addresses: write IP addresses, such as 203.0.113.7 or 2001:db8::7",
    ),
    (
        "credentials expire within a minute to thirty days",
        "{auth: {realm: turn.example.org, secretRef: {name: turn-auth}, maxTtl: 720h}}",
        "{auth: {realm: turn.example.org, secretRef: {name: turn-auth}, maxTtl: 59s}}",
        "auth.maxTtl: write 1m to 720h, such as 24h",
    ),
    (
        "current and previous secret have two keys",
        "{auth: {realm: turn.example.org, secretRef: {name: turn-auth, keys: [new, old]}}}",
        "{auth: {realm: turn.example.org, secretRef: {name: turn-auth, keys: [new, new]}}}",
        "auth.secretRef.keys: the two keys are the same: write the current one, then the previous one",
    ),
    (
        "the least number of relays is not above the greatest",
        "{scaling: {min: 2, max: 2}}",
        "{scaling: {min: 3, max: 2}}",
        "scaling.min lies above scaling.max: write min <= max, such as min: 2 and max: 20",
    ),
    (
        "scaling down looks back a day at most",
        "{scaling: {min: 2, scaleDown: {stabilization: 24h}}}",
        "{scaling: {min: 2, scaleDown: {stabilization: 24h1s}}}",
        "scaling.scaleDown.stabilization: write at most 24h, such as 5m",
    ),
    (
        "a relay that is too many drains for a day at most",
        "{scaling: {min: 2, scaleDown: {drainDeadline: 1h30m}}}",
        "{scaling: {min: 2, scaleDown: {drainDeadline: 25h}}}",
        "scaling.scaleDown.drainDeadline: write at most 24h, such as 1h",
    ),
    (
        "a relay that is exchanged drains for a day at most",
        "{upgrade: {drainDeadline: 24h}}",
        "{upgrade: {drainDeadline: 1441m}}",
        "upgrade.drainDeadline: write at most 24h, such as 1h",
    ),
    (
        "a relay that is evicted drains for a day at most",
        "{upgrade: {evictionDeadline: 10m}}",
        "{upgrade: {evictionDeadline: 25h}}",
        "upgrade.evictionDeadline: write at most 24h, such as 10m",
    ),
    (
        "a new relay has time to prove itself",
        "{upgrade: {progressDeadline: 30s}}",
        "{upgrade: {progressDeadline: 29s}}",
        "upgrade.progressDeadline: write 30s to 24h, such as 10m",
    ),
];

/// Messages of [`CEL`]'s kind that have tests of their own below.
const REGION: &str = "region cannot change: create another TurnRegion for the other region, then delete this one";
const NAME: &str = "metadata.name: write at most 40 lower-case letters, digits and hyphens, beginning with a letter: node names are made from it";

/// The rules of one field. The message is the API server's own.
const SCHEMA: [Rule; 24] = [
    (
        "a region is a label's value",
        "{region: eu-west-1}",
        "{region: Central India}",
        "spec.region in body should match",
    ),
    ("a region is named", "{}", "{region: null}", "spec.region: Required value"),
    ("a mode is Managed or External", "{mode: Managed}", "{mode: Mixed}", r#"supported values: "Managed", "External""#),
    (
        "a failover group is a label's value",
        "{failoverGroup: india}",
        "{failoverGroup: In dia}",
        "spec.failoverGroup in body should match",
    ),
    (
        "a port is a port",
        "{listeners: [{name: udp, protocol: UDP, port: 1}]}",
        "{listeners: [{name: udp, protocol: UDP, port: 0}]}",
        "spec.listeners[0].port in body should be greater than or equal to 1",
    ),
    (
        "a protocol is UDP, TCP or TLS",
        "{listeners: [{name: udp, protocol: UDP, port: 3478}]}",
        "{listeners: [{name: udp, protocol: udp, port: 3478}]}",
        r#"supported values: "UDP", "TCP", "TLS""#,
    ),
    (
        "a listener's name is a port's name",
        "{listeners: [{name: fifteen-letters, protocol: UDP, port: 3478}]}",
        "{listeners: [{name: sixteen-letters-, protocol: UDP, port: 3478}]}",
        "spec.listeners[0].name: Too long: may not be more than 15",
    ),
    (
        "listeners have different names",
        "{listeners: [{name: a, protocol: UDP, port: 3478}, {name: b, protocol: UDP, port: 3479}]}",
        "{listeners: [{name: a, protocol: UDP, port: 3478}, {name: a, protocol: UDP, port: 3479}]}",
        "spec.listeners[1]: Duplicate value",
    ),
    (
        "a list of listeners is not empty",
        "{}",
        "{listeners: []}",
        "spec.listeners in body should have at least 1 items",
    ),
    (
        "relayed ports are not privileged",
        "{relay: {minPort: 1024, maxPort: 2048}}",
        "{relay: {minPort: 1023, maxPort: 2048}}",
        "spec.relay.minPort in body should be greater than or equal to 1024",
    ),
    (
        "addresses come from a known source",
        "{addresses: {from: NodeExternalIP}}",
        "{addresses: {from: Cloud}}",
        r#"supported values: "NodeExternalIP", "NodeInternalIP", "NodeAnnotation", "Static""#,
    ),
    (
        "a machine has one address a family",
        "{addresses: {from: Static, machines: [{name: a, addresses: ['2001:db8::7']}]}}",
        "{addresses: {from: Static, machines: [{name: a, addresses: []}]}}",
        "spec.addresses.machines[0].addresses in body should have at least 1 items",
    ),
    (
        "a realm is a name",
        "{auth: {realm: Turn.example_1, secretRef: {name: turn-auth}}}",
        "{auth: {realm: 'turn example', secretRef: {name: turn-auth}}}",
        "spec.auth.realm in body should match",
    ),
    (
        "a secret is named",
        "{auth: {realm: turn.example.org, secretRef: {name: turn-auth}}}",
        "{auth: {realm: turn.example.org, secretRef: {}}}",
        "spec.auth.secretRef.name: Required value",
    ),
    (
        "a duration has units",
        "{upgrade: {drainDeadline: 1h30m}}",
        "{upgrade: {drainDeadline: '3600'}}",
        "spec.upgrade.drainDeadline in body should match",
    ),
    (
        "a user may have an allocation",
        "{quotas: {allocationsPerUser: 1}}",
        "{quotas: {allocationsPerUser: 0}}",
        "spec.quotas.allocationsPerUser in body should be greater than or equal to 1",
    ),
    (
        "a bandwidth is a number with a decimal suffix",
        "{quotas: {bandwidthPerAllocation: 1.5M}}",
        "{quotas: {bandwidthPerAllocation: 4 Mbit}}",
        "spec.quotas.bandwidthPerAllocation in body should match",
    ),
    (
        "the capacity of a network interface is a number with a decimal suffix",
        "{capacity: {nic: {tx: 10G, rx: 10G, packets: 1M}}}",
        "{capacity: {nic: {tx: 10Gi}}}",
        "spec.capacity.nic.tx in body should match",
    ),
    (
        "the number of relays has a bound",
        "{replicas: 500}",
        "{replicas: 501}",
        "spec.replicas in body should be less than or equal to 500",
    ),
    (
        "rtc-fleet keeps one relay at least",
        "{scaling: {min: 1}}",
        "{scaling: {min: 0}}",
        "spec.scaling.min in body should be greater than or equal to 1",
    ),
    (
        "a load that is aimed at leaves some room",
        "{scaling: {min: 2, target: {nicPercent: 95, cpuPercent: 10}}}",
        "{scaling: {min: 2, target: {nicPercent: 100}}}",
        "spec.scaling.target.nicPercent in body should be less than or equal to 95",
    ),
    (
        "headroom holds the present load at least",
        "{scaling: {min: 2, headroom: {percent: 100, surviveRegionLoss: false}}}",
        "{scaling: {min: 2, headroom: {percent: 65}}}",
        "spec.scaling.headroom.percent in body should be greater than or equal to 100",
    ),
    (
        "an exchange of relays makes progress",
        "{upgrade: {maxUnavailable: 1}}",
        "{upgrade: {maxUnavailable: 0}}",
        "spec.upgrade.maxUnavailable in body should be greater than or equal to 1",
    ),
    (
        "a price is a decimal number",
        "{cost: {perGiB: '7.30', currency: INR}}",
        "{cost: {perGiB: '7,30', currency: INR}}",
        "spec.cost.perGiB in body should match",
    ),
];

#[tokio::test]
async fn every_rule_accepts_and_refuses_with_its_message() -> Result<()> {
    namespace::with("rules", async |client, namespace| {
        let regions = regions(&client, namespace);
        for (rule, accepted, refused, message) in CEL.into_iter().chain(SCHEMA) {
            let kept = create(&regions, "a", accepted).await.with_context(|| format!("{rule}: {accepted}"))?;
            ensure!(kept.data["spec"] == without_nulls(spec(accepted)?), "{rule}: came back as {}", kept.data["spec"]);
            let said = refusal(&regions, "a", refused).await.with_context(|| rule)?;
            ensure!(said.contains(message), "{rule}: {refused}: the user reads\n  {said}\nand not\n  {message}");
        }
        Ok(())
    })
    .await
}

#[test]
fn every_cel_rule_has_a_case() {
    let all = CEL.iter().chain(&dns_failover::CEL).map(|(.., message)| *message);
    let cased: BTreeSet<&str> = all.chain([REGION, NAME, dns_failover::HOSTNAME, dns_failover::NAME]).collect();
    let mut written = BTreeSet::new();
    for definition in rtcfleet_crds::definition::all() {
        messages(&serde_json::to_value(definition).unwrap(), &mut written);
    }
    assert_eq!(written, cased.into_iter().map(str::to_owned).collect());
}

#[tokio::test]
async fn a_name_is_short_enough_to_make_node_names_from_it() -> Result<()> {
    namespace::with("names", async |client, namespace| {
        let regions = regions(&client, namespace);
        create(&regions, &"a".repeat(40), "{}").await?;
        for name in [&"a".repeat(41), "1st", "turn.example"] {
            let said = refusal(&regions, name, "{}").await?;
            ensure!(said.contains(NAME), "{name}: {said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_region_cannot_change_while_all_the_rest_can() -> Result<()> {
    namespace::with("change", async |client, namespace| {
        let regions = regions(&client, namespace);
        regions.create(&PostParams::default(), &object("a", "{replicas: 0}")?).await?;
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let rest = json!({"replicas": null, "scaling": {"min": 1}, "failoverGroup": "x", "auth": {"maxTtl": "2h"}});
        regions.patch("a", &dry, &Patch::Merge(json!({"spec": rest}))).await?;
        match regions.patch("a", &dry, &Patch::Merge(json!({"spec": {"region": "somewhere-else"}}))).await {
            Err(kube::Error::Api(status)) => ensure!(status.message.contains(REGION), "{}", status.message),
            other => bail!("{other:?}"),
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn null_is_the_same_as_left_out() -> Result<()> {
    namespace::with("null", async |client, namespace| {
        let regions = regions(&client, namespace);
        let nulls = "{mode: null, replicas: null, scaling: {min: 2, max: null, target: null}, tls: null, relay: {minPort: null}}";
        let kept = create(&regions, "a", nulls).await?;
        let expected = spec("{scaling: {min: 2}, relay: {}}")?;
        ensure!(kept.data["spec"] == expected, "came back as {}", kept.data["spec"]);
        Ok(())
    })
    .await
}

/// Untyped, so that what the types cannot say can be sent.
pub fn regions(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<TurnRegion>(&()))
}

/// A region that no machine stands in, with `besides` on top: a field of it replaces ours, null takes ours away.
pub fn spec(besides: &str) -> Result<Value> {
    let mut spec = json!({
        "region": "nowhere",
        "auth": {"realm": "turn.example.org", "secretRef": {"name": "turn-auth"}},
    });
    let besides: Value = serde_yaml::from_str(besides)?;
    for (field, value) in besides.as_object().context("a mapping")? {
        spec[field] = value.clone();
    }
    Ok(spec)
}

pub fn object(name: &str, besides: &str) -> Result<DynamicObject> {
    let object = DynamicObject::new(name, &ApiResource::erase::<TurnRegion>(&()));
    Ok(object.data(json!({"spec": spec(besides)?})))
}

/// What the API server would keep; it keeps nothing.
pub async fn create(regions: &Api<DynamicObject>, name: &str, besides: &str) -> Result<DynamicObject> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    Ok(regions.create(&dry, &object(name, besides)?).await?)
}

async fn refusal(regions: &Api<DynamicObject>, name: &str, besides: &str) -> Result<String> {
    match create(regions, name, besides).await {
        Ok(_) => bail!("{name} {besides}: accepted"),
        Err(error) => match error.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if status.code == 422 => Ok(status.message.clone()),
            _ => Err(error),
        },
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, field)| !field.is_null())
            .map(|(name, field)| (name, without_nulls(field)))
            .collect(),
        other => other,
    }
}

/// Every message of a CEL rule below `value`.
fn messages(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                found.insert(rule["message"].as_str().unwrap_or("a rule without message").to_owned());
            }
            fields.values().for_each(|field| messages(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| messages(item, found)),
        _ => {}
    }
}
