//! One allocation (RFC 8656 section 6), and the table of them that a shard keeps.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use ahash::RandomState;

use super::auth::Live;
use super::channels::Channels;
use super::config::Family;
use super::counters::Outcome;
use super::credentials::Key;
use super::mobility::Mobility;
use super::pace::Pace;
use super::permissions::Permissions;
use super::server::{ClientPath, RelayId};

/// A relayed transport address of an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    /// The same port inside and outside of a NAT.
    pub(super) port: u16,
    pub(super) until: Instant,
}

/// What an Allocate request was answered, kept so that a retransmission is answered alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// IPv4 first.
    pub(super) relayed: [Option<SocketAddr>; 2],
    /// Seconds.
    pub(super) lifetime: u32,
    pub(super) token: Option<[u8; 8]>,
    /// Of a dual allocation: the family that could not be had, and why.
    pub(super) missing: Option<(Family, Outcome)>,
}

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) path: ClientPath,
    pub(super) username: Box<str>,
    /// Whom it counts for in the quotas.
    pub(super) user: Box<str>,
    pub(super) key: Key,
    /// Of the request that made it.
    pub(super) transaction: [u8; 12],
    pub(super) granted: Granted,
    pub(super) v4: Option<Relay>,
    pub(super) v6: Option<Relay>,
    /// The number of the terms that it is in line with.
    pub(super) terms: u64,
    /// None: it may relay as much as comes.
    pub(super) pace: Option<Box<Pace>>,
    pub(super) permissions: Permissions,
    pub(super) channels: Channels,
    /// Of a client that asked for it.
    pub(super) mobility: Option<Box<Mobility>>,
}

impl Allocation {
    pub(super) fn relay(&self, family: Family) -> Option<Relay> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    pub(super) fn relay_mut(&mut self, family: Family) -> &mut Option<Relay> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// The relay of this family, unless it has expired.
    pub(super) fn live(&self, family: Family, now: Instant) -> Option<Relay> {
        self.relay(family).filter(|relay| now < relay.until)
    }

    /// Whose requests are accepted.
    pub(super) fn owner(&self) -> Live<'_> {
        Live { username: &self.username, key: &self.key }
    }

    /// Whether its client has lost its connection, so that its path leads nowhere.
    pub(super) fn orphaned(&self) -> bool {
        self.mobility.as_ref().is_some_and(|mobility| mobility.orphaned)
    }

    /// When the next of its relayed addresses expires.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.v4, self.v6].into_iter().flatten().map(|relay| relay.until).min()
    }
}

/// The place of an allocation in the table. Reused after its end.
pub(super) type Slot = u32;

/// The allocations of a shard, by 5-tuple and by relay socket.
#[derive(Debug)]
pub(super) struct Allocations {
    by_path: HashMap<ClientPath, Slot, RandomState>,
    slots: Vec<Option<Box<Allocation>>>,
    free: Vec<Slot>,
    /// Indexed by relay id: the shell keeps those small.
    by_relay: Vec<Option<(Slot, Family)>>,
}

impl Allocations {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { by_path: HashMap::with_hasher(hasher), slots: Vec::new(), free: Vec::new(), by_relay: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn slot(&self, path: &ClientPath) -> Option<Slot> {
        self.by_path.get(path).copied()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Allocation> {
        self.slots.get(slot as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Allocation> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    pub(super) fn of_path(&self, path: &ClientPath) -> Option<&Allocation> {
        self.get(self.slot(path)?)
    }

    pub(super) fn of_relay(&self, relay: RelayId) -> Option<(Slot, Family)> {
        *self.by_relay.get(relay.0 as usize)?
    }

    pub(super) fn insert(&mut self, allocation: Box<Allocation>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot::try_from(self.slots.len() - 1).unwrap_or(Slot::MAX)
        });
        for (relay, family) in [(allocation.v4, Family::V4), (allocation.v6, Family::V6)] {
            if let Some(relay) = relay {
                let index = relay.id.0 as usize;
                if self.by_relay.len() <= index {
                    self.by_relay.resize(index + 1, None);
                }
                self.by_relay[index] = Some((slot, family));
            }
        }
        if !allocation.orphaned() {
            self.by_path.insert(allocation.path, slot);
        }
        self.slots[slot as usize] = Some(allocation);
        slot
    }

    /// The 5-tuple leads here no longer.
    pub(super) fn forget_path(&mut self, slot: Slot) {
        let path = self.get(slot).map(|allocation| allocation.path);
        if let Some(path) = path.filter(|path| self.slot(path) == Some(slot)) {
            self.by_path.remove(&path);
        }
    }

    /// Another 5-tuple, which leads nowhere yet, leads here instead.
    pub(super) fn repath(&mut self, slot: Slot, path: ClientPath) {
        self.forget_path(slot);
        if let Some(allocation) = self.get_mut(slot) {
            allocation.path = path;
            self.by_path.insert(path, slot);
        }
    }

    /// Forget a relay socket. The allocation keeps its place until [`remove`](Self::remove).
    pub(super) fn forget_relay(&mut self, relay: RelayId) {
        if let Some(owner) = self.by_relay.get_mut(relay.0 as usize) {
            *owner = None;
        }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Box<Allocation>> {
        self.forget_path(slot);
        let gone = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(gone)
    }
}
