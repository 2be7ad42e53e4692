//! Deleting regions, alone and with their namespace, while callers use them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    checks::Checks,
    command::kubectl,
    namespace, processes,
    scenario::{self, Relay, Scenario},
    tell, wait,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use rtcfleet_crds::labels;

/// "Gone in <60 s."
const GONE_WITHIN: Duration = Duration::from_mins(1);
/// Kubernetes looks again at a namespace whose pods are ending after half of their longest grace period, 30 s, which is
/// what a namespace takes; after 60 s where they have just not ended then.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_region_and_a_deleted_namespace_leave_nothing_behind_though_callers_use_them() -> Result<()> {
    scenario::with("deletion", async |scenario| {
        let mut checks = Checks::default();
        scenario.create_secret().await?;
        for region in ["centralindia", "southindia"] {
            scenario.create_region(region, "{}").await?;
        }
        for region in ["centralindia", "southindia"] {
            scenario.ready(region).await?;
        }
        let (deleted, staying) = (scenario.relays("centralindia").await?, scenario.relays("southindia").await?);
        let _used = [scenario.stream(&deleted[0]).await?, scenario.stream(&deleted[1]).await?];
        let other = scenario.stream(&staying[0]).await?;

        checks.check("a region in use is gone in less than 60 s", region_goes(&scenario, &deleted)).await;
        checks.check("the other region's callers notice nothing", other.is_whole()).await;
        checks.check("the other region is still ready", still_ready(&scenario)).await;
        checks
            .check("a namespace in use is gone, its relays in less than 60 s", namespace_goes(&scenario, &staying))
            .await;
        checks.verdict()
    })
    .await
}

async fn region_goes(scenario: &Scenario, relays: &[Relay]) -> Result<()> {
    let end = Instant::now() + GONE_WITHIN;
    let arguments = ["-n", &scenario.namespace, "delete", "turnregion", "centralindia", "--wait=false"];
    let deleted = kubectl(&arguments, "").await?;
    ensure!(deleted.succeeded(), "{}", deleted.stderr);
    let left = format!("{}=centralindia", labels::TURN_REGION);
    let kinds = "turnregions,deployments,replicasets,pods,configmaps,secrets,poddisruptionbudgets";
    wait::until("nothing of the region is left", end.saturating_duration_since(Instant::now()), async || {
        let arguments = ["-n", &scenario.namespace, "get", kinds, "-l", &left, "-o", "name"];
        let told = kubectl(&arguments, "").await?;
        ensure!(told.succeeded() && told.stdout.is_empty(), "{}{}", told.stdout, told.stderr);
        ensure!(scenario.regions().get_opt("centralindia").await?.is_none(), "the region itself is there");
        no_process(relays)
    })
    .await?;
    let secret = scenario.secrets().get_opt(scenario::SECRET_NAME).await?;
    secret.context("the user's own Secret was deleted, too")?;
    Ok(())
}

async fn still_ready(scenario: &Scenario) -> Result<()> {
    let relays = scenario.relays("southindia").await?;
    ensure!(relays.len() == 2, "{relays:?}");
    wait::ready(&scenario.regions(), "southindia", Duration::from_secs(5)).await?;
    Ok(())
}

async fn namespace_goes(scenario: &Scenario, relays: &[Relay]) -> Result<()> {
    let began = Instant::now();
    namespace::delete(&scenario.client, &scenario.namespace).await?;
    wait::until("no process of a relay is left", GONE_WITHIN, async || no_process(relays)).await?;
    tell(&format!("relays of a namespace in use are gone after {:?}", began.elapsed()))?;
    wait::gone(&Api::<Namespace>::all(scenario.client.clone()), &scenario.namespace, LOOKED_AT_WITHIN).await?;
    tell(&format!("a namespace in use is gone after {:?}", began.elapsed()))
}

fn no_process(relays: &[Relay]) -> Result<()> {
    for relay in relays {
        let running = processes::of_pod(&relay.uid);
        ensure!(running.is_empty(), "{} still runs {running:?}", relay.pod);
    }
    Ok(())
}
