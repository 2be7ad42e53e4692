//! The TurnRegions.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::wait;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};
use serde_json::{Value, json};

use crate::machines::LABEL;

/// Each has a Secret of its own, and as many regions as a team might have.
const REGIONS_A_NAMESPACE: u32 = 20;
/// Regions that take each other's load.
const REGIONS_A_GROUP: u32 = 4;
const AT_A_TIME: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub regions: u32,
    /// A region.
    pub relays: u32,
}

impl Size {
    pub fn machines(self) -> u32 {
        self.regions * self.relays
    }

    /// The region of the `number`-th machine.
    pub fn region_of(self, number: u32) -> String {
        format!("r{:03}", number / self.relays)
    }
}

/// Creates all at once, and gives how long it took until every relay of them served and every one was Ready.
pub async fn create(client: &Client, size: Size, limit: Duration) -> Result<Duration> {
    for number in 0..size.regions.div_ceil(REGIONS_A_NAMESPACE) {
        namespace(client, &format!("scale-{number}")).await?;
    }
    let began = Instant::now();
    stream::iter(0..size.regions)
        .map(Ok)
        .try_for_each_concurrent(AT_A_TIME, async |number| {
            let namespace = format!("scale-{}", number / REGIONS_A_NAMESPACE);
            let region: TurnRegion = serde_json::from_value(region(number, size))?;
            Api::namespaced(client.clone(), &namespace).create(&PostParams::default(), &region).await?;
            anyhow::Ok(())
        })
        .await?;
    let mut told = Instant::now();
    wait::until("every relay serves", limit, async || {
        let (ready, serving) = progress(client, size).await?;
        if told.elapsed() > Duration::from_secs(30) {
            eprintln!("  {serving} relays serve, {ready} TurnRegions have all of theirs");
            told = Instant::now();
        }
        if ready < size.regions as usize {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        ensure!(ready == size.regions as usize, "{serving} relays serve, {ready} TurnRegions have all of theirs");
        Ok(())
    })
    .await?;
    Ok(began.elapsed())
}

/// TurnRegions that are Ready and have all of their relays, and relays that serve.
pub async fn progress(client: &Client, size: Size) -> Result<(usize, i64)> {
    let all = Api::<TurnRegion>::all(client.clone()).list(&ListParams::default()).await?.items;
    let status = all.iter().filter_map(|region| region.status.as_ref());
    let serving = status.clone().map(|status| i64::from(status.ready_replicas)).sum();
    let relays = i32::try_from(size.relays)?;
    let ready =
        status.filter(|status| status.ready_replicas == relays && status.conditions.is_true(condition::READY)).count();
    Ok((ready, serving))
}

async fn namespace(client: &Client, name: &str) -> Result<()> {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {
        "name": name, "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
    }}))?;
    let context = || format!("namespace {name}: from an earlier run? make down removes it with its cluster");
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.with_context(context)?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "turn-auth"}, "stringData": {"current": "of relays that nobody calls"},
    }))?;
    Api::namespaced(client.clone(), name).create(&PostParams::default(), &secret).await?;
    Ok(())
}

fn region(number: u32, size: Size) -> Value {
    let region = size.region_of(number * size.relays);
    json!({
        "apiVersion": "rtcfleet.dev/v1alpha1",
        "kind": "TurnRegion",
        "metadata": {"name": region},
        "spec": {
            "region": region,
            "failoverGroup": format!("group-{}", number / REGIONS_A_GROUP),
            "placement": {"tolerations": [{"key": LABEL, "operator": "Exists"}]},
            "listeners": [{"name": "udp", "protocol": "UDP", "port": 3478}],
            "addresses": {"from": "NodeInternalIP"},
            "auth": {"realm": "turn.example.org", "secretRef": {"name": "turn-auth"}},
            "scaling": {"min": size.relays},
        },
    })
}
