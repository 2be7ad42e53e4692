//! kwok, which says of pretended machines and their pods what kubelets would say.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use e2e::cluster;
use tokio::process::{Child, Command};

use crate::machines::LABEL;

/// Renewed after a quarter of this, and well within the cluster's grace (cluster.yaml).
const LEASE_SECONDS: u32 = 400;

/// Runs until dropped.
pub fn start(program: &Path) -> Result<Child> {
    let log = std::env::temp_dir().join("rtc-fleet-kwok.log");
    let log = File::create(&log).with_context(|| format!("{}", log.display()))?;
    Command::new(program)
        .arg(format!("--kubeconfig={}", cluster::kubeconfig()?.display()))
        .arg(format!("--manage-nodes-with-label-selector={LABEL}=true"))
        .arg(format!("--node-lease-duration-seconds={LEASE_SECONDS}"))
        .arg("--node-port=0")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} does not start", program.display()))
}
