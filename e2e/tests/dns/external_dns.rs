//! A name that external-dns publishes: the real one, with a real name server behind it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    command::kubectl,
    cut::Cut,
    dns::{self, Answer, DnsServers},
    external_dns::{self, ExternalDns},
    monotonic::Moment,
    scenario::{self, HOST, Scenario},
    tell, wait,
};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::name::{FLIPS_WITHIN, NAME, Name};

const TOLD_WITHIN: Duration = Duration::from_secs(30);
const BACK_WITHIN: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_dns_tells_what_the_operator_decides() -> Result<()> {
    scenario::with("dns-external", async |scenario| {
        external_dns::with_kind(async || dns::with(async |servers| published(&scenario, servers).await).await).await
    })
    .await
}

async fn published(scenario: &Scenario, servers: &mut DnsServers) -> Result<()> {
    let external = ExternalDns::start(&scenario.namespace, servers)?;
    let spec = json!({
        "provider": {"externalDns": {"labels": {"publish": "yes"}}},
        "safety": {"holdDown": "1s", "maxHoldDown": "1s"},
        "failback": {"steps": [100]},
    });
    let outcome = async {
        let name = Name::made(scenario, servers, spec).await?;
        let outcome = Box::pin(followed(&name)).await;
        if outcome.is_err() {
            eprintln!("{}\n{}", name.told().await, name.watcher.history());
        }
        let ended = name.watcher.end().await;
        outcome.and(ended.map(drop))
    }
    .await;
    if outcome.is_err() {
        eprintln!("{}", external.log());
    }
    let ended = external.ends().await;
    outcome.and(ended)
}

async fn followed(name: &Name<'_>) -> Result<()> {
    let began = Moment::now()?;
    name.tells_all(began, TOLD_WITHIN).await?;
    let told = Moment::now()?;
    let written = endpoint(name.scenario, HOST).await?;
    ensure!(written["metadata"]["labels"]["publish"] == "yes", "{written:#}");
    ensure!(written["metadata"]["ownerReferences"][0]["name"] == NAME, "{written:#}");

    let region = name.without_the_leader().await?;
    let at = Moment::now()?;
    let cut = Cut::region(region).await?;
    let took = name.tells_only(at, &[Name::other(region)], FLIPS_WITHIN).await?;
    tell(&format!("by way of external-dns: every server answers without a region {took:?} after it is cut off"))?;
    cut.comes_back().await?;
    name.is_back(BACK_WITHIN).await?;
    never_empty_since(name, told)?;

    weighted(name).await?;

    name.names().delete(NAME, &DeleteParams::default()).await?;
    wait::until("the DNSEndpoint goes with its name", TOLD_WITHIN, async || {
        ensure!(endpoint(name.scenario, HOST).await.is_err(), "it is still there");
        Ok(())
    })
    .await
}

/// Before that the name was not there yet.
fn never_empty_since(name: &Name<'_>, at: Moment) -> Result<()> {
    let history = name.watcher.history();
    for server in name.servers.both() {
        let empty = |answer: &Answer| matches!(answer, Answer::Empty | Answer::NoSuchName);
        let first = history.of(server).find(|seen| seen.at > at && empty(&seen.answer));
        ensure!(first.is_none(), "{server} told a caller that there is nobody:\n{history}");
    }
    Ok(())
}

/// Name servers that take updates know no weights, so this is looked at where the published schema has let it in.
async fn weighted(name: &Name<'_>) -> Result<()> {
    let patch = json!({"spec": {"provider": {"externalDns": {"routing": "Weighted"}}}});
    name.change(patch).await?;
    wait::until("each region has a set of its own, with its weight", TOLD_WITHIN, async || {
        let object = endpoint(name.scenario, HOST).await?;
        let sets = object["spec"]["endpoints"].as_array().context("endpoints")?;
        let of = |one: &Value| {
            let weight = &one["providerSpecific"][0];
            (one["setIdentifier"].clone(), weight["name"].clone(), weight["value"].clone())
        };
        let ipv4: Vec<_> = sets.iter().filter(|one| one["recordType"] == "A").map(of).collect();
        let expected = crate::name::REGIONS.map(|region| (json!(region), json!("aws/weight"), json!("50")));
        ensure!(ipv4 == expected, "{object:#}");
        Ok(())
    })
    .await
}

async fn endpoint(scenario: &Scenario, name: &str) -> Result<Value> {
    let found = kubectl(&["-n", &scenario.namespace, "get", "dnsendpoint", name, "-o", "json"], "").await?;
    ensure!(found.succeeded(), "{}", found.stderr);
    Ok(serde_json::from_str(&found.stdout)?)
}
