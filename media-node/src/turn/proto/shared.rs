//! What the shards of one process have in common.
//!
//! Nothing here is touched per relayed packet, except one atomic read to know whether other terms are in force
//! (`terms.rs`), and one when both clients use this node (`PortMap::is_live`).
//!
//! # Reservations
//!
//! EVEN-PORT with the R bit keeps a port for 30 s for whoever brings the token (RFC 8656 section 7.2), and by
//! `SO_REUSEPORT` that may be another shard. So the reserved port has no socket meanwhile: its claim in the port map
//! keeps every shard off, it was bound and closed once to know that it can be, and the shard that gets the token opens
//! it. Another process of the machine could take it in between; then the token gets a 508, which clients must expect.
//! The reservation counts in the quotas until it is used or expires; its timer is the maker's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use super::alternates::Alternates;
use super::config::{Family, Quotas, ServerConfig};
use super::counters::{Refusal, ShardCounters, ShardSnapshot};
use super::credentials::Secrets;
use super::mobility::{Serial, TicketKey};
use super::moving::Mobile;
use super::nonce::NonceKey;
use super::ports::PortMap;
use super::post::Mailbox;
use super::server::ShardIndex;
use super::terms::Board;
use super::usernames::Usernames;

/// Shared by all shards and by whoever watches them: secrets, the drain, counts, counters.
#[derive(Debug)]
pub struct Shared {
    secrets: RwLock<Arc<Secrets>>,
    own_addresses: RwLock<Arc<[IpAddr]>>,
    /// While it drains: where new clients are sent.
    drain: RwLock<Option<Alternates>>,
    bandwidth_full: AtomicBool,
    memory_full: AtomicBool,
    counters: Box<[ShardCounters]>,
    usage: Mutex<Usage>,
    pub(super) terms: Board,
    reservations: Mutex<HashMap<[u8; 8], Reservation>>,
    usernames: Mutex<Usernames>,
    pub(super) ports: PortMap,
    pub(super) nonces: NonceKey,
    /// Where each mobile allocation is. Touched by Allocate and by a Refresh with a ticket of such allocations, and once
    /// by each that ends or moves.
    mobile: Mutex<HashMap<Serial, Mobile>>,
    mailboxes: Box<[Mailbox]>,
    pub(super) tickets: TicketKey,
}

/// What counts in the quotas: allocations and reservations.
#[derive(Debug, Default)]
struct Usage {
    total: u32,
    by_user: HashMap<Box<str>, u32>,
}

/// A port kept for whoever brings the token.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    pub(super) family: Family,
    pub(super) port: u16,
    pub(super) user: Box<str>,
    pub(super) until: Instant,
}

/// No code of ours panics with one of these locks held, and each value is whole after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// `shards` is the number of servers that will be made; `nonce_key` is random and new in every process.
    pub fn new(config: &ServerConfig, shards: u16, secrets: Secrets, nonce_key: [u8; 32]) -> Arc<Self> {
        Arc::new(Self {
            secrets: RwLock::new(Arc::new(secrets)),
            own_addresses: RwLock::default(),
            drain: RwLock::default(),
            bandwidth_full: AtomicBool::new(false),
            memory_full: AtomicBool::new(false),
            counters: (0..shards).map(|_| ShardCounters::default()).collect(),
            usage: Mutex::default(),
            terms: Board::new(config.terms.clone()),
            reservations: Mutex::default(),
            usernames: Mutex::default(),
            ports: PortMap::new(),
            nonces: NonceKey::new(nonce_key),
            mobile: Mutex::default(),
            mailboxes: (0..shards).map(|_| Mailbox::default()).collect(),
            tickets: TicketKey::derive(&nonce_key),
        })
    }

    /// Put others in force at once. Live allocations go on with the keys they were made with.
    pub fn set_secrets(&self, secrets: Secrets) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
    }

    pub(super) fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Further addresses of this machine (its interfaces), as they are now. Never peers, whatever the policy says. The relay
    /// addresses and their public forms need not be listed.
    pub fn set_own_addresses(&self, own: &[IpAddr]) {
        *self.own_addresses.write().unwrap_or_else(PoisonError::into_inner) = own.into();
    }

    pub(in crate::turn) fn own_addresses(&self) -> Arc<[IpAddr]> {
        Arc::clone(&self.own_addresses.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// While draining, new clients are sent to an alternate (300) or, without one of their family, refused (508);
    /// everything that lives goes on, and may be refreshed. None: it does not drain.
    pub fn set_drain(&self, drain: Option<Alternates>) {
        *self.drain.write().unwrap_or_else(PoisonError::into_inner) = drain;
    }

    pub(super) fn drain(&self) -> RwLockReadGuard<'_, Option<Alternates>> {
        self.drain.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node relays as much as it may, so new allocations are refused as while draining.
    pub fn set_bandwidth_full(&self, full: bool) {
        self.bandwidth_full.store(full, Ordering::Relaxed);
    }

    /// The process is near its memory limit, so new allocations are refused as while draining.
    pub fn set_memory_full(&self, full: bool) {
        self.memory_full.store(full, Ordering::Relaxed);
    }

    pub(super) fn is_memory_full(&self) -> bool {
        self.memory_full.load(Ordering::Relaxed)
    }

    /// For what reasons every new allocation can be refused, and whether it is now.
    pub fn reasons_to_refuse(&self) -> [(Refusal, bool); 3] {
        [
            (Refusal::Draining, self.drain().is_some()),
            (Refusal::Memory, self.memory_full.load(Ordering::Relaxed)),
            (Refusal::Bandwidth, self.bandwidth_full.load(Ordering::Relaxed)),
        ]
    }

    /// The first of these that holds.
    pub(in crate::turn) fn closed(&self) -> Option<Refusal> {
        self.reasons_to_refuse().into_iter().find_map(|(why, holds)| holds.then_some(why))
    }

    /// Relayed ports that are open now, of both families.
    pub fn live_ports(&self) -> u32 {
        self.ports.live()
    }

    /// Relayed ports that are open or reserved now, of both families.
    pub fn claimed_ports(&self) -> u32 {
        self.ports.claimed()
    }

    /// Users with an allocation or reservation.
    pub fn users(&self) -> usize {
        lock(&self.usage).by_user.len()
    }

    /// What counts in the quota of the node: allocations and reservations.
    pub fn admitted(&self) -> u32 {
        lock(&self.usage).total
    }

    /// The same without those of users whose names begin so. Never too few, also while some begin, end or move between shards:
    /// whoever ends the process waits for them.
    pub fn admitted_but_of(&self, users: &str) -> u32 {
        let usage = lock(&self.usage);
        let theirs = usage.by_user.iter().filter(|(user, _)| user.starts_with(users));
        usage.total - theirs.map(|(_, count)| count).sum::<u32>()
    }

    /// Ports kept for tokens that have not come yet.
    pub fn reservations(&self) -> usize {
        lock(&self.reservations).len()
    }

    /// How many servers there are.
    pub(super) fn shards(&self) -> usize {
        self.counters.len()
    }

    /// Allocations that can move.
    pub fn mobile_allocations(&self) -> usize {
        lock(&self.mobile).len()
    }

    /// The counters of one shard. Panics if there are not that many shards.
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

    /// Count one more allocation or reservation, if the quotas allow it.
    pub(super) fn admit(&self, user: &str, quotas: &Quotas) -> Result<(), Refusal> {
        let mut usage = lock(&self.usage);
        if usage.total >= quotas.total {
            return Err(Refusal::NodeQuota);
        }
        if usage.by_user.get(user).copied().unwrap_or(0) >= quotas.per_user {
            return Err(Refusal::UserQuota);
        }
        usage.total += 1;
        *usage.by_user.entry(user.into()).or_default() += 1;
        Ok(())
    }

    /// One that was admitted is gone.
    pub(super) fn leave(&self, user: &str) {
        let mut usage = lock(&self.usage);
        usage.total = usage.total.saturating_sub(1);
        if let Some(count) = usage.by_user.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                usage.by_user.remove(user);
            }
        }
    }

    pub(super) fn reserve(&self, token: [u8; 8], reservation: Reservation) {
        lock(&self.reservations).insert(token, reservation);
    }

    /// The reservation behind a token, if it is this user's and has not expired. It is the caller's then: its place in
    /// the quotas and its port.
    pub(super) fn take_reservation(&self, token: [u8; 8], user: &str, now: Instant) -> Option<Reservation> {
        let mut reservations = lock(&self.reservations);
        let found = reservations.get(&token)?;
        if *found.user != *user || found.until <= now {
            return None;
        }
        reservations.remove(&token)
    }

    /// End a reservation, if nobody took it.
    pub(super) fn expire_reservation(&self, token: [u8; 8]) {
        let gone = lock(&self.reservations).remove(&token);
        if let Some(Reservation { family, port, user, until: _ }) = gone {
            self.ports.release(family, port);
            self.leave(&user);
        }
    }

    pub(super) fn remember_username(&self, hash: [u8; 32], username: &str) {
        lock(&self.usernames).remember(hash, username);
    }

    pub(super) fn find_username(&self, hash: &[u8]) -> Option<Box<str>> {
        lock(&self.usernames).find(hash)
    }
    pub(super) fn remember_mobile(&self, serial: Serial, mobile: Mobile) {
        lock(&self.mobile).insert(serial, mobile);
    }

    pub(super) fn find_mobile(&self, serial: Serial) -> Option<Mobile> {
        lock(&self.mobile).get(&serial).cloned()
    }

    /// Which shard has the allocation, or is about to get it.
    pub(super) fn owner_of_mobile(&self, serial: Serial) -> Option<ShardIndex> {
        lock(&self.mobile).get(&serial).map(|mobile| mobile.owner)
    }

    pub(super) fn give_mobile(&self, serial: Serial, owner: ShardIndex) {
        if let Some(mobile) = lock(&self.mobile).get_mut(&serial) {
            mobile.owner = owner;
        }
    }

    pub(super) fn forget_mobile(&self, serial: Serial) {
        lock(&self.mobile).remove(&serial);
    }

    pub(super) fn mailbox(&self, shard: ShardIndex) -> &Mailbox {
        &self.mailboxes[usize::from(shard.0)]
    }
}
