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

/// Pods whose one process has stopped, as if their machines hung: sockets are open, and nobody answers. They go on when this
/// is dropped.
pub struct Paused(Vec<Stopped>);

struct Stopped {
    uid: String,
    process: Process,
}

impl Paused {
    /// All at one moment.
    pub async fn pods(pods: &Api<Pod>, names: &[String]) -> Result<Self> {
        let mut found = Vec::new();
        for name in names {
            let uid = uid(pods, name).await?;
            let mut processes = processes::of_pod(&uid);
            ensure!(processes.len() == 1, "pod {name} should have one process, and has {processes:?}");
            found.push(Stopped { uid, process: processes.remove(0) });
        }
        let paused = Self(found);
        let ids = paused.0.iter().map(|one| one.process.id.to_string());
        let arguments: Vec<String> = std::iter::once("-STOP".to_owned()).chain(ids).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command::run("kill", &arguments, LIMIT).await.with_context(|| format!("{names:?} cannot be paused"))?;
        Ok(paused)
    }

    pub fn go_on(self) {}
}

impl Drop for Paused {
    fn drop(&mut self) {
        // The kubelet may have ended one meanwhile, and its number may be another's.
        let there = self.0.iter().filter(|one| processes::of_pod(&one.uid).contains(&one.process));
        let ids: Vec<String> = there.map(|one| one.process.id.to_string()).collect();
        if ids.is_empty() {
            return;
        }
        let outcome = std::process::Command::new("kill").arg("-CONT").args(&ids).output();
        if !outcome.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("processes still stand still: kill -CONT {}: {outcome:?}", ids.join(" "));
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
