//! Allocations that come to another 5-tuple (RFC 8016), maybe to one of another shard.
//!
//! A client that has another address sends a Refresh with its ticket from there, and `SO_REUSEPORT` gives it to any
//! shard:
//!
//! 1. That shard finds the allocation's owner in `Shared`, authenticates the request against the credentials of the
//!    allocation, and only then sends it to the owner in a [letter](super::post).
//! 2. The owner refreshes the allocation, notes the next path, and sends the answer back. Nothing else changes: section
//!    3.2.2 wants the old path to be served until the client is heard on the new one.
//! 3. The client is heard there, by data or by another request. What it sends waits, and the owner is asked for the
//!    allocation.
//! 4. The owner takes it out of its tables, its relay sockets out of its epoll set, and sends all of it. Ports stay
//!    claimed, places in the quotas taken, and what peers send waits in the sockets. The new owner puts it into its
//!    tables, and then what waited is as if it arrived now.
//!
//! Within one shard the same happens without letters. Every letter can be lost (a mailbox is full, the allocation has
//! ended or moved on meanwhile) and nothing is held for its answer, except the one that carries an allocation: the owner
//! writes it only when there is room. The client asks again, or sends more data.

use std::sync::Arc;
use std::time::Instant;

use super::allocation::{Allocation, Slot};
use super::arrivals::{Arrival, Waiting};
use super::config::Family;
use super::counters::{Drop, Move};
use super::mobility::{Mobility, Next, ORPHANED, Serial};
use super::post::{Handed, Letter, Mail};
use super::server::{ClientPath, Now, Reaction, RelayPorts, Server, ToPeer};
use super::timers::Timer;

/// What to do with a datagram of a path without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstHeard {
    /// Nobody is expected there.
    No,
    /// The path has an allocation now.
    Here,
    /// It waits for the allocation, or was dropped and counted.
    Fetching,
}

impl Server {
    /// Keep the allocation of a connection that is closed, if it can move. `false`: there is no such allocation.
    pub(super) fn orphan(&mut self, now: Now, relays: &mut impl RelayPorts, path: &ClientPath) -> bool {
        if let Some(arrival) = self.forget_arrival(path) {
            match self.shared.owner_of_mobile(arrival.serial) {
                Some(owner) if owner != self.shard => {
                    let (serial, path) = (arrival.serial, *path);
                    self.write_to(owner, || Some(Letter::Unexpected { serial, path }));
                }
                Some(_) | None => self.unexpected(arrival.serial, path),
            }
        }
        let Some(slot) = self.allocations.slot(path) else { return false };
        self.expire(slot, now.instant, relays);
        let Some(mobility) = self.mobility_mut(slot) else { return false };
        mobility.orphaned = true;
        let next = mobility.next;
        self.allocations.forget_path(slot);
        match next {
            // Section 3.2.2: the end of the old connection is as good as data on the new one.
            Some(next) => self.arrive(relays, slot, next),
            None => self.abandon(slot, now.instant),
        }
        true
    }

    pub(super) fn end_mobility(&mut self, gone: &Allocation) {
        let Some(mobility) = &gone.mobility else { return };
        self.mobile.remove(&mobility.serial);
        self.shared.forget_mobile(mobility.serial);
        self.forget_arrival_of(mobility.serial);
        self.call_off(mobility.serial, mobility.next);
    }

    /// Its client is not expected there any more.
    pub(super) fn call_off(&mut self, serial: Serial, next: Option<Next>) {
        if let Some(Next { path, shard }) = next.filter(|next| next.shard != self.shard) {
            self.write_to(shard, || Some(Letter::Elsewhere { serial, path }));
        }
    }

    /// Data of a client, which may be the first on its new path.
    pub(super) fn data<'s, 'i>(
        &'s mut self,
        now: Now,
        path: &ClientPath,
        bytes: &[u8],
        relayed: impl Fn(&mut Self) -> Result<ToPeer<'i>, Drop>,
    ) -> Reaction<'s, 'i> {
        let mut result = relayed(self);
        if result == Err(Drop::NoAllocation) {
            match self.first_heard(now, path, bytes) {
                FirstHeard::No => {}
                FirstHeard::Here => result = relayed(self),
                FirstHeard::Fetching => return Reaction::None,
            }
        }
        self.count_to_peer(result)
    }

    /// If the client of an allocation is expected on this path: here it is.
    pub(super) fn first_heard(&mut self, now: Now, path: &ClientPath, bytes: &[u8]) -> FirstHeard {
        if self.arrivals.is_empty() || self.allocations.slot(path).is_some() {
            return FirstHeard::No;
        }
        let Some(arrival) = self.arrivals.get_mut(path) else { return FirstHeard::No };
        let serial = arrival.serial;
        if let Some(slot) = self.mobile.get(&serial).copied() {
            self.forget_arrival(path);
            let next = self.mobility_mut(slot).and_then(|mobility| mobility.next);
            if next.is_none_or(|next| next.path != *path) {
                return FirstHeard::No;
            }
            self.repath(slot, *path);
            return FirstHeard::Here;
        }
        let waits = arrival.wait(bytes);
        if arrival.ask(now.instant) {
            let Some(owner) = self.shared.owner_of_mobile(serial) else {
                self.forget_arrival(path);
                return FirstHeard::No;
            };
            let next = Next { path: *path, shard: self.shard };
            self.write_to(owner, || Some(Letter::Fetch { serial, next }));
        }
        if !waits {
            self.counters().dropped(Drop::HandoverFull);
        }
        FirstHeard::Fetching
    }

    pub(super) fn fetched(&mut self, now: Now, relays: &mut impl RelayPorts, serial: Serial, next: Next) {
        let Some(slot) = self.live_mobile(now, relays, serial) else { return };
        if self.next_at(slot, &next.path) == Some(next) {
            self.arrive(relays, slot, next);
        } else {
            self.call_off(serial, Some(next));
        }
    }

    /// A client that was expected on `path` has gone elsewhere. Whoever sends from there now is somebody else, or begins
    /// anew.
    pub(super) fn elsewhere(&mut self, serial: Serial, path: ClientPath) {
        if self.arrivals.get_mut(&path).is_none_or(|arrival| arrival.serial != serial) {
            return;
        }
        let waiting = self.forget_arrival(&path).map(|arrival| arrival.waiting).unwrap_or_default();
        self.post.read.extend(waiting.into_iter().map(|Waiting(bytes)| Mail::Heard { path, bytes }));
    }

    /// A path that was announced has gone.
    pub(super) fn unexpected(&mut self, serial: Serial, path: &ClientPath) {
        let Some(slot) = self.mobile.get(&serial).copied() else { return };
        if self.next_at(slot, path).is_some()
            && let Some(mobility) = self.mobility_mut(slot)
        {
            mobility.next = None;
        }
    }

    /// The client is at `next` from now on. If it cannot be sent there, it stays: the client will be heard again.
    pub(super) fn arrive(&mut self, relays: &mut impl RelayPorts, slot: Slot, next: Next) {
        if next.shard == self.shard {
            if self.allocations.slot(&next.path).is_none() {
                self.repath(slot, next.path);
            }
            return;
        }
        let shared = Arc::clone(&self.shared);
        let sent = shared.mailbox(next.shard).put(|| self.take_out(relays, slot, next));
        if sent {
            self.wake(next.shard);
        } else {
            self.counters().dropped(Drop::HandoverFull);
        }
    }

    /// Within this shard.
    fn repath(&mut self, slot: Slot, path: ClientPath) {
        self.allocations.repath(slot, path);
        if let Some(mobility) = self.mobility_mut(slot) {
            mobility.arrive();
            let serial = mobility.serial;
            self.forget_arrival_of(serial);
        }
        self.counters().moved(Move::Within);
    }

    fn take_out(&mut self, relays: &mut impl RelayPorts, slot: Slot, next: Next) -> Option<Letter> {
        if let Some(due) = self.allocations.get(slot)?.due() {
            self.timers.cancel(due, Timer::Allocation(slot));
        }
        let allocation = self.allocations.remove(slot)?;
        let parcels = [allocation.v4, allocation.v6].map(|relay| {
            let id = relay?.id;
            self.allocations.forget_relay(id);
            Some(relays.detach(id))
        });
        if let Some(mobility) = &allocation.mobility {
            self.mobile.remove(&mobility.serial);
            self.shared.give_mobile(mobility.serial, next.shard);
        }
        self.count_allocations();
        let closings = self.post.closings;
        Some(Letter::Allocation(Box::new(Handed { allocation, parcels, path: next.path, closings })))
    }

    /// Where it is now. It is orphaned if its client cannot be reached on the path that it came for.
    pub(super) fn install(&mut self, relays: &mut impl RelayPorts, handed: Handed) -> Slot {
        let Handed { mut allocation, parcels, path, closings } = handed;
        for (family, parcel) in [Family::V4, Family::V6].into_iter().zip(parcels) {
            let Some(attached) = parcel.map(|parcel| relays.attach(parcel)) else { continue };
            match (attached, allocation.relay_mut(family)) {
                (Ok(id), Some(relay)) => relay.id = id,
                (Ok(id), None) => relays.close(id),
                (Err(_), relay) => {
                    if let Some(lost) = relay.take() {
                        self.shared.ports.release(family, lost.port);
                    }
                    allocation.permissions.forget(family);
                    allocation.channels.forget(family);
                }
            }
        }
        let serial = allocation.mobility.as_ref().map(|mobility| mobility.serial);
        // On another path it was expected before: what waits there may be somebody else's.
        let expected_there = self.arrivals.get_mut(&path).is_some_and(|arrival| Some(arrival.serial) == serial);
        let arrival = serial.and_then(|serial| self.forget_arrival_of(serial)).filter(|_| expected_there);
        // A connection that has ended meanwhile is not expected any more.
        let there = arrival.is_some() || !path.transport.is_stream();
        let reachable = there && self.allocations.slot(&path).is_none();
        allocation.path = path;
        if let Some(mobility) = &mut allocation.mobility {
            mobility.arrive();
            mobility.orphaned = !reachable;
        }
        let slot = self.allocations.insert(allocation);
        self.mobile.extend(serial.map(|serial| (serial, slot)));
        self.settle(slot);
        self.counters().moved(Move::Between);
        self.count_allocations();
        if closings < self.post.closings {
            self.end(slot, relays);
        }
        let waiting = arrival.map(|arrival| arrival.waiting).unwrap_or_default();
        self.post.read.extend(waiting.into_iter().map(|Waiting(bytes)| Mail::Heard { path, bytes }));
        slot
    }

    /// Everything is being closed: so is what is on its way here.
    pub(super) fn close_post(&mut self, relays: &mut impl RelayPorts) {
        self.post.closings += 1;
        while let Some(letter) = self.shared.mailbox(self.shard).take() {
            if let Letter::Allocation(handed) = letter {
                self.install(relays, *handed);
            }
        }
    }

    /// An allocation whose client has no path.
    pub(super) fn abandon(&mut self, slot: Slot, now: Instant) {
        for family in [Family::V4, Family::V6] {
            let relay = self.allocations.get(slot).and_then(|allocation| allocation.relay(family));
            if let Some(relay) = relay {
                self.prolong(slot, &[family], relay.until.min(now + ORPHANED));
            }
        }
    }

    /// The allocation, if it is here and has not expired.
    pub(super) fn live_mobile(&mut self, now: Now, relays: &mut impl RelayPorts, serial: Serial) -> Option<Slot> {
        let slot = *self.mobile.get(&serial)?;
        self.expire(slot, now.instant, relays);
        self.mobile.get(&serial).copied()
    }

    pub(super) fn mobility_mut(&mut self, slot: Slot) -> Option<&mut Mobility> {
        self.allocations.get_mut(slot)?.mobility.as_deref_mut()
    }

    /// Where its client is expected, if that is `path`.
    pub(super) fn next_at(&self, slot: Slot, path: &ClientPath) -> Option<Next> {
        self.allocations.get(slot)?.mobility.as_ref()?.next.filter(|next| next.path == *path)
    }

    pub(super) fn remember_arrival(&mut self, path: ClientPath, arrival: Arrival) {
        self.forget_arrival(&path);
        self.forget_arrival_of(arrival.serial);
        // There cannot be more allocations: the rest are of some that have ended, and the letter that said so was lost.
        if self.arrivals.len() >= self.terms.quotas.total as usize {
            return;
        }
        self.timers.set(arrival.until, Timer::Arrival(arrival.serial));
        self.arrivals.insert(path, arrival);
    }

    pub(super) fn forget_arrival(&mut self, path: &ClientPath) -> Option<Arrival> {
        let gone = self.arrivals.remove(path)?;
        self.timers.cancel(gone.until, Timer::Arrival(gone.serial));
        Some(gone)
    }

    pub(super) fn forget_arrival_of(&mut self, serial: Serial) -> Option<Arrival> {
        let gone = self.arrivals.remove_of(serial)?;
        self.timers.cancel(gone.until, Timer::Arrival(serial));
        Some(gone)
    }
}
