//! Objects that the cluster has for as long as a scenario needs them.

use std::panic::AssertUnwindSafe;

use anyhow::{Result, anyhow, ensure};
use futures::FutureExt;

use crate::command::kubectl;

/// Applies a manifest, runs `body`, and deletes what was applied, whatever becomes of `body`.
pub async fn with(manifest: &str, body: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let outcome = AssertUnwindSafe(async {
        run(&["apply", "-f", "-"], manifest).await?;
        body().await
    })
    .catch_unwind()
    .await
    .unwrap_or_else(|_| Err(anyhow!("the scenario panicked: see above")));
    outcome.and(run(&["delete", "--ignore-not-found", "--wait=true", "-f", "-"], manifest).await)
}

async fn run(arguments: &[&str], manifest: &str) -> Result<()> {
    let done = kubectl(arguments, manifest).await?;
    ensure!(done.succeeded(), "kubectl {}: {}", arguments.join(" "), done.stderr);
    Ok(())
}
