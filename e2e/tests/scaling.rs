//! How many relays there are, which one goes, and how they are exchanged: never one with callers while another will do.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    checks::Checks,
    command::kubectl,
    metrics_server,
    scenario::{self, PORT, Relay, SECRET, Scenario},
    turn::{Allocation, Credentials},
    wait,
};
use kube::api::{Patch, PatchParams};
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};
use serde_json::json;

const REGION: &str = "centralindia";
/// Making a relay, and ending one without callers.
const SOON: Duration = Duration::from_secs(45);

/// A new relay has to carry a session of its own first, and tries again after half a minute.
const PROVEN_WITHIN: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_scale_adds_relays_and_takes_away_the_one_without_callers() -> Result<()> {
    scenario::with("scale", async |scenario| {
        let mut checks = Checks::default();
        scenario.serving(REGION, "{replicas: 1}").await?;
        checks.check("one relay becomes two", scaled(&scenario, 2)).await;

        // Of two idle relays the one with the higher number would go, so the caller uses that one.
        let used = scenario.relay(REGION, 1).await?;
        let call = scenario.stream(&used).await?;
        checks.check("two relays become one", scaled(&scenario, 1)).await;
        checks
            .check("the relay with a caller stays", async {
                let left = scenario.relays(REGION).await?;
                ensure!(left == [used.clone()], "{left:?} instead of {used:?}");
                call.is_whole().await
            })
            .await;
        checks.check("a relay with a caller drains before it goes", drains(&scenario, &used)).await;
        checks.check("the caller of a draining relay notices nothing", call.is_whole()).await;
        checks
            .check("a relay that is wanted again stays, and its caller with it", async {
                scale(&scenario, 1).await?;
                wait::object(&scenario.regions(), REGION, "serving without a drain", SOON, |region: &TurnRegion| {
                    serving(region) == 1 && wait::conditions(region).condition(condition::DRAINING).is_none()
                })
                .await?;
                ensure!(scenario.relays(REGION).await? == [used.clone()], "another relay");
                call.is_whole().await
            })
            .await;
        scale(&scenario, 0).await?;
        checks.check("the call lost nothing", call.end()).await;
        checks.check("when its last caller has left, a drained relay goes", scaled_to_zero(&scenario)).await;
        checks.verdict()
    })
    .await
}

async fn scale(scenario: &Scenario, replicas: i32) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    let arguments = ["-n", &scenario.namespace, "scale", "turnregion", REGION, &replicas];
    let scaled = kubectl(&arguments, "").await?;
    ensure!(scaled.succeeded(), "{}", scaled.stderr);
    Ok(())
}

/// Scales, and waits until exactly so many relays run and serve.
async fn scaled(scenario: &Scenario, replicas: i32) -> Result<()> {
    scale(scenario, replicas).await?;
    wait::until(&format!("{replicas} relays serve"), SOON, async || {
        let region = scenario.regions().get(REGION).await?;
        let status = region.status.clone().unwrap_or_default();
        let relays = scenario.relays(REGION).await?.len();
        ensure!(status.observed_generation == region.metadata.generation, "not looked at yet");
        ensure!((status.replicas, serving(&region)) == (replicas, replicas), "{status:#?}");
        ensure!(i32::try_from(relays)? == replicas, "{relays} pods");
        let reason = status.scaling.as_ref().map(|scaling| scaling.reason.as_str());
        ensure!(reason == Some("ExternalScaler"), "{reason:?}");
        ensure!(wait::conditions(&region).is_true(condition::READY), "not ready");
        Ok(())
    })
    .await
}

fn serving(region: &TurnRegion) -> i32 {
    region.status.as_ref().map_or(0, |status| status.ready_replicas)
}

async fn drains(scenario: &Scenario, used: &Relay) -> Result<()> {
    scale(scenario, 0).await?;
    wait::until("the relay with a caller drains", Duration::from_secs(20), async || {
        let status = scenario.regions().get(REGION).await?.status.unwrap_or_default();
        let draining = status.draining.first().context("nothing drains")?;
        ensure!((draining.slot, draining.reason.as_str()) == (1, "ScaleDown"), "{draining:?}");
        ensure!(status.nodes.is_some_and(|nodes| nodes.draining == 1), "{:?}", status.nodes);
        ensure!(status.conditions.is_true(condition::DRAINING), "{:?}", status.conditions);
        Ok(())
    })
    .await?;
    let refused = scenario.stream(used).await;
    ensure!(refused.is_err(), "a draining relay took a new caller");
    ensure!(scenario.relays(REGION).await? == [used.clone()], "it did not stay");
    Ok(())
}

async fn scaled_to_zero(scenario: &Scenario) -> Result<()> {
    scaled(scenario, 0).await?;
    let region = scenario.regions().get(REGION).await?;
    let ready = wait::conditions(&region).condition(condition::READY).context("no Ready")?;
    ensure!(ready.reason == "ScaledToZero", "{ready:?}");
    Ok(())
}

/// Kubernetes' autoscaler looks every 15 s at a rate over the last 10 to 20, and a relay starts or drains.
const AUTOSCALED: Duration = Duration::from_mins(2);
/// A relay with one light call uses a fifth of it.
const PROCESSOR: &str = "30m";
/// Heavy calls that make a relay use more than the autoscaler wants.
const STREAMS_FOR_TWO: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_horizontal_pod_autoscaler_drives_the_number_of_relays_by_their_processors() -> Result<()> {
    scenario::with("hpa", async |scenario| {
        metrics_server::with(async || {
            let mut checks = Checks::default();
            scenario.serving(REGION, "{replicas: 1, quotas: {allocationsPerUser: 100}}").await?;
            let first = scenario.relay(REGION, 0).await?;
            let call = scenario.stream(&first).await?;
            autoscale(&scenario).await?;
            let load = scenario.load(&first, STREAMS_FOR_TWO).await?;
            checks.check("a busy relay gets a second one beside it", followed(&scenario, 2)).await;
            for stream in load {
                checks.check("a call of the busy time lost nothing", stream.end()).await;
            }
            checks.check("when it is not busy any more, one goes", followed(&scenario, 1)).await;
            checks
                .check("the relay with a caller stayed", async {
                    let left = scenario.relays(REGION).await?;
                    ensure!(left == [first.clone()], "{left:?} instead of {first:?}");
                    call.end().await
                })
                .await;
            checks.verdict()
        })
        .await
    })
    .await
}

/// An autoscaler that wants no relay to use more than [`PROCESSOR`] on average. It does not wait before it takes one away:
/// the drain is what callers need.
async fn autoscale(scenario: &Scenario) -> Result<()> {
    let target = json!({"apiVersion": "rtcfleet.dev/v1alpha1", "kind": "TurnRegion", "name": REGION});
    let processor = json!({"name": "cpu", "target": {"type": "AverageValue", "averageValue": PROCESSOR}});
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": REGION},
        "spec": {
            "scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": processor}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    });
    let applied = kubectl(&["-n", &scenario.namespace, "apply", "-f", "-"], &autoscaler.to_string()).await?;
    ensure!(applied.succeeded(), "{}", applied.stderr);
    Ok(())
}

async fn followed(scenario: &Scenario, replicas: i32) -> Result<()> {
    wait::until(&format!("{replicas} relays, as the autoscaler wants"), AUTOSCALED, async || {
        let region = scenario.regions().get(REGION).await?;
        let status = region.status.clone().unwrap_or_default();
        let told = kubectl(&["-n", &scenario.namespace, "describe", "hpa", REGION], "").await?.stdout;
        ensure!(region.spec.replicas == Some(replicas), "{:?} are written: {told}", region.spec.replicas);
        ensure!((status.replicas, serving(&region)) == (replicas, replicas), "{status:#?}");
        let relays = scenario.relays(REGION).await?.len();
        ensure!(i32::try_from(relays)? == replicas, "{relays} pods");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_template_exchanges_relays_one_at_a_time_and_only_when_their_callers_have_left() -> Result<()> {
    scenario::with("exchange", async |scenario| {
        let mut checks = Checks::default();
        scenario.serving(REGION, "{}").await?;
        let before = scenario.relays(REGION).await?;
        let calls = [scenario.stream(&before[0]).await?, scenario.stream(&before[1]).await?];
        let old = scenario.regions().get(REGION).await?.status.and_then(|status| status.revision);

        let template = json!({"spec": {"template": {"annotations": {"example.org/note": "changed"}}}});
        scenario.regions().patch(REGION, &PatchParams::default(), &Patch::Merge(&template)).await?;
        let first = one_drains(&scenario).await?;
        let second = 1 - first;
        let [of_slot_0, of_slot_1] = calls;
        let (of_first, of_second) = if first == 0 { (of_slot_0, of_slot_1) } else { (of_slot_1, of_slot_0) };
        checks
            .check("one relay drains; both run on with their callers", async {
                ensure!(scenario.relays(REGION).await? == before, "a relay was exchanged under its callers");
                of_first.is_whole().await?;
                of_second.is_whole().await
            })
            .await;
        checks.check("Ready stays true: the exchange is planned", still_ready(&scenario)).await;

        checks.check("the draining relay lost none of its caller's packets", of_first.end()).await;
        checks.check("it is exchanged when its caller has left", exchanged(&scenario, &before, first)).await;
        checks
            .check("then the other one drains, with its caller", async {
                wait::until("the other relay drains", PROVEN_WITHIN, async || draining(&scenario, second).await)
                    .await?;
                ensure!(scenario.relay(REGION, second).await? == before[second as usize], "it was exchanged");
                of_second.is_whole().await
            })
            .await;
        checks.check("the other relay lost none of its caller's packets", of_second.end()).await;
        checks.check("it is exchanged, too", exchanged(&scenario, &before, second)).await;
        checks
            .check("all relays run the new revision, and nothing is left of the old one", async {
                wait::object(&scenario.regions(), REGION, "Ready and not Reconciling", SOON, |region: &TurnRegion| {
                    let conditions = wait::conditions(region);
                    conditions.is_true(condition::READY) && conditions.condition(condition::RECONCILING).is_none()
                })
                .await?;
                let old = format!("{REGION}-turn-{}", old.context("no revision")?);
                let arguments =
                    ["-n", &scenario.namespace, "get", "configmap", &old, "--ignore-not-found", "-o", "name"];
                wait::until("what is of the old revision goes", SOON, async || {
                    let left = kubectl(&arguments, "").await?.stdout;
                    ensure!(left.is_empty(), "{left} is left");
                    Ok(())
                })
                .await
            })
            .await;
        checks.verdict()
    })
    .await
}

/// The slot that drains; never two.
async fn one_drains(scenario: &Scenario) -> Result<u32> {
    wait::until("a relay drains", SOON, async || {
        let status = scenario.regions().get(REGION).await?.status.unwrap_or_default();
        ensure!(status.nodes.is_some_and(|nodes| nodes.draining == 1), "{:?}", status.nodes);
        ensure!(status.draining.len() == 1 && status.draining[0].reason == "Upgrade", "{:?}", status.draining);
        Ok(u32::try_from(status.draining[0].slot)?)
    })
    .await
}

async fn draining(scenario: &Scenario, slot: u32) -> Result<()> {
    let now = one_drains(scenario).await?;
    ensure!(now == slot, "slot {now} drains");
    Ok(())
}

async fn still_ready(scenario: &Scenario) -> Result<()> {
    let ready = wait::until("how many serve is told", SOON, async || {
        let region = scenario.regions().get(REGION).await?;
        let ready = wait::conditions(&region).condition(condition::READY).context("no Ready")?.clone();
        let is_told = ready.message == "1 of 2 relays serve; the others are being exchanged";
        ensure!(is_told || ready.status != "True", "{}", ready.message);
        Ok(ready)
    })
    .await?;
    ensure!(ready.status == "True", "{ready:?}");
    Ok(())
}

async fn exchanged(scenario: &Scenario, before: &[Relay], slot: u32) -> Result<()> {
    let old = &before[slot as usize];
    wait::until(&format!("slot {slot} runs in a new pod and serves"), SOON, async || {
        let now = scenario.relay(REGION, slot).await?;
        ensure!(now.uid != old.uid, "still {}", old.pod);
        scenario.stream(&now).await?.end().await
    })
    .await
}

/// The kubelet brings a changed ConfigMap within 90 s, nodes look every 2 s, the operator every 15 s, and all share two
/// processors.
const ADJUSTED_WITHIN: Duration = Duration::from_mins(4);
/// In a network that is open to the relays; nobody is there.
const DENIED_LATER: &str = "10.200.0.99:9";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_quotas_and_peers_reach_running_relays_without_an_exchange() -> Result<()> {
    scenario::with("limits", async |scenario| {
        let mut checks = Checks::default();
        let region = scenario.serving(REGION, "{}").await?;
        let before = scenario.relays(REGION).await?;
        let calls = [scenario.stream(&before[0]).await?, scenario.stream(&before[1]).await?];
        for relay in &before {
            checks.check("a peer that is not denied yet is let in", lets_in(relay, DENIED_LATER)).await;
        }

        let limits = json!({"spec": {
            "quotas": {"allocationsPerUser": 1},
            "relay": {"denyPeers": ["10.200.0.99/32"]},
            "capacity": {"nic": {"tx": "10G", "rx": "10G"}},
        }});
        scenario.regions().patch(REGION, &PatchParams::default(), &Patch::Merge(&limits)).await?;
        checks.check("that relays are behind is told, and Ready is true", told_behind(&scenario)).await;
        checks.check("all relays have what was changed", adjusted(&scenario)).await;
        for relay in &before {
            checks.check("a peer that is denied is refused", is_refused(lets_in(relay, DENIED_LATER), 403)).await;
            let another = async { scenario.stream(relay).await.map(|_| ()) };
            checks.check("a user at the lowered quota gets no further allocation", is_refused(another, 486)).await;
        }
        checks.check("the capacity is known by now", capacity_is_known(&scenario)).await;
        checks
            .check("the same relays run, with the revision from before", async {
                let relays = scenario.relays(REGION).await?;
                ensure!(relays == before, "{relays:?} instead of {before:?}");
                let revisions = [region, scenario.regions().get(REGION).await?];
                let [old, new] = revisions.map(|region| region.status.and_then(|status| status.revision));
                ensure!(old.is_some() && old == new, "{old:?} became {new:?}");
                Ok(())
            })
            .await;
        for call in calls {
            checks.check("a caller at the lowered quota has lost nothing", call.end()).await;
        }
        checks.verdict()
    })
    .await
}

/// An allocation of a user of its own, and a channel to the peer.
async fn lets_in(relay: &Relay, peer: &str) -> Result<()> {
    let address = relay.address.with_context(|| format!("{} has no address", relay.pod))?;
    let credentials = Credentials::new(SECRET, "limits")?;
    let mut allocation = Allocation::new(SocketAddr::new(address, PORT), &credentials).await?;
    let bound = allocation.bind(0x4000, peer.parse()?).await;
    allocation.end().await?;
    bound
}

async fn is_refused(attempt: impl Future<Output = Result<()>>, code: u16) -> Result<()> {
    let Err(error) = attempt.await else { anyhow::bail!("it is granted") };
    let error = format!("{error:#}");
    ensure!(error.contains(&format!("refused with {code}")), "{error}");
    Ok(())
}

async fn told_behind(scenario: &Scenario) -> Result<()> {
    wait::until("LimitsPending", SOON, async || {
        let region = scenario.regions().get(REGION).await?;
        let conditions = wait::conditions(&region);
        let pending = conditions.condition(condition::LIMITS_PENDING).context("no LimitsPending")?;
        ensure!((pending.status.as_str(), pending.reason.as_str()) == ("True", "NodesBehind"), "{pending:?}");
        ensure!(conditions.is_true(condition::READY), "{conditions:#?}");
        ensure!(conditions.condition(condition::DRAINING).is_none(), "{conditions:#?}");
        Ok(())
    })
    .await
}

async fn adjusted(scenario: &Scenario) -> Result<()> {
    let what = "Ready and not LimitsPending, for its generation, as both relays say";
    wait::object(&scenario.regions(), REGION, what, ADJUSTED_WITHIN, |region: &TurnRegion| {
        let conditions = wait::conditions(region);
        let observed = region.status.as_ref().and_then(|status| status.observed_generation);
        let nodes = region.status.as_ref().and_then(|status| status.nodes.as_ref());
        observed == region.metadata.generation
            && conditions.is_true(condition::READY)
            && conditions.condition(condition::LIMITS_PENDING).is_none()
            && nodes.is_some_and(|nodes| (nodes.active, nodes.unknown) == (2, 0))
    })
    .await?;
    Ok(())
}

async fn capacity_is_known(scenario: &Scenario) -> Result<()> {
    wait::object(&scenario.regions(), REGION, "not CapacityUnknown", SOON, |region: &TurnRegion| {
        wait::conditions(region).condition(condition::CAPACITY_UNKNOWN).is_none()
    })
    .await?;
    Ok(())
}
