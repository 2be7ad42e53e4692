//! Two regions as a newcomer applies them: what kubectl tells of them, what callers get, and how quiet they are.

use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    audit::Audit,
    checks::Checks,
    cluster,
    command::kubectl,
    images,
    judges::{
        Server, Transport, aioice,
        uclient::{self, EchoPeer},
    },
    operator,
    scenario::{self, METRICS_PORT, OUTSIDE, PORT, Scenario, machine_addresses},
    wait,
};
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};
use serde_json::{Value, json};

const REGIONS: [&str; 2] = ["centralindia", "southindia"];
/// "Ready=True on both in <30 s after images are there".
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a fleet is watched for writes.
const QUIET: Duration = Duration::from_mins(1);
const ECHO_PORT: u16 = 3490;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_regions_applied_with_kubectl_serve_callers_and_cause_no_writes() -> Result<()> {
    scenario::with("regions", async |scenario| {
        let mut checks = Checks::default();
        scenario.create_secret().await?;
        let began = Instant::now();
        apply(&scenario).await?;
        checks.note("`kubectl wait` sees both regions ready in less than 30 s", began, waited(&scenario).await);
        for region in REGIONS {
            scenario.ready(region).await?;
        }
        for region in REGIONS {
            checks.check(&format!("{region}: the status is true"), status_is_true(&scenario, region)).await;
            checks.check(&format!("{region}: GitOps tools take it for done"), is_current(&scenario, region)).await;
            let measured = capacities_are_looked_at(&scenario, region);
            checks
                .check(&format!("{region}: relays say that nobody knows what their machines can carry"), measured)
                .await;
        }
        checks.check("`kubectl get tr` tells what an SRE wants to know", columns(&scenario)).await;

        let quiet = Audit::begin()?;
        let began = Instant::now();
        callers(&scenario, &mut checks).await?;
        checks.check("the operator's metrics are as documented", operator_metrics(&scenario)).await;
        checks.check("each relay's metrics are as documented", relay_metrics(&scenario)).await;
        checks.check("`operator explain` tells decisions with their inputs, in a pod", explain_in_pod(&scenario)).await;
        checks.check("`operator explain` tells them on a laptop, too", explain_on_laptop(&scenario)).await;
        tokio::time::sleep(QUIET.saturating_sub(began.elapsed())).await;
        checks.note(
            "a steady fleet that serves callers causes no write in a minute",
            began,
            no_writes(&scenario, &quiet),
        );
        checks.verdict()
    })
    .await
}

/// The quick start's own files, in this scenario's namespace.
async fn apply(scenario: &Scenario) -> Result<()> {
    for region in REGIONS {
        let path = cluster::repository().join(format!("e2e/quickstart/turnregion-{region}.yaml"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = text.replace("namespace: rtc\n", &format!("namespace: {}\n", scenario.namespace));
        let applied = kubectl(&["apply", "-f", "-"], &text).await?;
        ensure!(applied.succeeded(), "{}", applied.stderr);
    }
    Ok(())
}

async fn waited(scenario: &Scenario) -> Result<()> {
    let timeout = format!("--timeout={}s", READY_WITHIN.as_secs());
    let [one, two] = REGIONS.map(|region| format!("turnregion/{region}"));
    let arguments = ["-n", &scenario.namespace, "wait", "--for=condition=Ready", &timeout, &one, &two];
    let finished = kubectl(&arguments, "").await?;
    ensure!(finished.succeeded(), "{}{}", finished.stdout, finished.stderr);
    Ok(())
}

async fn status_is_true(scenario: &Scenario, name: &str) -> Result<()> {
    let expected: Vec<String> =
        machine_addresses(&scenario.client, name).await?.iter().map(ToString::to_string).collect();
    let two = json!({"starting": 0, "active": 2, "draining": 0, "drained": 0, "unknown": 0});
    wait::until("a status as the cluster is", Duration::from_secs(10), async || {
        let status = scenario.regions().get(name).await?.status.unwrap_or_default();
        ensure!((status.replicas, status.ready_replicas) == (2, 2), "{status:#?}");
        ensure!(serde_json::to_value(status.nodes)? == two, "{:?}", status.nodes);
        ensure!(status.addresses == expected, "{:?}, and the machines have {expected:?}", status.addresses);
        let scaling = status.scaling.context("nothing about scaling")?;
        ensure!((scaling.desired, scaling.reason.as_str()) == (2, "Minimum"), "{scaling:?}");
        ensure!(scaling.limited_by.is_empty() && status.draining.is_empty(), "{scaling:?} {:?}", status.draining);
        let selector = status.selector.context("no selector")?;
        let chosen = kube::api::ListParams::default().labels(&selector);
        ensure!(scenario.pods().list(&chosen).await?.items.len() == 2, "{selector} does not choose the two pods");
        Ok(())
    })
    .await?;
    let machines: Vec<String> = scenario.relays(name).await?.into_iter().map(|relay| relay.node).collect();
    ensure!(machines[0] != machines[1], "both relays are on {}", machines[0]);
    Ok(())
}

/// As kstatus judges: observed, not reconciling, not stalled, ready.
async fn is_current(scenario: &Scenario, name: &str) -> Result<()> {
    let what = "observed, Ready, neither Reconciling nor Stalled";
    wait::object(&scenario.regions(), name, what, Duration::from_secs(10), kstatus_says_current).await?;
    Ok(())
}

/// The last that nodes say of themselves: they have to see the interface twice. A cable between two network namespaces
/// claims 10 Gbit/s whatever is true, and is not believed.
async fn capacities_are_looked_at(scenario: &Scenario, name: &str) -> Result<()> {
    let what = "CapacityUnknown for both slots";
    wait::object(&scenario.regions(), name, what, Duration::from_secs(30), |region: &TurnRegion| {
        let unknown = wait::conditions(region).condition(condition::CAPACITY_UNKNOWN);
        unknown.is_some_and(|unknown| unknown.message.contains("not known on slots 0, 1,"))
    })
    .await?;
    Ok(())
}

fn kstatus_says_current(region: &TurnRegion) -> bool {
    let observed = region.status.as_ref().and_then(|status| status.observed_generation);
    let conditions = wait::conditions(region);
    observed == region.metadata.generation
        && conditions.is_true(condition::READY)
        && [condition::RECONCILING, condition::STALLED].iter().all(|kind| conditions.condition(kind).is_none())
        && conditions.iter().all(|condition| condition.observed_generation == region.metadata.generation)
}

async fn columns(scenario: &Scenario) -> Result<()> {
    let told = kubectl(&["-n", &scenario.namespace, "get", "tr"], "").await?;
    // Without the last one, the age.
    let rows: Vec<Vec<&str>> = told.stdout.lines().map(|line| line.split_whitespace().take(6).collect()).collect();
    let row = |name| vec![name, name, "True", "2", "2", "Serving"];
    let header = vec!["NAME", "REGION", "READY", "DESIRED", "SERVING", "STATE"];
    ensure!(rows == [header, row(REGIONS[0]), row(REGIONS[1])], "{}", told.stdout);
    let wide = kubectl(&["-n", &scenario.namespace, "get", "tr", "-o", "wide"], "").await?;
    ensure!(wide.stdout.contains("2 of 2 relays serve") && wide.stdout.contains("10.200.0.11"), "{}", wide.stdout);
    Ok(())
}

/// aioice comes first: coturn's client leaves allocations behind, and a later client that happens to get the local port of
/// one is rightly refused (437).
async fn callers(scenario: &Scenario, checks: &mut Checks) -> Result<()> {
    for region in REGIONS {
        let address = SocketAddr::new(machine_addresses(&scenario.client, region).await?[0], PORT);
        aioice::judge(checks, region, &Server { address, transport: Transport::Udp }).await;
    }
    let echo = EchoPeer::start(&OUTSIDE, ECHO_PORT).await?;
    for region in REGIONS {
        let addresses = machine_addresses(&scenario.client, region).await?;
        uclient::judge(checks, region, &addresses, PORT, &Transport::Udp, &echo).await?;
    }
    Ok(())
}

async fn operator_metrics(scenario: &Scenario) -> Result<()> {
    let mut leaders = 0;
    for pod in operator::pods(&scenario.client).await? {
        let text = operator::metrics(&scenario.client, operator::NAMESPACE, &pod, 8080).await?;
        ensure!(text.contains("rtcfleet_operator_build_info{version="), "{text}");
        if !text.contains("\nrtcfleet_operator_leader 1\n") {
            ensure!(text.contains("\nrtcfleet_operator_leader 0\n"), "{text}");
            continue;
        }
        leaders += 1;
        for metric in [
            "rtcfleet_operator_reconcile_seconds_bucket{le=\"0.005\",kind=\"TurnRegion\"}",
            "rtcfleet_operator_reconcile_total{kind=\"TurnRegion\",result=\"ok\"}",
            "rtcfleet_operator_queue_depth{kind=\"TurnRegion\"}",
            "rtcfleet_operator_api_requests_total{verb=\"apply\",code=\"2xx\"}",
            "rtcfleet_operator_decisions_total{kind=\"create\",reason=\"Minimum\"}",
            "rtcfleet_operator_event_failures_total",
        ] {
            ensure!(text.contains(metric), "{metric} is missing in\n{text}");
        }
    }
    ensure!(leaders == 1, "{leaders} replicas say that they lead");
    Ok(())
}

async fn relay_metrics(scenario: &Scenario) -> Result<()> {
    for relay in scenario.relays(REGIONS[0]).await?.into_iter().chain(scenario.relays(REGIONS[1]).await?) {
        let pod = scenario.pods().get(&relay.pod).await?;
        let text = operator::metrics(&scenario.client, &scenario.namespace, &pod, METRICS_PORT).await?;
        for metric in [
            "rtcfleet_build_info{version=",
            "rtcfleet_turn_state{state=\"active\"} 1",
            "rtcfleet_turn_allocations{shard=\"0\"}",
            "rtcfleet_turn_relayed_bytes_total{shard=\"0\",direction=\"to_client\"}",
            "rtcfleet_turn_dropped_packets_total{reason=",
            "rtcfleet_turn_requests_total{method=\"allocate\",outcome=\"success\"}",
            "rtcfleet_turn_requests_total{method=\"allocate\",outcome=\"401\"}",
            "rtcfleet_turn_relay_ports_used{shard=\"0\"}",
            "process_resident_memory_bytes",
        ] {
            ensure!(text.contains(metric), "{}: {metric} is missing in\n{text}", relay.pod);
        }
        let relayed: f64 = text
            .lines()
            .filter(|line| line.starts_with("rtcfleet_turn_relayed_packets_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        ensure!(relayed > 100.0, "{}: {relayed} packets relayed, after the calls", relay.pod);
    }
    Ok(())
}

async fn explain_in_pod(scenario: &Scenario) -> Result<()> {
    let leader = operator::leader(&scenario.client).await?.metadata.name.context("a pod has a name")?;
    let target = format!("turnregion/{}", REGIONS[0]);
    let arguments = ["-n", operator::NAMESPACE, "exec", &leader, "--", "/operator", "explain", &target];
    let told = kubectl(&[&arguments[..], &["-n", &scenario.namespace]].concat(), "").await?;
    ensure!(told.succeeded(), "{}{}", told.stdout, told.stderr);
    for part in [
        format!("TurnRegion {}/{}\n", scenario.namespace, REGIONS[0]),
        "create slot 1: Minimum\n  slot 1 is made: 2 relays are wanted\n    desired: 2\n".to_owned(),
    ] {
        ensure!(told.stdout.contains(&part), "{part:?} is missing in\n{}", told.stdout);
    }
    Ok(())
}

async fn explain_on_laptop(scenario: &Scenario) -> Result<()> {
    let program = images::program("operator")?;
    let mut command = tokio::process::Command::new(program);
    command.args(["explain", "turnregion/southindia", "-n", &scenario.namespace, "-o", "json"]);
    command.env("KUBECONFIG", cluster::kubeconfig()?).stdin(Stdio::null()).kill_on_drop(true);
    let told = tokio::time::timeout(Duration::from_secs(20), command.output()).await.context("no end")??;
    ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let decisions: Vec<Value> = serde_json::from_slice(&told.stdout)?;
    let made = |slot: i32| {
        decisions.iter().any(|one| one["kind"] == "create" && one["slot"] == slot && one["inputs"]["desired"] == 2)
    };
    ensure!(made(0) && made(1), "{decisions:#?}");
    Ok(())
}

/// None in the regions' namespace, in the operator's own, or outside of namespaces. Other namespaces may still be going.
fn no_writes(scenario: &Scenario, audit: &Audit) -> Result<()> {
    let requests = audit.of_operator()?;
    ensure!(requests.renewals > 10, "the audit log tells of {} renewals of the lease only", requests.renewals);
    let quiet = ["", operator::NAMESPACE, &scenario.namespace];
    let writes: Vec<_> = requests.writes.iter().filter(|write| quiet.contains(&write.namespace.as_str())).collect();
    ensure!(writes.is_empty(), "{writes:#?}");
    Ok(())
}
