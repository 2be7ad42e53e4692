//! aioice, an ICE library in Python: exchanges data through a relay, and is refused where it must be.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Server, python};
use crate::{
    checks::Checks,
    command,
    scenario::{OUTSIDE, SECRET},
};

/// A Service of the cluster, its pods, the cloud's metadata, the relay's own loopback, and multicast.
pub const DENIED: [&str; 5] = ["10.96.0.1", "10.201.10.2", "169.254.169.254", "127.0.0.1", "224.0.0.251"];

/// Notes a check for each thing that the client tries. Their names begin with `label`.
pub async fn judge(checks: &mut Checks, label: &str, server: &Server) {
    let began = Instant::now();
    let told = match run(server).await {
        Ok(told) => told,
        Err(error) => return checks.note(&format!("{label}: aioice runs"), began, Err(error)),
    };
    let whole = json!({"sent": 20, "there": 20, "back": 20});
    let denied: Value = DENIED.iter().map(|peer| ((*peer).to_owned(), json!(403))).collect();
    for (what, field, expected) in [
        ("allocates, permits and exchanges data", "exchange", whole.clone()),
        ("relays between two callers of one node", "betweenCallers", whole),
        ("is refused with 401 for a wrong password", "wrongPassword", json!(401)),
        ("is refused with 401 for an expired user name", "expiredUsername", json!(401)),
        ("is refused with 403 for each denied peer", "deniedPeers", denied),
    ] {
        let outcome = (|| {
            ensure!(told[field] == expected, "{} instead of {expected}", told[field]);
            Ok(())
        })();
        checks.note(&format!("{label}: aioice {what}"), began, outcome);
    }
}

async fn run(server: &Server) -> Result<Value> {
    let line = python("turn_client.py")?;
    let Server { address, transport } = server;
    let task = json!({
        "server": address.ip(), "port": address.port(), "transport": transport.text(), "authority": transport.authority(),
        "secret": SECRET, "peer": OUTSIDE[0], "denied": DENIED,
    });
    let finished = command::feed(&line[0], &line[1..], &task.to_string(), Duration::from_mins(1)).await?;
    ensure!(finished.succeeded(), "aioice ended with {:?}: {}", finished.code, finished.stderr);
    serde_json::from_str(&finished.stdout).with_context(|| finished.stdout.clone())
}
