//! Permissions of one allocation (RFC 8656 section 9). They expire by being compared with `now`; expired ones are
//! removed when room is needed, so that they need no timer and are still bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::config::Family;

/// There is no room for another permission or channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
pub(super) struct Permissions {
    until: HashMap<IpAddr, Instant, RandomState>,
}

impl Permissions {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { until: HashMap::with_hasher(hasher) }
    }

    pub(super) fn allow(&self, peer: IpAddr, now: Instant) -> bool {
        self.until.get(&peer).is_some_and(|until| now < *until)
    }

    /// All of them or, if there is no room, none.
    pub(super) fn install(
        &mut self,
        peers: &[IpAddr],
        now: Instant,
        lifetime: Duration,
        limit: usize,
    ) -> Result<(), Full> {
        let mut added: Vec<IpAddr> = peers.iter().copied().filter(|peer| !self.until.contains_key(peer)).collect();
        added.sort_unstable();
        added.dedup();
        if self.until.len() + added.len() > limit {
            self.until.retain(|peer, until| now < *until || peers.contains(peer));
            if self.until.len() + added.len() > limit {
                return Err(Full);
            }
        }
        for peer in peers {
            self.until.insert(*peer, now + lifetime);
        }
        Ok(())
    }

    /// Those to peers that are denied by now.
    pub(super) fn withdraw(&mut self, denied: impl Fn(IpAddr) -> bool) {
        self.until.retain(|peer, _| !denied(*peer));
    }

    /// A relayed address of a dual allocation has gone, and its permissions with it.
    pub(super) fn forget(&mut self, family: Family) {
        self.until.retain(|peer, _| Family::of(*peer) != family);
    }
}
