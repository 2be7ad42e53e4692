//! Callers that know a name, as browsers do.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use hickory_proto::rr::RecordType;

use super::question;
use crate::{
    scenario::{self, SECRET},
    turn::{Allocation, Credentials},
};

/// Who has found a relay. Dropping it leaves the allocation to expire; `allocation.end()` gives it back.
pub struct Caller {
    pub served_by: IpAddr,
    pub allocation: Allocation,
    /// From the first question to the allocation.
    pub took: Duration,
}

/// Asks the servers one after the other, as a resolver does, and allocates at the first address of the first answer. There is
/// no second try at another address.
pub async fn new_caller(servers: &[SocketAddr], name: &str) -> Result<Caller> {
    let began = Instant::now();
    let served_by = resolve(servers, name).await?;
    let relay = SocketAddr::new(served_by, scenario::PORT);
    let allocation = Allocation::new(relay, &credentials()?).await.with_context(|| format!("a caller of {name}"))?;
    Ok(Caller { served_by, allocation, took: began.elapsed() })
}

async fn resolve(servers: &[SocketAddr], name: &str) -> Result<IpAddr> {
    let mut last = anyhow!("{name}: no server is known");
    for server in servers {
        match question::addresses(*server, name, RecordType::A).await {
            Ok(told) => return told.first().copied().with_context(|| format!("{server} knows no address of {name}")),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A user of its own for each caller: the quota is by user.
fn credentials() -> Result<Credentials> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    Credentials::new(SECRET, &format!("caller-{}", NUMBER.fetch_add(1, Ordering::Relaxed)))
}
