//! The cluster under test: the one of `KUBECONFIG`, or the local one.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Longest silence of the API server in an answer: longer than the 290 s after which a watch ends by itself.
const SILENCE: Duration = Duration::from_secs(295);
/// Longest time until the first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(15);

/// A client as the cluster's administrator. Fails, and names the remedy, when there is no cluster.
pub async fn client() -> Result<Client> {
    let path = kubeconfig()?;
    let read = Kubeconfig::read_from(&path).with_context(|| format!("{}: no kubeconfig", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{}: no usable kubeconfig", path.display()))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(SILENCE);
    let client = Client::try_from(config)?;
    let silent = || {
        format!("{}: its API server does not answer: run `make up`, or point KUBECONFIG at a cluster", path.display())
    };
    tokio::time::timeout(FIRST_ANSWER, client.apiserver_version()).await.with_context(silent)?.with_context(silent)?;
    Ok(client)
}

/// The first file of `KUBECONFIG`, or the kubeconfig of the local cluster.
pub fn kubeconfig() -> Result<PathBuf> {
    if let Some(paths) = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
        return std::env::split_paths(&paths).next().context("KUBECONFIG names no file");
    }
    let local = state().join("kubeconfig");
    if !local.exists() {
        bail!("{}: not there: run `make up`, or point KUBECONFIG at a cluster", local.display());
    }
    Ok(local)
}

/// Whether the cluster is the local one, whose links, nodes and components a scenario may break.
pub fn is_local() -> bool {
    kubeconfig().is_ok_and(|path| path == state().join("kubeconfig"))
}

/// State folder of the local cluster: kubeconfig, audit log, programs.
pub fn state() -> PathBuf {
    std::env::var_os("RTC_CLUSTER_STATE").map_or_else(|| "/var/lib/rtc-cluster".into(), PathBuf::from)
}

/// The program that runs the local cluster and holds kubectl.
pub fn rtc_cluster() -> PathBuf {
    program("RTC_CLUSTER", "rtc-cluster")
}

/// The helm that is built beside the local cluster, or the one in PATH.
pub fn helm() -> PathBuf {
    program("HELM", "helm")
}

/// The metrics server that a scenario runs beside the cluster.
pub fn metrics_server() -> PathBuf {
    program("METRICS_SERVER", "metrics-server")
}

/// The external-dns that a scenario runs beside the cluster.
pub fn external_dns() -> PathBuf {
    program("EXTERNAL_DNS", "external-dns")
}

/// What the variable names, or else the program in the build cache of `make`, or else the one in PATH.
fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let built = cache().map(|cache| cache.join("bin").join(name));
    built.filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// The folder of what `make` builds and keeps outside of the repository. `None` without a home.
pub fn cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.map(|cache| cache.join("rtc-fleet"))
}

/// Root of the repository.
pub fn repository() -> PathBuf {
    let crate_folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().map_or(crate_folder.clone(), PathBuf::from)
}
