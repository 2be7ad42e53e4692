//! Everything that may fail without a region failing. The answer must not change for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{
    checks::Checks,
    cluster, command,
    command::kubectl,
    cut::Cut,
    dns::new_caller,
    faults::{BadNetwork, Blocked, Paused, kill_pod},
    monotonic::Moment,
    operator,
    own_prober::OwnProber,
    scenario::{HOST, METRICS_PORT},
    tell, wait,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use rtcfleet_crds::{ConditionsExt, DnsFailover, DnsFailoverStatus, condition, dns_failover::VantagePointState};
use serde_json::json;

use crate::name::{self, FLIPS_WITHIN, NAME, Name, REGIONS};

/// Longer than a flip takes: five failed probes at each vantage point.
const LONG_ENOUGH: Duration = Duration::from_secs(15);
/// As long as the API server and the DNS servers are away.
const OUTAGE: Duration = Duration::from_mins(1);
pub const HEALTHY_WITHIN: Duration = Duration::from_secs(90);
/// What is brought and does not arrive is brought again. A kubelet alone takes up to a minute and a half.
const PROBED_WITHIN: Duration = Duration::from_secs(40);
/// A kubelet waits longer from one end of a process to the next, up to 5 minutes.
const RUNS_AGAIN_WITHIN: Duration = Duration::from_mins(6);
/// The vantage point beside the operator.
pub const BESIDE: &str = "operator";
const MOVED_TLS_PORT: u16 = 5350;
/// The one that a user runs.
const OWN: &str = "own";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_region_never_leaves_the_answer_whatever_else_fails() -> Result<()> {
    name::with("dns-steady", json!({}), async |name| {
        let mut checks = Checks::default();
        // On the heap: all of them together are more than the stack of a test.
        checks.check("one prober is killed", Box::pin(stays(name, one_prober_killed(name)))).await;
        checks.check("one prober stands still", Box::pin(stays(name, one_prober_stands_still(name)))).await;
        checks.check("one prober is cut off", Box::pin(stays(name, one_prober_cut_off(name)))).await;
        checks.check("all probers are cut off", Box::pin(stays(name, all_probers_cut_off(name)))).await;
        checks.check("the operator's leader is killed", Box::pin(stays(name, leader_killed(name)))).await;
        checks.check("the clock of one prober steps", Box::pin(stays(name, one_clock_stepped(name)))).await;
        checks.check("5 % of all packets are lost", Box::pin(stays(name, lossy()))).await;
        checks.check("a relay is drained by its machine", Box::pin(stays(name, drained(name)))).await;
        checks.check("an upgrade rolls", Box::pin(stays(name, upgraded(name)))).await;
        checks.check("a listener moves to another port", Box::pin(stays(name, listener_moved(name)))).await;
        checks.check("the API server is down for a minute", Box::pin(stays(name, api_server_down(name)))).await;
        checks
            .check("the DNS servers are down for a minute, and then catch up", Box::pin(dns_servers_down(name)))
            .await;
        checks.verdict()
    })
    .await
}

/// Whatever happens, and until every vantage point is heard again, every answer held every region.
async fn stays(name: &Name<'_>, happens: impl Future<Output = Result<()>>) -> Result<()> {
    let began = Moment::now()?;
    happens.await?;
    name.is_healthy(HEALTHY_WITHIN).await?;
    name.never_left_out(began)
}

/// Nothing is to happen, which only time shows.
async fn watched() {
    tokio::time::sleep(LONG_ENOUGH).await;
}

pub async fn one_prober_killed(name: &Name<'_>) -> Result<()> {
    let before = name.prober(BESIDE).await?;
    let restarts = restarts(&before);
    kill_pod(&name.pods(), &before.name_any()).await?;
    wait::until("its process runs again", RUNS_AGAIN_WITHIN, async || {
        let now = name.pods().get(&before.name_any()).await?;
        let container = container(&now).context("no container")?;
        ensure!(container.restart_count > restarts && container.ready, "{container:?}");
        Ok(())
    })
    .await
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn restarts(pod: &Pod) -> i32 {
    container(pod).map_or(0, |container| container.restart_count)
}

pub async fn one_prober_stands_still(name: &Name<'_>) -> Result<()> {
    let paused = Paused::pods(&name.pods(), &[name.prober(BESIDE).await?.name_any()]).await?;
    has(name, "nothing is heard of one", |status| state(status, BESIDE) == Some(VantagePointState::Silent)).await?;
    watched().await;
    paused.go_on();
    Ok(())
}

async fn blocked(name: &Name<'_>, vantage_point: &str) -> Result<Blocked> {
    let pod = name.prober(vantage_point).await?;
    let node = pod.spec.and_then(|spec| spec.node_name).context("no machine")?;
    let address = pod.status.and_then(|status| status.pod_ip).context("no address")?;
    Blocked::pod(&node, address.parse()?)
}

pub async fn one_prober_cut_off(name: &Name<'_>) -> Result<()> {
    let cut = blocked(name, BESIDE).await?;
    has(name, "one reaches nothing", |status| state(status, BESIDE) == Some(VantagePointState::CutOff)).await?;
    watched().await;
    cut.ends()?;
    Ok(())
}

pub async fn all_probers_cut_off(name: &Name<'_>) -> Result<()> {
    let mut cuts = Vec::new();
    for vantage_point in [REGIONS[0], REGIONS[1], BESIDE] {
        cuts.push(blocked(name, vantage_point).await?);
    }
    has(name, "frozen for want of a quorum", |status| {
        status.conditions.condition(condition::FROZEN).is_some_and(|frozen| frozen.reason == "QuorumLost")
    })
    .await?;
    watched().await;
    cuts.into_iter().try_for_each(Blocked::ends)?;
    Ok(())
}

/// A day back, and its credentials have ended for the relays; a year ahead, and their certificates have ended for it.
async fn one_clock_stepped(name: &Name<'_>) -> Result<()> {
    with_own_prober(name, async |prober| steps_alone(name, prober).await).await
}

/// Once it is heard, beside those of the operator.
async fn with_own_prober(name: &Name<'_>, body: impl AsyncFnOnce(&OwnProber) -> Result<()>) -> Result<()> {
    let prober = OwnProber::start(&name.scenario.client, &name.scenario.namespace, NAME).await?;
    name.change(json!({"spec": {"vantagePoints": [{"name": OWN, "url": OwnProber::url()}]}})).await?;
    let outcome = async {
        has(name, "the further prober is heard", |status| state(status, OWN) == Some(VantagePointState::Fine)).await?;
        body(&prober).await
    }
    .await;
    name.change(json!({"spec": {"vantagePoints": null}})).await?;
    outcome.with_context(|| prober.log())?;
    prober.ends().await
}

async fn steps_alone(name: &Name<'_>, prober: &OwnProber) -> Result<()> {
    for days in [-1, 365] {
        prober.step(days * 86_400)?;
        has(name, "it alone votes against the regions", |status| {
            status.regions.iter().all(|region| region.votes.down == 1 && region.votes.up == 2)
        })
        .await?;
        watched().await;
        prober.step(0)?;
        has(name, "it is for them again", |status| status.regions.iter().all(|region| region.votes.up == 3)).await?;
    }
    Ok(())
}

/// The same while other things fail, so that nobody knows what the others say meanwhile.
pub async fn one_clock_steps_unwatched(name: &Name<'_>) -> Result<()> {
    with_own_prober(name, async |prober| {
        for seconds in [-86_400, 86_400, 0] {
            prober.step(seconds)?;
            watched().await;
        }
        Ok(())
    })
    .await
}

pub async fn leader_killed(name: &Name<'_>) -> Result<()> {
    let client = &name.scenario.client;
    let before = operator::kill_leader(client).await?;
    operator::another_leads(client, &before, Duration::from_mins(1)).await?;
    watched().await;
    Ok(())
}

pub async fn lossy() -> Result<()> {
    let mut bad = Vec::new();
    for region in REGIONS {
        bad.push(BadNetwork::of_region(region, Duration::ZERO, 5.0).await?);
    }
    tokio::time::sleep(OUTAGE).await; // Losses come by chance: a minute has some hundreds of probes.
    for one in bad {
        one.ends().await?;
    }
    Ok(())
}

pub async fn drained(name: &Name<'_>) -> Result<()> {
    let relay = name.scenario.relay(REGIONS[0], 0).await?;
    let drain = ["drain", &relay.node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s"];
    let drained = kubectl(&drain, "").await?;
    watched().await;
    let back = kubectl(&["uncordon", &relay.node], "").await?;
    ensure!(drained.succeeded() && back.succeeded(), "{}{}", drained.stderr, back.stderr);
    name.scenario.ready(REGIONS[0]).await?;
    Ok(())
}

pub async fn upgraded(name: &Name<'_>) -> Result<()> {
    let regions = name.scenario.regions();
    let new = jiff::Timestamp::now().as_second().to_string();
    let patch = json!({"spec": {"template": {"labels": {"upgraded": new}}}});
    regions.patch(REGIONS[1], &PatchParams::default(), &Patch::Merge(patch)).await?;
    exchanged(name).await
}

async fn exchanged(name: &Name<'_>) -> Result<()> {
    wait::until("every relay has been exchanged", Duration::from_mins(3), async || {
        let region = name.scenario.regions().get(REGIONS[1]).await?;
        let status = region.status.unwrap_or_default();
        ensure!(status.observed_generation == region.metadata.generation, "not looked at yet");
        ensure!(status.upgrade.is_none(), "{:?}", status.upgrade);
        ensure!(status.ready_replicas == 2 && status.draining.is_empty(), "{status:?}");
        Ok(())
    })
    .await
}

/// Relays that have calls open the new port when those have ended. Until then they serve where they did.
async fn listener_moved(name: &Name<'_>) -> Result<()> {
    let mut calls = Vec::new();
    for relay in name.scenario.relays(REGIONS[1]).await? {
        calls.push(name.scenario.stream(&relay).await?);
    }
    let moved = json!({"spec": {"listeners": name::listeners(MOVED_TLS_PORT)}});
    name.scenario.regions().patch(REGIONS[1], &PatchParams::default(), &Patch::Merge(moved)).await?;
    wait::until("a relay waits for its call to end", HEALTHY_WITHIN, async || {
        let status = name.scenario.regions().get(REGIONS[1]).await?.status.unwrap_or_default();
        ensure!(!status.draining.is_empty(), "{:?}", status.upgrade);
        Ok(())
    })
    .await?;
    watched().await;
    for call in calls {
        call.end().await?;
    }
    exchanged(name).await?;
    let began = Instant::now();
    probed_at(name, MOVED_TLS_PORT).await?;
    tell(&format!("relays that have moved are probed where they are now after {:?}", began.elapsed()))
}

/// Every prober finds every relay of the region to work there: sooner than kubelets would have told them of it.
async fn probed_at(name: &Name<'_>, tls: u16) -> Result<()> {
    let Name { scenario, .. } = name;
    wait::until("the relays are probed where they are now", PROBED_WITHIN, async || {
        for point in [REGIONS[0], REGIONS[1], BESIDE] {
            let prober = name.prober(point).await?;
            let page = operator::metrics(&scenario.client, &scenario.namespace, &prober, METRICS_PORT).await?;
            for slot in 0..2 {
                let target = format!("{}-{slot}/4/{tls}", REGIONS[1]);
                let row = format!("\nrtcfleet_probe_up{{target=\"{target}\",transport=\"tls\"}} 1");
                ensure!(page.contains(&row), "{point} does not say that {target} works");
            }
        }
        Ok(())
    })
    .await
}

async fn component(action: &str, which: &str) -> Result<()> {
    command::run(cluster::rtc_cluster(), &["component", action, which], Duration::from_mins(1)).await?;
    Ok(())
}

pub async fn api_server_down(name: &Name<'_>) -> Result<()> {
    component("stop", "apiserver").await?;
    tokio::time::sleep(OUTAGE).await;
    component("start", "apiserver").await?;
    let client = &name.scenario.client;
    wait::api_server(client).await?;
    operator::leader(client).await?;
    operator::settled(client).await
}

/// Meanwhile a region dies: the servers are told as soon as they are back.
async fn dns_servers_down(name: &mut Name<'_>) -> Result<()> {
    let region = name.without_the_leader().await?;
    name.servers.stop_all().await?;
    tokio::time::sleep(OUTAGE / 2).await;
    has(name, "the status says that the servers are away", |status| !status.conditions.is_true(condition::READY))
        .await?;
    let cut = Cut::region(region).await?;
    tokio::time::sleep(OUTAGE / 2).await;
    name.servers.start_again().await?;
    let back = Moment::now()?;
    let caught_up = name.tells_only(back, &[Name::other(region)], FLIPS_WITHIN).await?;
    tell(&format!("the servers tell what was decided meanwhile {caught_up:?} after they are back"))?;
    let caller = new_caller(&name.servers.both(), HOST).await?;
    caller.allocation.end().await?;
    cut.comes_back().await?;
    name.watcher.history().is_never_empty(&name.servers.both())
}

async fn has(name: &Name<'_>, what: &str, holds: fn(&DnsFailoverStatus) -> bool) -> Result<()> {
    wait::until(what, HEALTHY_WITHIN, async || {
        let found: DnsFailover = name.names().get(NAME).await?;
        let status = found.status.context("no status")?;
        ensure!(holds(&status), "{:?} {:?}", status.conditions, status.vantage_points);
        Ok(())
    })
    .await
}

fn state(status: &DnsFailoverStatus, vantage_point: &str) -> Option<VantagePointState> {
    status.vantage_points.iter().find(|point| point.name == vantage_point).map(|point| point.state)
}
