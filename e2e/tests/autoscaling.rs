//! A fleet that follows its load: real relayed traffic against small capacities, so that a few streams fill a node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    checks::Checks,
    command::kubectl,
    cut::Cut,
    operator, processes,
    scenario::{self, Relay, Scenario},
    stream::Stream,
    wait,
};
use kube::ResourceExt;
use rtcfleet_crds::turn_region::ScalingStatus;
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};

const REGION: &str = "centralindia";
const OTHER: &str = "southindia";
/// A load is a mean over 15 s, and a node takes seconds to start.
const GROWN_WITHIN: Duration = Duration::from_secs(75);
/// The window, the mean that forgets, and a drain of a node without sessions.
const SHRUNK_WITHIN: Duration = Duration::from_mins(2);

/// A heavy stream fills 23 % of a node. Only the interface counts: the machines share the processors of this one, and what
/// else it does.
const FOLLOWS: &str = "
capacity: {nic: {tx: 4M, rx: 4M}}
scaling:
  min: 1
  max: 2
  target: {nicPercent: 65, cpuPercent: 95}
  headroom: {percent: 100, surviveRegionLoss: false}
  scaleDown: {stabilization: 20s}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_grows_when_a_node_is_over_its_target_and_shrinks_without_ending_a_call() -> Result<()> {
    scenario::with("autoscale", async |scenario| {
        let mut checks = Checks::default();
        scenario.serving(REGION, FOLLOWS).await?;
        let first = scenario.relay(REGION, 0).await?;
        let call = scenario.stream(&first).await?;
        let load = scenario.load(&first, 4).await?;
        checks.check("a node at more than 65 % of its interface gets a second one beside it", grown(&scenario)).await;
        checks.check("it is told why", explained(&scenario)).await;

        // As clients are told to: new calls go to the node with the least load.
        let second = scenario.relay(REGION, 1).await?;
        let moved = scenario.load(&second, 2).await?;
        let mut load = load;
        for stream in load.split_off(2) {
            checks.check("a call that ends on the full node had lost nothing", stream.end()).await;
        }
        checks.check("the load of the region is shared by both", shared(&scenario)).await;

        for stream in load.into_iter().chain(moved) {
            checks.check("a call of the busy time lost nothing", stream.end()).await;
        }
        checks.check("after the window the node without calls goes", shrunk(&scenario, &first)).await;
        checks.check("the call that was there from the beginning lost nothing", call.end()).await;
        checks.verdict()
    })
    .await
}

async fn grown(scenario: &Scenario) -> Result<()> {
    let what = "two relays serve, because of the target";
    wait::object(&scenario.regions(), REGION, what, GROWN_WITHIN, |region: &TurnRegion| {
        assert!(wait::conditions(region).is_true(condition::READY), "growing made the region unready: {region:#?}");
        let ready = region.status.as_ref().map(|status| status.ready_replicas);
        ready == Some(2)
            && scaling(region).is_some_and(|scaling| (scaling.desired, scaling.reason.as_str()) == (2, "Target"))
    })
    .await?;
    Ok(())
}

fn scaling(region: &TurnRegion) -> Option<&ScalingStatus> {
    region.status.as_ref()?.scaling.as_ref()
}

async fn explained(scenario: &Scenario) -> Result<()> {
    let leader = operator::leader(&scenario.client).await?.metadata.name.context("a pod has a name")?;
    let target = format!("turnregion/{REGION}");
    let arguments =
        ["-n", operator::NAMESPACE, "exec", &leader, "--", "/operator", "explain", &target, "-n", &scenario.namespace];
    let told = kubectl(&arguments, "").await?;
    ensure!(told.succeeded(), "{}{}", told.stdout, told.stderr);
    for part in ["scale: Target", "2 relays are wanted", "rules.Minimum: 1", "load.whole: "] {
        ensure!(told.stdout.contains(part), "{part:?} is missing in\n{}", told.stdout);
    }
    // While the load rises fast, the trend asks for one more than there may be.
    let wanted = ["rules.Target: 2", "rules.Target: 3"].into_iter().any(|wanted| told.stdout.contains(wanted));
    ensure!(wanted, "the target wants neither 2 nor 3 in\n{}", told.stdout);
    Ok(())
}

/// Two heavy streams on each: 46 % of the region.
async fn shared(scenario: &Scenario) -> Result<()> {
    let what = "the utilisation of two loaded relays";
    wait::object(&scenario.regions(), REGION, what, Duration::from_mins(1), |region: &TurnRegion| {
        let told = region.status.as_ref().and_then(|status| status.utilisation);
        told.is_some_and(|told| (40..=50).contains(&told.percent))
    })
    .await?;
    Ok(())
}

async fn shrunk(scenario: &Scenario, stays: &Relay) -> Result<()> {
    wait::until("one relay is left", SHRUNK_WITHIN, async || {
        let left = scenario.relays(REGION).await?;
        ensure!(left.len() == 1, "{left:?}");
        Ok(())
    })
    .await?;
    let left = scenario.relays(REGION).await?;
    ensure!(left == [stays.clone()], "{left:?} instead of {stays:?}");
    let region = scenario.ready(REGION).await?;
    let scaling = scaling(&region).context("nothing about scaling")?;
    ensure!((scaling.desired, scaling.reason.as_str()) == (1, "Minimum"), "{scaling:?}");
    Ok(())
}

/// A heavy stream fills 18 % of a node, and each region carries four of them: 37 % of two nodes. The loss of one region makes
/// that 73 % of the other. The target is not to ask for a second node, also while the load rises. Relays on a machine that
/// was cut off are given up soon, so that the region is whole again soon after.
const GROUP: &str = "
failoverGroup: india
upgrade: {evictionDeadline: 5s}
capacity: {nic: {tx: 5M, rx: 5M}}
scaling:
  min: 1
  max: 2
  target: {nicPercent: 95, cpuPercent: 95}
  headroom: {percent: 100, survivorPercent: 85}
  scaleDown: {stabilization: 20s}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_survivor_of_a_lost_region_takes_its_calls_with_the_nodes_it_has() -> Result<()> {
    scenario::with("regionloss", async |scenario| {
        let mut checks = Checks::default();
        scenario.create_secret().await?;
        for region in [REGION, OTHER] {
            scenario.create_region(region, GROUP).await?;
        }
        let (mut calls, there) = (first_load(&scenario, REGION).await?, first_load(&scenario, OTHER).await?);
        for region in [REGION, OTHER] {
            checks
                .check(&format!("{region} keeps a node for the loss of the other"), keeps_a_reserve(&scenario, region))
                .await;
        }
        let before = scenario.relays(REGION).await?;
        calls.extend(scenario.load(&before[1], 1).await?);
        let there = (there, scenario.load(&scenario.relay(OTHER, 1).await?, 1).await?);

        let leader = operator::leader(&scenario.client).await?.uid().context("a pod has a uid")?;
        let holder = operator::holder(&scenario.client).await?;
        let lost = Cut::region(OTHER).await?;
        drop(there);
        let dies = async {
            processes::kill(&leader).await?;
            operator::another_leads(&scenario.client, &holder, LED_AGAIN_WITHIN).await.map(drop)
        };
        checks.check("the leader dies in the middle of it", dies).await;
        // Their callers call again, where there is most room.
        calls.extend(scenario.load(&before[0], 1).await?);
        calls.extend(scenario.load(&before[1], 3).await?);
        checks.check("the survivor carries twice its load below the cap", below_the_cap(&scenario)).await;
        checks
            .check("it did so with the nodes it had", async {
                let now = scenario.relays(REGION).await?;
                ensure!(now == before, "{now:?} instead of {before:?}");
                Ok(())
            })
            .await;
        for stream in calls {
            checks.check("a call in the survivor lost nothing", stream.end()).await;
        }
        lost.comes_back().await?;
        checks
            .check("the lost region serves again when it is back", async {
                wait::ready(&scenario.regions(), OTHER, BACK_WITHIN).await.map(drop)
            })
            .await;
        checks.verdict()
    })
    .await
}

/// Three heavy streams on the one node that there is at first: 55 %.
async fn first_load(scenario: &Scenario, region: &str) -> Result<Vec<Stream>> {
    scenario.ready(region).await?;
    scenario.load(&scenario.relay(region, 0).await?, 3).await
}

/// A load is a mean over 15 s, and a node takes seconds to start.
const RESERVED_WITHIN: Duration = Duration::from_mins(2);

/// One node carries the load of its own region. Two are there because of the other one.
async fn keeps_a_reserve(scenario: &Scenario, region: &str) -> Result<()> {
    let what = "two relays serve, because the other region may be lost";
    wait::object(&scenario.regions(), region, what, RESERVED_WITHIN, |region: &TurnRegion| {
        let ready = region.status.as_ref().map(|status| status.ready_replicas);
        ready == Some(2) && scaling(region).is_some_and(|scaling| scaling.reason == "RegionLoss")
    })
    .await?;
    Ok(())
}

/// The other replica may be in the lost region: then the kubelet starts the leader again, and the lease has to run out.
const LED_AGAIN_WITHIN: Duration = Duration::from_mins(1);

/// Its relays may have been given up, and are made again.
const BACK_WITHIN: Duration = Duration::from_mins(3);

async fn below_the_cap(scenario: &Scenario) -> Result<()> {
    let what = "the utilisation of relays that carry two regions";
    let region = wait::object(&scenario.regions(), REGION, what, Duration::from_mins(1), |region: &TurnRegion| {
        let told = region.status.as_ref().and_then(|status| status.utilisation);
        told.is_some_and(|told| told.percent >= 60)
    })
    .await?;
    let told = region.status.and_then(|status| status.utilisation).context("nothing about utilisation")?;
    ensure!(told.percent < 85, "{told:?}");
    Ok(())
}
