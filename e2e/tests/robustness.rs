//! What people and machines do to a fleet besides applying YAML.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    checks::Checks,
    command::kubectl,
    operator,
    scenario::{self, SECRET_NAME, Scenario},
    wait,
};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{Api, ResourceExt, api::DeleteParams};
use rtcfleet_crds::{ConditionsExt, TurnRegion, condition};

const REGION: &str = "southindia";
/// The operator looks at a steady region every 20 s, and does not watch Secrets.
const LOOKS: Duration = Duration::from_secs(30);
const AUTH_SECRET_MISSING: &str = "AuthSecretMissing";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_comes_late_or_goes_is_followed_and_what_somebody_changes_is_put_back() -> Result<()> {
    scenario::with("robust", async |scenario| {
        let mut checks = Checks::default();
        scenario.create_region(REGION, "{}").await?;
        checks.check("a missing Secret is named, with the command that makes it", secret_missing(&scenario)).await;
        scenario.create_secret().await?;
        let late = async { scenario.ready(REGION).await.map(drop) };
        checks.check("the region serves when the Secret comes", late).await;

        let relays = scenario.relays(REGION).await?;
        let calls = [scenario.stream(&relays[0]).await?, scenario.stream(&relays[1]).await?];
        checks.check("an edited Deployment is put back", deployment_edited(&scenario)).await;
        for (kind, name) in children(&scenario).await? {
            let what = format!("a deleted {kind} is made again");
            checks.check(&what, deleted(&scenario, kind, &name)).await;
        }
        checks.check("a Secret that goes is told, and the relays stay ready", secret_goes(&scenario)).await;
        checks.check("a Secret that comes back ends the warning", secret_comes_back(&scenario)).await;
        let unchanged = async {
            ensure!(scenario.relays(REGION).await? == relays, "relays were exchanged");
            Ok(())
        };
        checks.check("all that has touched no relay", unchanged).await;
        for call in calls {
            checks.check("and has cost no packet of a call", call.end()).await;
        }
        checks.check("a deleted Deployment is made again", deployment_deleted(&scenario)).await;
        checks.verdict()
    })
    .await
}

async fn secret_missing(scenario: &Scenario) -> Result<()> {
    let region = wait::object(&scenario.regions(), REGION, "AuthSecretMissing", LOOKS, |region: &TurnRegion| {
        wait::conditions(region).is_true(AUTH_SECRET_MISSING)
    })
    .await?;
    let ready = wait::conditions(&region).condition(condition::READY).context("no Ready")?;
    ensure!((ready.status.as_str(), ready.reason.as_str()) == ("False", AUTH_SECRET_MISSING), "{ready:?}");
    let remedy = format!(
        "Secret {SECRET_NAME} does not exist: kubectl create secret generic {SECRET_NAME} --from-literal=current="
    );
    ensure!(ready.message.starts_with(&remedy), "{}", ready.message);
    Ok(())
}

async fn deployment_edited(scenario: &Scenario) -> Result<()> {
    let slot = format!("{REGION}-0");
    let edit = r#"{"metadata": {"labels": {"app.kubernetes.io/component": "x"}}, "spec": {"revisionHistoryLimit": 7, "progressDeadlineSeconds": 77}}"#;
    let arguments = ["-n", &scenario.namespace, "patch", "deployment", &slot, "--type=merge", "-p", edit];
    let patched = kubectl(&arguments, "").await?;
    ensure!(patched.succeeded(), "{}", patched.stderr);
    let put_back = |deployment: &Deployment| {
        deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit) == Some(1)
            && deployment.labels().get("app.kubernetes.io/component").is_some_and(|component| component == "turn")
    };
    let now = wait::object(&scenario.deployments(), &slot, "as the operator wants it", LOOKS, put_back).await?;
    let kept = now.spec.and_then(|spec| spec.progress_deadline_seconds);
    ensure!(kept == Some(77), "a field that the operator does not set became {kept:?}");
    Ok(())
}

/// Everything of the region besides its Deployments and the user's own Secret.
async fn children(scenario: &Scenario) -> Result<Vec<(&'static str, String)>> {
    let revision = scenario.regions().get(REGION).await?.status.and_then(|status| status.revision);
    let revision = revision.context("no revision")?;
    Ok(vec![
        ("poddisruptionbudget", REGION.to_owned()),
        ("configmap", format!("{REGION}-machines")),
        ("configmap", format!("{REGION}-turn-{revision}")),
        ("secret", format!("{REGION}-admin")),
    ])
}

async fn deleted(scenario: &Scenario, kind: &str, name: &str) -> Result<()> {
    let uid = async || {
        let arguments = ["-n", &scenario.namespace, "get", kind, name, "-o", "jsonpath={.metadata.uid}"];
        kubectl(&arguments, "").await
    };
    let before = uid().await?;
    ensure!(before.succeeded(), "{}", before.stderr);
    let deleted = kubectl(&["-n", &scenario.namespace, "delete", kind, name], "").await?;
    ensure!(deleted.succeeded(), "{}", deleted.stderr);
    wait::until("it is there again", LOOKS, async || {
        let now = uid().await?;
        ensure!(now.succeeded() && now.stdout != before.stdout, "{}{}", now.stdout, now.stderr);
        Ok(())
    })
    .await
}

async fn secret_goes(scenario: &Scenario) -> Result<()> {
    scenario.secrets().delete(SECRET_NAME, &DeleteParams::default()).await?;
    let region = wait::object(&scenario.regions(), REGION, "AuthSecretMissing", LOOKS, |region: &TurnRegion| {
        wait::conditions(region).is_true(AUTH_SECRET_MISSING)
    })
    .await?;
    ensure!(wait::conditions(&region).is_true(condition::READY), "{:?}", wait::conditions(&region));
    Ok(())
}

async fn secret_comes_back(scenario: &Scenario) -> Result<()> {
    scenario.create_secret().await?;
    wait::object(&scenario.regions(), REGION, "no AuthSecretMissing", LOOKS, |region: &TurnRegion| {
        wait::conditions(region).condition(AUTH_SECRET_MISSING).is_none()
    })
    .await?;
    Ok(())
}

async fn deployment_deleted(scenario: &Scenario) -> Result<()> {
    let before = scenario.relay(REGION, 1).await?;
    deleted(scenario, "deployment", &format!("{REGION}-1")).await?;
    let relay = scenario.successor(REGION, &before).await?;
    scenario.stream(&relay).await?.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_operators_that_start_at_once_one_leads() -> Result<()> {
    scenario::with("start", async |scenario| {
        let stopped = stop(&scenario).await;
        let started = replicas(2).await;
        stopped?;
        started?;
        operator::settled(&scenario.client).await?;
        wait::until("exactly one replica leads, the one in the lease", Duration::from_secs(30), async || {
            let pods = operator::pods(&scenario.client).await?;
            ensure!(pods.len() == 2, "{} pods", pods.len());
            let mut leaders = Vec::new();
            for pod in pods {
                let text = operator::metrics(&scenario.client, operator::NAMESPACE, &pod, 8080).await?;
                if text.contains("\nrtcfleet_operator_leader 1\n") {
                    leaders.push(pod.name_any());
                }
            }
            let holder = operator::holder(&scenario.client).await?;
            ensure!(leaders == [operator::pod_of(&holder)], "{leaders:?} lead, and the lease names {holder}");
            Ok(())
        })
        .await?;
        scenario.serving(REGION, "{replicas: 1}").await?;
        Ok(())
    })
    .await
}

/// No operator, and nobody in the lease: both new ones find the same.
async fn stop(scenario: &Scenario) -> Result<()> {
    replicas(0).await?;
    wait::until("no operator runs", Duration::from_mins(1), async || {
        let pods = operator::all_pods(&scenario.client).await?;
        ensure!(pods.is_empty(), "{} pods", pods.len());
        Ok(())
    })
    .await?;
    Api::<Lease>::namespaced(scenario.client.clone(), operator::NAMESPACE)
        .delete(operator::NAME, &DeleteParams::default())
        .await?;
    Ok(())
}

async fn replicas(count: u32) -> Result<()> {
    let replicas = format!("--replicas={count}");
    let scaled = kubectl(&["-n", operator::NAMESPACE, "scale", "deployment", operator::NAME, &replicas], "").await?;
    ensure!(scaled.succeeded(), "{}", scaled.stderr);
    Ok(())
}
