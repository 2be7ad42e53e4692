//! Processes of pods, as the machine that holds the local cluster sees them.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::command;

/// A process that runs in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: u32,
    /// Its first argument, such as `/media-node`.
    pub program: String,
}

/// The processes in the pod with this uid, without the one that only holds its namespaces. None once the pod has ended.
pub fn of_pod(uid: &str) -> Vec<Process> {
    let cgroup = format!("pod{uid}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // A process that ends while it is looked at is none.
    let found = ids.filter_map(|id| {
        let groups = fs::read_to_string(format!("/proc/{id}/cgroup")).ok()?;
        let line = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let program = String::from_utf8_lossy(line.split(|byte| *byte == 0).next()?).into_owned();
        let counts = groups.contains(&cgroup) && !program.is_empty() && !program.ends_with("/pause");
        counts.then_some(Process { id, program })
    });
    found.collect()
}

/// Ends the one process of a pod by SIGKILL, as the kernel does when memory runs out.
pub async fn kill(uid: &str) -> Result<()> {
    let found = of_pod(uid);
    ensure!(found.len() == 1, "the pod with uid {uid} should have one process, and has {found:?}");
    let id = found[0].id.to_string();
    command::run("kill", &["-KILL", &id], Duration::from_secs(5)).await.context("the process cannot be killed")?;
    Ok(())
}
