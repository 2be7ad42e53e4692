//! What the connections of all threads share.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rustls::ServerConfig;

use super::Limits;
use crate::turn::io::relays::Descriptors;

/// What the connections of all threads have in common.
#[derive(Debug)]
pub struct Common {
    /// File descriptors that connections may still take: half of all, so that they leave relay sockets the other half.
    pub(super) left: AtomicI64,
    pub(super) descriptors: Arc<Descriptors>,
    /// For TLS listeners.
    pub tls: Option<Arc<ServerConfig>>,
    pub limits: Limits,
}

impl Common {
    /// `count` is how many `descriptors` there are.
    pub fn new(descriptors: Arc<Descriptors>, count: u64, tls: Option<Arc<ServerConfig>>, limits: Limits) -> Self {
        Self { left: AtomicI64::new(i64::try_from(count / 2).unwrap_or(i64::MAX)), descriptors, tls, limits }
    }

    pub fn take(&self) -> bool {
        let taken = self.left.fetch_sub(1, Ordering::Relaxed) > 0;
        if !taken || !self.descriptors.take() {
            self.left.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    pub fn give_back(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
        self.descriptors.give_back();
    }
}
