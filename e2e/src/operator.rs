//! The operator in the cluster: its pods, who leads, its metrics.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::{Lease, LeaseSpec},
    core::v1::Pod,
};
use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::{processes, wait};

/// Namespace of the release.
pub const NAMESPACE: &str = "rtc-fleet-system";
/// Name of the Deployment, the Lease and the service account.
pub const NAME: &str = "rtc-fleet-operator";

/// A kubelet waits longer from one end of a process to the next, up to 5 minutes; and after an API server was away, machines
/// refuse connections to it until kube-proxy has found it again, for a minute and more.
const AGAIN_WITHIN: Duration = Duration::from_mins(6);

/// Fails, and names the remedy, unless every replica of the operator is available, and one of them leads.
pub async fn is_installed(client: &Client) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    let found = deployments.get_opt(NAME).await?;
    ensure!(found.is_some(), "no Deployment {NAME} in namespace {NAMESPACE}: run `make up`");
    settled(client).await?;
    leader(client).await.map(drop)
}

/// Waits until the present template of the operator runs in all replicas, and nothing else does.
pub async fn settled(client: &Client) -> Result<()> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    let what = "all replicas of the operator are up to date and available";
    wait::object(&deployments, NAME, what, AGAIN_WITHIN, is_rolled_out).await?;
    Ok(())
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation == deployment.metadata.generation
        && [status.replicas, status.updated_replicas, status.available_replicas] == [Some(wanted); 3]
}

/// Pods of the operator, also those that are ending.
pub async fn all_pods(client: &Client) -> Result<Vec<Pod>> {
    let chosen = ListParams::default().labels("app.kubernetes.io/component=operator,pod-template-hash");
    Ok(Api::<Pod>::namespaced(client.clone(), NAMESPACE).list(&chosen).await?.items)
}

/// Pods of the operator that are not ending.
pub async fn pods(client: &Client) -> Result<Vec<Pod>> {
    Ok(all_pods(client).await?.into_iter().filter(stays).collect())
}

fn stays(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

async fn lease(client: &Client) -> Result<LeaseSpec> {
    let lease = Api::<Lease>::namespaced(client.clone(), NAMESPACE).get(NAME).await?;
    lease.spec.context("an empty Lease")
}

fn holder_in(lease: LeaseSpec) -> Result<String> {
    let holder = lease.holder_identity.filter(|holder| !holder.is_empty());
    holder.context("nobody holds the operator's lease")
}

/// Who holds the lease, as the lease says it: a pod and a process in it.
pub async fn holder(client: &Client) -> Result<String> {
    holder_in(lease(client).await?)
}

/// The pod in what [`holder`] gives.
pub fn pod_of(holder: &str) -> &str {
    holder.split_once('_').map_or(holder, |(pod, _)| pod)
}

/// The pod that leads, once there is one that is seen to renew the lease, which takes up to 2.4 s, and that stays: a dead
/// process holds the lease, too, until it ends.
pub async fn leader(client: &Client) -> Result<Pod> {
    let mut first: Option<LeaseSpec> = None;
    wait::until("a replica of the operator leads", AGAIN_WITHIN, async || {
        let now = lease(client).await?;
        let before = first.take().filter(|first| first.holder_identity == now.holder_identity);
        let before = first.insert(before.unwrap_or_else(|| now.clone()));
        let renews = before.renew_time < now.renew_time;
        let holder = holder_in(now)?;
        ensure!(renews, "{holder} does not renew the lease");
        let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
        let pod = pods.get(pod_of(&holder)).await.with_context(|| format!("the holder {holder} of the lease"))?;
        ensure!(stays(&pod), "{holder} leads, and is ending");
        Ok(pod)
    })
    .await
}

/// Ends the process that leads by SIGKILL: nothing is released. Gives what it was called, for [`another_leads`].
pub async fn kill_leader(client: &Client) -> Result<String> {
    let uid = leader(client).await?.uid().context("a pod has a uid")?;
    let holder = holder(client).await?;
    processes::kill(&uid).await?;
    Ok(holder)
}

/// Waits until another process than `before` holds the lease, and gives what it is called.
pub async fn another_leads(client: &Client, before: &str, limit: Duration) -> Result<String> {
    wait::until("another replica leads", limit, async || {
        let now = holder(client).await?;
        ensure!(now != before, "{now} still holds the lease");
        Ok(now)
    })
    .await
}

/// The metrics of a pod, read through the API server.
pub async fn metrics(client: &Client, namespace: &str, pod: &Pod, port: u16) -> Result<String> {
    let pod = pod.name_any();
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
    let request = http::Request::get(path).body(Vec::new())?;
    client.request_text(request).await.with_context(|| format!("no metrics of {pod}"))
}
