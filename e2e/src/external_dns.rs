//! external-dns, outside of the cluster: it takes the DNSEndpoints of a namespace to a name server, for as long as a scenario
//! needs it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Child;

use crate::{
    applied, cluster,
    command::{self, kubectl},
    dns::{DnsServers, ZONE},
    wait,
};

const ESTABLISHED_WITHIN: Duration = Duration::from_secs(20);
const METRICS: &str = "127.0.0.1:7979";

/// The kind `DNSEndpoint` as external-dns publishes it. Installed while `body` runs, whatever becomes of it. For the local
/// cluster: elsewhere it would be somebody's, with their objects.
pub async fn with_kind(body: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    ensure!(cluster::is_local(), "DNSEndpoint's CRD is installed and removed in the local cluster alone");
    let file = definition()?;
    applied::with(&fs::read_to_string(&file).with_context(|| file.display().to_string())?, async || {
        wait::until("DNSEndpoints are known", ESTABLISHED_WITHIN, async || {
            let listed = kubectl(&["get", "dnsendpoints.externaldns.k8s.io", "--all-namespaces"], "").await?;
            ensure!(listed.succeeded(), "{}", listed.stderr);
            Ok(())
        })
        .await?;
        body().await
    })
    .await
}

/// Beside the program that it was built with.
fn definition() -> Result<PathBuf> {
    let file = cluster::cache().context("no home folder")?.join("share/dnsendpoints.externaldns.k8s.io.yaml");
    file.exists().then_some(file).context("DNSEndpoint's CRD: get it with e2e/setup/go-program.sh external-dns")
}

/// Killed when it is dropped, also by a panic.
pub struct ExternalDns {
    process: Child,
    log: PathBuf,
}

impl ExternalDns {
    /// Looks every second, and at once when an object changes.
    pub fn start(namespace: &str, servers: &DnsServers) -> Result<Self> {
        let log_file = cluster::state().join("logs/external-dns.log");
        let log = File::create(&log_file).with_context(|| log_file.display().to_string())?;
        let SocketAddr::V4(primary) = servers.primary() else { bail!("an address of IPv4") };
        let program = cluster::external_dns();
        let process = command::beside(&program, &log)?
            .arg(format!("--kubeconfig={}", cluster::kubeconfig()?.display()))
            .args(["--source=crd", "--provider=rfc2136", "--registry=txt", "--txt-owner-id=e2e"])
            .args(["--managed-record-types=A", "--managed-record-types=AAAA"])
            .args(["--interval=1s", "--events", "--min-event-sync-interval=100ms", "--policy=sync"])
            .arg(format!("--namespace={namespace}"))
            .arg(format!("--domain-filter={ZONE}"))
            .arg(format!("--rfc2136-host={}", primary.ip()))
            .arg(format!("--rfc2136-port={}", primary.port()))
            .arg(format!("--rfc2136-zone={ZONE}"))
            .arg(format!("--rfc2136-tsig-keyname={}", servers.key_name()))
            .args(["--rfc2136-tsig-secret-alg=hmac-sha256", "--rfc2136-tsig-axfr", "--rfc2136-min-ttl=1s"])
            // An argument would be seen by everybody on this machine.
            .env("EXTERNAL_DNS_RFC2136_TSIG_SECRET", servers.secret())
            .arg(format!("--metrics-address={METRICS}"))
            .spawn()
            .with_context(|| format!("{}: build it with e2e/setup/go-program.sh external-dns", program.display()))?;
        Ok(Self { process, log: log_file })
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub async fn ends(mut self) -> Result<()> {
        self.process.kill().await.context("external-dns does not end")
    }
}
