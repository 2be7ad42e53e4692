//! What breaks around a call while packets of it are relayed: the operator, the API server, an upgrade, a relay.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    checks::Checks,
    cluster,
    command::{self, kubectl},
    cut::Cut,
    images, operator, processes,
    scenario::{self, Relay, Scenario},
    stream::Stream,
    tell, wait,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, api::DeleteParams};
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};

const REGION: &str = "centralindia";
/// "A killed leader is replaced in <15 s": that is what it takes where there are processors for it. It is printed.
const TAKEOVER: Duration = Duration::from_secs(20);
/// Tag of the same operator under another name.
const OTHER_TAG: &str = "e2e-upgrade";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_lose_nothing_when_the_leader_or_the_api_server_dies_or_the_operator_is_upgraded() -> Result<()> {
    scenario::with("control", async |scenario| {
        scenario.serving(REGION, "{}").await?;
        let relays = scenario.relays(REGION).await?;
        let streams = [scenario.stream(&relays[0]).await?, scenario.stream(&relays[1]).await?];
        let mut checks = Checks::default();

        checks.check("a leader that is deleted by force is replaced in time", leader_deleted(&scenario)).await;
        checks.check("the calls go on", whole(&streams)).await;
        operator::settled(&scenario.client).await?;
        checks.check("a leader whose process is killed is replaced in time", leader_killed(&scenario)).await;
        checks.check("the calls go on after that", whole(&streams)).await;
        checks.check("the API server is killed and the operator finds it again", api_server_killed(&scenario)).await;
        checks.check("the calls go on without an API server", whole(&streams)).await;
        operator::settled(&scenario.client).await?;
        checks.check("an upgrade of the operator is rolled out, and back", upgraded(&scenario)).await;
        checks.check("the calls go on during the upgrade", whole(&streams)).await;
        checks.check("no relay has been exchanged or restarted", untouched(&scenario, &relays)).await;
        for stream in streams {
            checks.check("not one packet was lost from first to last", stream.end()).await;
        }
        checks.verdict()
    })
    .await
}

async fn whole(streams: &[Stream]) -> Result<()> {
    for stream in streams {
        stream.is_whole().await?;
    }
    Ok(())
}

async fn leader_deleted(scenario: &Scenario) -> Result<()> {
    let before = operator::holder(&scenario.client).await?;
    let pod = operator::pod_of(&before);
    let deleted =
        kubectl(&["-n", operator::NAMESPACE, "delete", "pod", pod, "--force", "--grace-period=0"], "").await?;
    ensure!(deleted.succeeded(), "{}", deleted.stderr);
    taken_over(scenario, &before).await?;
    acts(scenario).await
}

async fn taken_over(scenario: &Scenario, before: &str) -> Result<()> {
    let began = Instant::now();
    let now = operator::another_leads(&scenario.client, before, TAKEOVER).await?;
    tell(&format!("{now} leads instead of {before} after {:?}", began.elapsed()))
}

async fn leader_killed(scenario: &Scenario) -> Result<()> {
    let before = operator::kill_leader(&scenario.client).await?;
    taken_over(scenario, &before).await?;
    acts(scenario).await
}

async fn api_server_killed(scenario: &Scenario) -> Result<()> {
    let kill = ["component", "kill", "apiserver"];
    command::run(cluster::rtc_cluster(), &kill, Duration::from_secs(20)).await?;
    wait::api_server(&scenario.client).await?;
    acts(scenario).await
}

/// Whoever leads does its work: something that is deleted is made again.
async fn acts(scenario: &Scenario) -> Result<()> {
    let budgets = Api::<PodDisruptionBudget>::namespaced(scenario.client.clone(), &scenario.namespace);
    let before = budgets.get(REGION).await?.metadata.uid;
    budgets.delete(REGION, &DeleteParams::default()).await?;
    wait::until("a deleted PodDisruptionBudget is made again", Duration::from_mins(1), async || {
        let now = budgets.get_opt(REGION).await?.context("there is none")?.metadata.uid;
        ensure!(now != before, "the old one is still there");
        Ok(())
    })
    .await
}

async fn upgraded(scenario: &Scenario) -> Result<()> {
    let outcome = upgrade(scenario).await;
    // Also when only half of it went well: the next scenario needs the operator that was installed.
    let back = helm(&["rollback", "rtc-fleet", "--wait", "--timeout=2m"]).await;
    outcome?;
    back?;
    let image = image(scenario).await?;
    ensure!(!image.ends_with(OTHER_TAG), "after the rollback the operator still runs {image}");
    operator::settled(&scenario.client).await
}

async fn upgrade(scenario: &Scenario) -> Result<()> {
    images::retagged("operator", OTHER_TAG).await?;
    let chart = cluster::repository().join("charts/rtc-fleet");
    let chart = chart.to_str().context("a path is no text")?;
    let set = format!("image.tag={OTHER_TAG}");
    helm(&["upgrade", "rtc-fleet", chart, "--reuse-values", "--set", &set, "--wait", "--timeout=2m"]).await?;
    let image = image(scenario).await?;
    ensure!(image.ends_with(OTHER_TAG), "the operator runs {image}");
    operator::leader(&scenario.client).await?;
    acts(scenario).await
}

async fn helm(arguments: &[&str]) -> Result<()> {
    let kubeconfig = cluster::kubeconfig()?;
    let kubeconfig = kubeconfig.to_str().context("the path of the kubeconfig is no text")?;
    let all = [arguments, &["--namespace", operator::NAMESPACE, "--kubeconfig", kubeconfig]].concat();
    command::run(cluster::helm(), &all, Duration::from_secs(150)).await?;
    Ok(())
}

/// The image that the operator's leader runs.
async fn image(scenario: &Scenario) -> Result<String> {
    operator::settled(&scenario.client).await?;
    let pods = operator::pods(&scenario.client).await?;
    let images: BTreeSet<String> = pods
        .iter()
        .flat_map(|pod| pod.spec.iter().flat_map(|spec| &spec.containers))
        .filter_map(|one| one.image.clone())
        .collect();
    ensure!(images.len() == 1, "{images:?}");
    images.into_iter().next().context("no image")
}

async fn untouched(scenario: &Scenario, before: &[Relay]) -> Result<()> {
    let now = scenario.relays(REGION).await?;
    ensure!(now == before, "{now:#?} instead of {before:#?}");
    for relay in before {
        let status = scenario.pods().get(&relay.pod).await?.status.unwrap_or_default();
        let restarts: i32 = status.container_statuses.iter().flatten().map(|container| container.restart_count).sum();
        ensure!(restarts == 0, "{} was restarted {restarts} times", relay.pod);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_comes_back_and_ready_tells_the_truth_meanwhile() -> Result<()> {
    scenario::with("relay", async |scenario| {
        scenario.serving(REGION, "{}").await?;
        let victim = scenario.relay(REGION, 0).await?;
        let other = scenario.stream(&scenario.relay(REGION, 1).await?).await?;
        let mut checks = Checks::default();

        let ended = scenario.stream(&victim).await?;
        let killed = async {
            comes_back(&scenario, async || killed_twice(&victim.uid).await).await?;
            runs_again(&scenario, &victim).await
        };
        checks.check("a relay whose process is killed comes back, and Ready says so", killed).await;
        drop(ended);
        checks.check("a call through the other relay goes on", other.is_whole()).await;
        checks.check("the relay that came back serves", serves(&scenario)).await;

        let victim = scenario.relay(REGION, 0).await?;
        let ended = scenario.stream(&victim).await?;
        let deleted = comes_back(&scenario, async || {
            let arguments = ["-n", &scenario.namespace, "delete", "pod", &victim.pod, "--force", "--grace-period=0"];
            let deleted = kubectl(&arguments, "").await?;
            ensure!(deleted.succeeded(), "{}", deleted.stderr);
            Ok(())
        });
        checks.check("a relay whose pod is deleted by force comes back, and Ready says so", deleted).await;
        drop(ended);
        checks.check("the new relay is another pod, on the machine that was free", replaced(&scenario, &victim)).await;
        checks.check("the call through the other relay lost nothing", other.end()).await;
        checks.check("the new relay serves", serves(&scenario)).await;
        checks.verdict()
    })
    .await
}

/// A kubelet starts a process that has ended once within a second, which may be too short to be seen from anywhere. The
/// second time it waits.
async fn killed_twice(uid: &str) -> Result<()> {
    let first = processes::of_pod(uid);
    processes::kill(uid).await?;
    wait::until("the kubelet starts it again", RUNS_AGAIN_WITHIN, async || {
        let now = processes::of_pod(uid);
        let programs = |all: &[processes::Process]| all.iter().map(|one| one.program.clone()).collect::<Vec<_>>();
        ensure!(now != first && programs(&now) == programs(&first), "{now:?}");
        Ok(())
    })
    .await?;
    processes::kill(uid).await
}

/// 10 to 20 s after the second time.
const RUNS_AGAIN_WITHIN: Duration = Duration::from_mins(1);

async fn runs_again(scenario: &Scenario, relay: &Relay) -> Result<()> {
    wait::until("it has started for the third time, and serves", RUNS_AGAIN_WITHIN, async || {
        let status = scenario.pods().get(&relay.pod).await?.status.unwrap_or_default();
        let container = status.container_statuses.iter().flatten().next().context("no container")?;
        ensure!(container.restart_count >= 2 && container.ready, "{container:?}");
        Ok(())
    })
    .await?;
    scenario.ready(REGION).await.map(drop)
}

/// Breaks slot 0 and sees `Ready` turn false, with what is missing, and true again. The watch begins before the harm: the
/// time between may be short.
async fn comes_back(scenario: &Scenario, harm: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let regions = scenario.regions();
    let not_ready = wait::object(&regions, REGION, "Ready=False", Duration::from_secs(30), is_not_ready);
    let (seen, harmed) = tokio::join!(not_ready, harm());
    harmed?;
    let seen = seen?;
    let ready = wait::conditions(&seen).condition(condition::READY).context("no Ready")?;
    ensure!(ready.reason == "RelaysMissing", "{ready:?}");
    ensure!(ready.message.starts_with("1 of 2 relays serve; slot 0: "), "{}", ready.message);
    let counted = seen.status.as_ref().map(|status| status.ready_replicas);
    ensure!(counted == Some(1), "readyReplicas says {counted:?}");
    ensure!(wait::conditions(&seen).is_true(condition::RECONCILING), "Reconciling is not true meanwhile");
    let again = scenario.ready(REGION).await?.status.unwrap_or_default();
    ensure!((again.replicas, again.ready_replicas) == (2, 2), "{again:#?}");
    Ok(())
}

fn is_not_ready(region: &TurnRegion) -> bool {
    wait::conditions(region).condition(condition::READY).is_some_and(|ready| ready.status == "False")
}

async fn replaced(scenario: &Scenario, before: &Relay) -> Result<()> {
    let now = scenario.relay(REGION, 0).await?;
    ensure!(now.uid != before.uid && now.node == before.node, "{now:?} instead of {before:?}");
    Ok(())
}

async fn serves(scenario: &Scenario) -> Result<()> {
    scenario.stream(&scenario.relay(REGION, 0).await?).await?.end().await
}

/// A machine that is cut off goes on relaying, unseen. Kubernetes would call it not ready after 50 s, and make the pod
/// anew 30 s after that.
const REPLACED_WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_on_a_machine_that_is_cut_off_is_replaced_in_less_than_a_minute() -> Result<()> {
    scenario::with("machine", async |scenario| {
        let mut checks = Checks::default();
        scenario.serving(REGION, "{replicas: 1}").await?;
        let before = scenario.relay(REGION, 0).await?;
        let unplugged = Cut::node(&before.node).await?;
        let began = Instant::now();
        let replaced = wait::until("a relay on another machine serves", REPLACED_WITHIN, async || {
            let relays = scenario.relays(REGION).await?;
            let new = relays.iter().find(|relay| relay.node != before.node && !relay.node.is_empty());
            scenario.stream(new.context("none yet")?).await?.end().await
        });
        checks.note("another machine relays within a minute", began, replaced.await);
        unplugged.comes_back().await?;
        checks.check("one relay is left when the machine is back", one_is_left(&scenario)).await;
        checks.verdict()
    })
    .await
}

async fn one_is_left(scenario: &Scenario) -> Result<()> {
    let what = "one relay again";
    wait::object(&scenario.regions(), REGION, what, Duration::from_mins(3), |region: &TurnRegion| {
        region.status.as_ref().is_some_and(|status| (status.replicas, status.ready_replicas) == (1, 1))
            && wait::conditions(region).is_true(condition::READY)
    })
    .await?;
    Ok(())
}
