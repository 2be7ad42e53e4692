//! Regions that fail in part: they answer, and callers cannot use them, or not well.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use e2e::{
    checks::Checks,
    faults::{BadNetwork, Blocked, RELAYED},
    monotonic::Moment,
    scenario::{PORT, SECRET},
    tell,
    turn::{Allocation, Credentials},
};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use rtcfleet_crds::labels;
use serde_json::{Value, json};

use crate::name::{self, FLIPS_WITHIN, Name, REGIONS};

/// The one that fails.
const REGION: &str = REGIONS[0];
const BACK_WITHIN: Duration = Duration::from_mins(3);
/// Kubelets bring what is in ConfigMaps and Secrets within 90 s.
const BROUGHT_WITHIN: Duration = Duration::from_mins(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_fails_in_part_leaves_the_answer() -> Result<()> {
    // Packets go by way of the prober, so that closed ports are seen.
    let spec = json!({
        "probers": {"echo": "Prober"},
        "safety": {"holdDown": "1s", "maxHoldDown": "1s"},
        "failback": {"steps": [100]},
    });
    name::with("dns-gray", spec, async |name| {
        let mut checks = Checks::default();
        let udp = behind_a_firewall(name, |node| Blocked::udp_listener(node, PORT));
        checks.check("UDP is blocked and TCP is not", udp).await;
        let relayed = behind_a_firewall(name, |node| Blocked::relayed(node, &RELAYED));
        checks.check("relayed ports are closed", relayed).await;
        let sent = behind_a_firewall(name, |node| Blocked::sent_from_relayed(node, &RELAYED));
        checks.check("what is relayed goes nowhere", sent).await;
        checks.check("40 % of the packets are lost", lossy(name)).await;
        checks.check("packets come 400 ms late", late(name)).await;
        checks.check("the quota refuses allocations", quota(name)).await;
        checks.check("the certificate has ended", certificate_ended(name)).await;
        checks.verdict()
    })
    .await
}

/// Until it is out of every answer, and what it was found to fail by.
async fn leaves(name: &Name<'_>, region: &str, at: Moment, within: Duration) -> Result<()> {
    let took = name.tells_only(at, &[Name::other(region)], within).await?;
    let region = name.region(region).await?;
    tell(&format!("out of every answer after {took:?}: {:?}, {:?}", region.health, region.failing_transports))
}

async fn machines(name: &Name<'_>) -> Result<Vec<String>> {
    let chosen = ListParams::default().labels(&format!("{}={REGION}", labels::REGION));
    let nodes = Api::<Node>::all(name.scenario.client.clone()).list(&chosen).await?;
    let found: Vec<String> = nodes.items.into_iter().filter_map(|node| node.metadata.name).collect();
    ensure!(found.len() == 2, "{found:?}");
    Ok(found)
}

/// In front of each machine of the region.
async fn behind_a_firewall(name: &Name<'_>, block: fn(&str) -> Result<Blocked>) -> Result<()> {
    let at = Moment::now()?;
    let nodes = machines(name).await?;
    let blocked: Vec<_> = nodes.iter().map(|node| block(node)).collect::<Result<_>>()?;
    leaves(name, REGION, at, FLIPS_WITHIN).await?;
    blocked.into_iter().try_for_each(Blocked::ends)?;
    name.is_back(BACK_WITHIN).await
}

/// Of a region without the operator that decides, which loses its Lease otherwise.
async fn lossy(name: &Name<'_>) -> Result<()> {
    let region = name.without_the_leader().await?;
    let at = Moment::now()?;
    let bad = BadNetwork::of_region(region, Duration::ZERO, 40.0).await?;
    leaves(name, region, at, Duration::from_mins(1)).await?;
    bad.ends().await?;
    name.is_back(BACK_WITHIN).await
}

async fn late(name: &Name<'_>) -> Result<()> {
    let region = name.without_the_leader().await?;
    let at = Moment::now()?;
    let bad = BadNetwork::of_region(region, Duration::from_millis(200), 0.0).await?;
    leaves(name, region, at, FLIPS_WITHIN).await?;
    bad.ends().await?;
    name.is_back(BACK_WITHIN).await
}

/// One allocation a relay, which somebody holds.
async fn quota(name: &Name<'_>) -> Result<()> {
    let mut held = Vec::new();
    for address in &name.relays[REGION] {
        held.push(Allocation::new(SocketAddr::new(*address, PORT), &Credentials::new(SECRET, "holder")?).await?);
    }
    let at = Moment::now()?;
    patch(name, json!({"quotas": {"allocationsPerNode": 1}})).await?;
    leaves(name, REGION, at, BROUGHT_WITHIN).await?;
    patch(name, json!({"quotas": null})).await?;
    for allocation in held {
        allocation.end().await?;
    }
    name.is_back(BACK_WITHIN).await
}

async fn certificate_ended(name: &Name<'_>) -> Result<()> {
    let at = Moment::now()?;
    name.certify(REGION, -1).await?;
    leaves(name, REGION, at, BROUGHT_WITHIN).await?;
    name.certify(REGION, 90).await?;
    name.is_back(BACK_WITHIN).await
}

async fn patch(name: &Name<'_>, spec: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": spec}));
    name.scenario.regions().patch(REGION, &PatchParams::default(), &patch).await?;
    Ok(())
}
