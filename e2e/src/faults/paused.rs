//! Pods whose process stands still, or is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};

use crate::{
    command,
    processes::{self, Process},
};

const LIMIT: Duration = Duration::from_secs(5);

/// A pod whose one process has stopped, as if its machine hung: its sockets are open, and nobody answers. It goes on when
/// this is dropped.
pub struct Paused {
    uid: String,
    process: Process,
}

impl Paused {
    pub async fn pod(pods: &Api<Pod>, name: &str) -> Result<Self> {
        let uid = uid(pods, name).await?;
        let mut found = processes::of_pod(&uid);
        ensure!(found.len() == 1, "pod {name} should have one process, and has {found:?}");
        let paused = Self { uid, process: found.remove(0) };
        command::run("kill", &["-STOP", &paused.process.id.to_string()], LIMIT)
            .await
            .with_context(|| format!("pod {name} cannot be paused"))?;
        Ok(paused)
    }

    pub fn goes_on(self) {}
}

impl Drop for Paused {
    fn drop(&mut self) {
        // The kubelet may have ended it meanwhile, and its number may be another's.
        if !processes::of_pod(&self.uid).contains(&self.process) {
            return;
        }
        let id = self.process.id.to_string();
        let outcome = std::process::Command::new("kill").args(["-CONT", &id]).output();
        if !outcome.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("{:?} still stands still: kill -CONT {id}: {outcome:?}", self.process);
        }
    }
}

/// Ends the one process of a pod by SIGKILL, as the kernel does when memory runs out.
pub async fn kill_pod(pods: &Api<Pod>, name: &str) -> Result<()> {
    processes::kill(&uid(pods, name).await?).await
}

async fn uid(pods: &Api<Pod>, name: &str) -> Result<String> {
    let pod = pods.get(name).await.with_context(|| format!("pod {name}"))?;
    pod.uid().with_context(|| format!("pod {name} has no uid"))
}
