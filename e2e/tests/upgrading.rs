//! New images of the node: a canary first, beside the node that has the calls, and nothing further where it does not serve.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    checks::Checks,
    command::kubectl,
    images,
    scenario::{self, Relay, Scenario},
    wait,
};
use kube::api::{Patch, PatchParams};
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};
use serde_json::{Value, json};

const REGION: &str = "centralindia";
/// A pod on a machine that has the image, and its first probe of itself.
const SOON: Duration = Duration::from_mins(1);
/// A node that cannot be started is taken for a failure after a minute.
const FAILED_WITHIN: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_exchanged_without_a_lost_packet_and_a_broken_one_stops_at_the_canary() -> Result<()> {
    scenario::with("image", async |scenario| {
        let mut checks = Checks::default();
        // Two machines, one of them to spare.
        scenario.serving(REGION, "{replicas: 1, upgrade: {progressDeadline: 2m}}").await?;
        let first = scenario.relay(REGION, 0).await?;
        let call = scenario.stream(&first).await?;

        set_image(&scenario, json!("rtc-fleet/media-node:nobody-has-built-this")).await?;
        checks.check("a broken image is tried beside the node that has the calls, and stops", stalls(&scenario)).await;
        checks
            .check("the node that has the calls was not touched", async {
                ensure!(scenario.relay(REGION, 0).await? == first, "it was exchanged");
                call.is_whole().await
            })
            .await;
        set_image(&scenario, Value::Null).await?;
        checks.check("changing the object back undoes it", undone(&scenario, &first)).await;
        checks.check("the call goes on", call.is_whole()).await;

        let image = images::retagged("media-node", "e2e-newer").await?;
        set_image(&scenario, json!(image)).await?;
        let second = superseded(&scenario).await?;
        checks.check("the call goes on while its node drains", call.is_whole()).await;
        checks.check("the draining node sends new callers to the new one", sends_away(&scenario, &first)).await;
        checks.check("the new node takes calls meanwhile", async { scenario.stream(&second).await?.end().await }).await;
        checks.check("the call lost nothing from first to last", call.end()).await;
        checks.check("then its node goes, and the new one is left", left(&scenario, &second)).await;
        checks.verdict()
    })
    .await
}

async fn set_image(scenario: &Scenario, image: Value) -> Result<()> {
    let patch = json!({"spec": {"template": {"image": image}}});
    scenario.regions().patch(REGION, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

fn upgrade(region: &TurnRegion) -> Option<&str> {
    region.status.as_ref()?.upgrade.as_ref().map(|upgrade| upgrade.state.as_str())
}

async fn stalls(scenario: &Scenario) -> Result<()> {
    let what = "Stalled because of the upgrade";
    let region = wait::object(&scenario.regions(), REGION, what, FAILED_WITHIN, |region: &TurnRegion| {
        wait::conditions(region).is_true(condition::STALLED)
    })
    .await?;
    let conditions = wait::conditions(&region);
    let stalled = conditions.condition(condition::STALLED).context("no Stalled")?;
    ensure!(stalled.reason == "UpgradeFailed", "{stalled:?}");
    ensure!(stalled.message.contains("slot 1") && stalled.message.contains("Image"), "{}", stalled.message);
    ensure!(conditions.is_true(condition::READY), "the calls' node serves: {conditions:#?}");
    ensure!(conditions.condition(condition::RECONCILING).is_none(), "nothing goes on: {conditions:#?}");
    ensure!(upgrade(&region) == Some("Failed"), "{:?}", upgrade(&region));
    Ok(())
}

async fn undone(scenario: &Scenario, first: &Relay) -> Result<()> {
    let what = "neither an upgrade nor a stall";
    wait::object(&scenario.regions(), REGION, what, SOON, |region: &TurnRegion| {
        upgrade(region).is_none() && wait::conditions(region).condition(condition::STALLED).is_none()
    })
    .await?;
    wait::until("the slot of the broken image is gone", SOON, async || {
        let relays = scenario.relays(REGION).await?;
        ensure!(relays == [first.clone()], "{relays:?}");
        Ok(())
    })
    .await
}

/// The new node serves, and the old one drains.
async fn superseded(scenario: &Scenario) -> Result<Relay> {
    let what = "the old node drains because a new one serves";
    wait::object(&scenario.regions(), REGION, what, Duration::from_secs(90), |region: &TurnRegion| {
        let draining = region.status.as_ref().map(|status| status.draining.as_slice()).unwrap_or_default();
        draining.iter().any(|node| (node.slot, node.reason.as_str()) == (0, "Superseded"))
    })
    .await?;
    scenario.relay(REGION, 1).await
}

/// 300, Try Alternate: not 508, because there is another node.
async fn sends_away(scenario: &Scenario, draining: &Relay) -> Result<()> {
    wait::until("a caller is sent away", Duration::from_secs(20), async || match scenario.stream(draining).await {
        Ok(call) => {
            call.end().await?;
            bail!("it takes callers still")
        }
        Err(refusal) => {
            let told = format!("{refusal:#}");
            ensure!(told.contains("refused with 300"), "{told}");
            Ok(())
        }
    })
    .await
}

async fn left(scenario: &Scenario, second: &Relay) -> Result<()> {
    wait::until("the new node alone", SOON, async || {
        let relays = scenario.relays(REGION).await?;
        ensure!(relays == [second.clone()], "{relays:?}");
        Ok(())
    })
    .await?;
    wait::object(&scenario.regions(), REGION, "Ready, and no upgrade", SOON, |region: &TurnRegion| {
        upgrade(region).is_none() && wait::conditions(region).is_true(condition::READY)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_machine_keeps_its_calls_until_they_end_and_another_machine_takes_new_ones() -> Result<()> {
    scenario::with("drain", async |scenario| {
        let mut checks = Checks::default();
        scenario.serving(REGION, "{replicas: 1, upgrade: {evictionDeadline: 2m}}").await?;
        let busy = scenario.relay(REGION, 0).await?;
        let call = scenario.stream(&busy).await?;
        let machine = Cordoned::drain(&busy.node).await?;
        checks
            .check("the call goes on while its machine is drained", async {
                wait::until("the relay is told to end", SOON, async || {
                    let pod = scenario.pods().get(&busy.pod).await?;
                    ensure!(pod.metadata.deletion_timestamp.is_some(), "not yet");
                    Ok(())
                })
                .await?;
                call.is_whole().await
            })
            .await;
        checks
            .check("a relay on another machine takes new calls meanwhile", async {
                let other = scenario.successor(REGION, &busy).await?;
                ensure!(other.node != busy.node, "{other:?}");
                scenario.stream(&other).await?.end().await
            })
            .await;
        checks.check("the call lost nothing until it ended by itself", call.end()).await;
        checks
            .check("then the relay leaves the machine", async { wait::gone(&scenario.pods(), &busy.pod, SOON).await })
            .await;
        drop(machine);
        checks.verdict()
    })
    .await
}

/// A machine that is cordoned until this is dropped.
struct Cordoned(String);

impl Drop for Cordoned {
    fn drop(&mut self) {
        let kubectl = e2e::cluster::state().join("bin/kubectl");
        let kubeconfig = e2e::cluster::state().join("kubeconfig");
        let mut uncordon = std::process::Command::new(kubectl);
        if let Err(error) = uncordon.env("KUBECONFIG", kubeconfig).args(["uncordon", &self.0]).output() {
            eprintln!("machine {} is still cordoned: kubectl uncordon {0}: {error}", self.0);
        }
    }
}

impl Cordoned {
    /// Begins `kubectl drain` and does not wait for it.
    async fn drain(machine: &str) -> Result<Self> {
        let cordoned = Self(machine.to_owned());
        let only = "app.kubernetes.io/component=turn";
        let arguments =
            ["drain", machine, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector", only, "--timeout=1s"];
        // A budget that has not counted the relay yet refuses at first.
        wait::until("the drain waits for the relay to end", Duration::from_mins(1), async || {
            let drained = kubectl(&arguments, "").await?;
            ensure!(!drained.succeeded(), "the machine was drained at once: {}", drained.stdout);
            ensure!(drained.stderr.contains("to terminate: context deadline exceeded"), "{}", drained.stderr);
            Ok(())
        })
        .await?;
        Ok(cordoned)
    }
}
