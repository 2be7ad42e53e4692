//! The terms on which clients are served. They may change while clients are there.
//!
//! Whoever changes them does it once, for all shards ([`Shared::set_terms`]). A shard notices by one atomic read a
//! datagram, and brings an allocation in line before it looks at the next datagram that has to do with it. So nothing that
//! arrives after a change is judged by what was before, no packet takes a lock, and no shard stands still to go through
//! all allocations that it has.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::allocation::Slot;
use super::config::{Limits, Quotas};
use super::pace::Pace;
use super::peer::{PeerPolicy, Standing, standing};
use super::server::Server;
use super::shared::Shared;
use super::strangers::Strangers;

/// On what terms clients are served.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    pub peers: PeerPolicy,
    /// A username that expires later than this from now is refused. Default 24 hours.
    pub max_credential_ttl: Duration,
    pub quotas: Quotas,
    pub limits: Limits,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            peers: PeerPolicy::default(),
            max_credential_ttl: Duration::from_hours(24),
            quotas: Quotas::default(),
            limits: Limits::default(),
        }
    }
}

/// Terms, and a number that no others of this process have.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    pub(super) number: u64,
    terms: Arc<Terms>,
}

impl Deref for InForce {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

/// Where shards find the terms in force. On cache lines of its own: it is read for every datagram, and others of
/// [`Shared`] are written for every request.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Board {
    number: AtomicU64,
    in_force: RwLock<InForce>,
}

impl Board {
    pub(super) fn new(terms: Terms) -> Self {
        let in_force = InForce { number: 0, terms: Arc::new(terms) };
        Self { number: AtomicU64::new(0), in_force: RwLock::new(in_force) }
    }

    fn set(&self, terms: Terms) {
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        *in_force = InForce { number: in_force.number + 1, terms: Arc::new(terms) };
        self.number.store(in_force.number, Ordering::Release);
    }

    pub(super) fn get(&self) -> InForce {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those in force, if they are not `known`.
    fn other_than(&self, known: u64) -> Option<InForce> {
        (self.number.load(Ordering::Acquire) != known).then(|| self.get())
    }
}

impl Shared {
    /// Puts others in force at once. No allocation ends by a lower quota; a peer that is denied is not relayed to, nor heard,
    /// whatever permissions and channels there are.
    pub fn set_terms(&self, terms: Terms) {
        self.terms.set(terms);
    }

    /// Those in force.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.get().terms
    }
}

impl Server {
    /// Before anything that arrived is looked at.
    pub(super) fn heed_terms(&mut self) {
        if let Some(newer) = self.shared.terms.other_than(self.terms.number) {
            self.take_terms(newer);
        }
    }

    #[cold]
    fn take_terms(&mut self, newer: InForce) {
        let [before, now] = [&self.terms, &newer].map(|one| one.limits.unauthenticated_per_prefix);
        if before != now {
            self.strangers = self.strangers_within(now);
        }
        self.terms = newer;
    }

    /// None: no limit.
    pub(super) fn strangers_within(&self, limit: u32) -> Option<Strangers> {
        NonZeroU32::new(limit).map(|limit| Strangers::new(limit, self.shared.shards(), self.hasher.clone()))
    }

    /// Before anything is done for an allocation, or relayed by it.
    pub(super) fn renew(&mut self, slot: Slot, now: Instant) {
        if self.allocations.get(slot).is_some_and(|allocation| allocation.terms != self.terms.number) {
            self.bring_in_line(slot, now);
        }
    }

    #[cold]
    fn bring_in_line(&mut self, slot: Slot, now: Instant) {
        let (own, terms) = (self.shared.own_addresses(), &self.terms);
        let Some(allocation) = self.allocations.get_mut(slot) else { return };
        let denied = |peer| standing(&self.config.relays, &terms.peers, &own, peer) == Standing::Forbidden;
        allocation.permissions.withdraw(denied);
        allocation.channels.close(denied, now);
        let limit = terms.quotas.bandwidth_per_allocation;
        if allocation.pace.as_ref().map(|pace| pace.bits_per_second()) != limit {
            allocation.pace = Pace::within(limit, now);
        }
        allocation.terms = self.terms.number;
    }
}
