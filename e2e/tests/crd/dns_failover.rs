//! One accepted and one refused DnsFailover for every rule, with the words that a user reads.

use anyhow::{Context, Result, bail, ensure};
use e2e::namespace;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use rtcfleet_crds::DnsFailover;
use serde_json::{Value, json};

/// A rule in words; what the spec says besides hostname, group and provider, accepted and refused; the refusal's message.
type Rule = (&'static str, &'static str, &'static str, &'static str);

/// The rules across fields, in CEL. The message is asserted as a whole.
pub const CEL: [Rule; 16] = [
    (
        "regions are named by their group or one by one",
        "{failoverGroup: null, regions: [{name: a}]}",
        "{regions: [{name: a}]}",
        "write either failoverGroup, for all TurnRegions of a group, or regions, a list of {name}",
    ),
    (
        "an order has priorities",
        "{failoverGroup: null, policy: Priority, regions: [{name: a, priority: 1}, {name: b, priority: 2}]}",
        "{policy: Priority}",
        "policy: Priority needs regions of which each has a priority, and only Priority has them: write regions: [{name: centralindia, priority: 1}, {name: southindia, priority: 2}]",
    ),
    (
        "an order has no weights",
        "{failoverGroup: null, regions: [{name: a, weight: 70}, {name: b}]}",
        "{failoverGroup: null, policy: Priority, regions: [{name: a, priority: 1}, {name: b, weight: 2}]}",
        "with policy: Priority every region has a priority and none a weight: write {name, priority} for each",
    ),
    (
        "an override names regions of the list",
        "{failoverGroup: null, regions: [{name: a}], override: {regions: [a], reason: x, expiresAt: '2026-02-02T12:00:00Z'}}",
        "{failoverGroup: null, regions: [{name: a}], override: {regions: [b], reason: x, expiresAt: '2026-02-02T12:00:00Z'}}",
        "override names a region that regions does not list: write names from regions",
    ),
    (
        "the name lies in the zone",
        "{provider: {rfc2136: {servers: [ns.example.org], zone: example.org, tsig: {keyName: k, secretRef: {name: s}}}}}",
        "{provider: {rfc2136: {servers: [ns.example.org], zone: example.net, tsig: {keyName: k, secretRef: {name: s}}}}}",
        "hostname lies outside of provider.rfc2136.zone: write a zone that hostname ends in, such as zone: example.org for hostname: turn.example.org",
    ),
    ("a TTL is bounded", "{ttl: 5s}", "{ttl: 4s}", "ttl: write 5s to 1h, such as 30s"),
    (
        "probes have some time between them",
        "{health: {interval: 1s}}",
        "{health: {interval: 0s}}",
        "health.interval: write 250ms to 5m, such as 1s",
    ),
    (
        "a window is bounded",
        "{health: {window: 1h}}",
        "{health: {window: 2h}}",
        "health.window: write 1s to 1h, such as 10s",
    ),
    (
        "a hold-down is not longer than the longest, the default one too",
        "{safety: {holdDown: 2h, maxHoldDown: 3h}}",
        "{safety: {holdDown: 2h}}",
        "safety.holdDown lies above safety.maxHoldDown (1m and 1h unless written): write the shorter one first, such as holdDown: 1m and maxHoldDown: 1h",
    ),
    (
        "a hold-down ends within a day",
        "{safety: {holdDown: 24h, maxHoldDown: 24h}}",
        "{safety: {holdDown: 25h}}",
        "safety.holdDown: write at most 24h, such as 1m",
    ),
    (
        "the longest hold-down ends within a day",
        "{safety: {maxHoldDown: 24h}}",
        "{safety: {maxHoldDown: 25h}}",
        "safety.maxHoldDown: write 1s to 24h, such as 1h",
    ),
    (
        "steps rise to all callers",
        "{failback: {steps: [10, 100]}}",
        "{failback: {steps: [50, 10]}}",
        "failback.steps: write rising percents that end in 100, such as [5, 25, 50, 100]",
    ),
    (
        "a step ends within a day",
        "{failback: {stepDuration: 1s}}",
        "{failback: {stepDuration: 0s}}",
        "failback.stepDuration: write 1s to 24h, such as 5m",
    ),
    (
        "verdicts are read over HTTPS",
        "{vantagePoints: [{name: a, url: 'https://probe.example.org:9443'}]}",
        "{vantagePoints: [{name: a, url: 'http://probe.example.org'}]}",
        "vantagePoints: write url as https://HOST:PORT, such as https://probe.example.org:9443",
    ),
    (
        "one provider answers for the name",
        "{provider: {externalDns: {}}}",
        "{provider: {}}",
        "provider: write exactly one of rfc2136, externalDns and azureTrafficManager",
    ),
    (
        "two providers are one too many",
        "{provider: {externalDns: {labels: {a: b}}}}",
        "{provider: {externalDns: {}, rfc2136: {servers: [ns.example.org], tsig: {keyName: k, secretRef: {name: s}}}}}",
        "provider: write exactly one of rfc2136, externalDns and azureTrafficManager",
    ),
];

pub const HOSTNAME: &str = "hostname cannot change: create another DnsFailover for the other name, then delete this one when nobody asks for the old name";

pub const NAME: &str = "metadata.name: write at most 63 lower-case letters, digits and hyphens: it is the value of a label of what is made from it";

#[tokio::test]
async fn every_rule_of_a_dns_failover_accepts_and_refuses_with_its_message() -> Result<()> {
    namespace::with("dnsf", async |client, namespace| {
        let all = failovers(&client, namespace);
        for (rule, accepted, refused, message) in CEL {
            create(&all, accepted).await.with_context(|| format!("{rule}: {accepted}"))?;
            let said = match create(&all, refused).await {
                Ok(_) => bail!("{rule}: {refused}: accepted"),
                Err(kube::Error::Api(status)) if status.code == 422 => status.message.clone(),
                Err(error) => return Err(error.into()),
            };
            ensure!(said.contains(message), "{rule}: {refused}: the user reads\n  {said}\nand not\n  {message}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_hostname_cannot_change() -> Result<()> {
    namespace::with("dnsf-name", async |client, namespace| {
        let all = failovers(&client, namespace);
        all.create(&PostParams::default(), &object("{}")).await?;
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let other = Patch::Merge(json!({"spec": {"hostname": "other.example.org"}}));
        match all.patch("a", &dry, &other).await {
            Err(kube::Error::Api(status)) => ensure!(status.message.contains(HOSTNAME), "{}", status.message),
            found => bail!("{found:?}"),
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_name_is_short_enough_for_a_label() -> Result<()> {
    namespace::with("dnsf-label", async |client, namespace| {
        let all = failovers(&client, namespace);
        for (name, is_accepted) in [("a".repeat(63), true), ("a".repeat(64), false), ("a.b".to_owned(), false)] {
            let mut named = object("{}");
            named.metadata.name = Some(name.clone());
            match all.create(&dry(), &named).await {
                Ok(_) => ensure!(is_accepted, "{name}: accepted"),
                Err(kube::Error::Api(status)) => {
                    ensure!(!is_accepted && status.message.contains(NAME), "{}", status.message);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
    .await
}

fn failovers(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<DnsFailover>(&()))
}

fn object(besides: &str) -> DynamicObject {
    let mut spec = json!({
        "hostname": "turn.example.org", "failoverGroup": "india", "provider": {"externalDns": {}},
    });
    let besides: Value = serde_yaml::from_str(besides).unwrap_or_default();
    for (field, value) in besides.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    DynamicObject::new("a", &ApiResource::erase::<DnsFailover>(&())).data(json!({ "spec": spec }))
}

fn dry() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// What the API server would keep; it keeps nothing.
async fn create(all: &Api<DynamicObject>, besides: &str) -> kube::Result<DynamicObject> {
    all.create(&dry(), &object(besides)).await
}
