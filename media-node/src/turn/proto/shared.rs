//! What the shards of one process have in common.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::config::ServerConfig;
use super::counters::{ShardCounters, ShardSnapshot};
use super::credentials::Secrets;
use super::server::ShardIndex;

/// Shared by all shards and by whoever watches them: secrets, the draining flag, counts, counters.
#[derive(Debug)]
pub struct Shared {
    secrets: RwLock<Arc<Secrets>>,
    draining: AtomicBool,
    counters: Box<[ShardCounters]>,
}

impl Shared {
    /// `shards` is the number of servers that will be made; `nonce_key` is random and new in every process.
    pub fn new(_config: &ServerConfig, shards: u16, secrets: Secrets, nonce_key: [u8; 32]) -> Arc<Self> {
        let _ = nonce_key;
        Arc::new(Self {
            secrets: RwLock::new(Arc::new(secrets)),
            draining: AtomicBool::new(false),
            counters: (0..shards).map(|_| ShardCounters::default()).collect(),
        })
    }

    /// Put others in force at once. Live allocations go on with the keys they were made with.
    pub fn set_secrets(&self, secrets: Secrets) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
    }

    pub(super) fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// While draining, new allocations are refused (508); everything that lives goes on, and may be refreshed.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Allocations that live in the whole process.
    pub fn live_allocations(&self) -> u64 {
        self.totals().allocations
    }

    /// The counters of one shard.
    pub fn counters(&self, shard: ShardIndex) -> &ShardCounters {
        &self.counters[usize::from(shard.0)]
    }

    /// The counters of all shards together.
    pub fn totals(&self) -> ShardSnapshot {
        let mut sum = ShardSnapshot::default();
        for shard in &self.counters {
            sum += shard.snapshot();
        }
        sum
    }
}
