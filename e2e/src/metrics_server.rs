//! What processors pods use, as the API of the cluster: the metrics server of Kubernetes, outside of the cluster, for as
//! long as a scenario needs it.

use std::{fs::File, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::process::Child;

use crate::{
    applied, cluster,
    command::{self, kubectl},
    wait,
};

/// Where the API server finds it: this machine, as the cluster sees it.
const ADDRESS: &str = "10.200.0.1";
const PORT: u16 = 4443;
/// It reads every kubelet twice before it has a rate.
const AVAILABLE_WITHIN: Duration = Duration::from_mins(2);

/// While the API is registered and its server is not there, Kubernetes deletes no namespace: both go together, whatever
/// becomes of `body`.
pub async fn with(body: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let mut server = start()?;
    let outcome = applied::with(&objects(), async || {
        wait::until("the metrics of machines are to be had", AVAILABLE_WITHIN, has_metrics).await?;
        body().await
    })
    .await;
    let stopped = server.kill().await.context("the metrics server does not end");
    outcome.and(stopped)
}

fn start() -> Result<Child> {
    let kubeconfig = cluster::kubeconfig()?;
    let kubeconfig = kubeconfig.display();
    let log = cluster::state().join("logs/metrics-server.log");
    let log = File::create(&log).with_context(|| format!("{}", log.display()))?;
    let certificates = cluster::state().join("pki");
    command::beside(cluster::metrics_server(), &log)?
        .arg(format!("--kubeconfig={kubeconfig}"))
        .arg(format!("--authentication-kubeconfig={kubeconfig}"))
        .arg(format!("--authorization-kubeconfig={kubeconfig}"))
        .arg(format!("--kubelet-certificate-authority={}", certificates.join("ca.crt").display()))
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg("--metric-resolution=10s")
        .arg("--kubelet-request-timeout=5s")
        .arg(format!("--bind-address={ADDRESS}"))
        .arg(format!("--secure-port={PORT}"))
        .arg(format!("--cert-dir={}", certificates.join("metrics-server").display()))
        .spawn()
        .with_context(|| {
            format!("{}: build it with e2e/setup/go-program.sh metrics-server", cluster::metrics_server().display())
        })
}

/// The Service without a selector has its one endpoint written down, because no pod is behind it.
fn objects() -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: metrics-server, namespace: kube-system}}
spec: {{ports: [{{name: https, port: 443, targetPort: {PORT}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: metrics-server, namespace: kube-system, labels: {{kubernetes.io/service-name: metrics-server}}}}
addressType: IPv4
ports: [{{name: https, port: {PORT}, protocol: TCP}}]
endpoints: [{{addresses: [{ADDRESS}], conditions: {{ready: true}}}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1beta1.metrics.k8s.io}}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {{name: metrics-server, namespace: kube-system}}
"
    )
}

async fn has_metrics() -> Result<()> {
    let answer = kubectl(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes"], "").await?;
    ensure!(answer.succeeded(), "{}", answer.stderr);
    ensure!(answer.stdout.contains("\"usage\""), "no node has any: {}", answer.stdout);
    Ok(())
}
