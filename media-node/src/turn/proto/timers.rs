//! When something expires. One entry for each allocation, reservation and expected client, so the set is as bounded as they
//! are.

use std::collections::BTreeSet;
use std::time::Instant;

use super::mobility::Serial;

/// What expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A relayed address of the allocation in this slot.
    Allocation(u32),
    /// A port kept for this token.
    Reservation([u8; 8]),
    /// What is known of a client that was to be heard on a path of this shard.
    Arrival(Serial),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
    /// The least of `due`, so that asking is O(1).
    next: Option<Instant>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.due.insert((at, timer));
        self.next = self.due.first().map(|(at, _)| *at);
    }

    pub(super) fn cancel(&mut self, at: Instant, timer: Timer) {
        self.due.remove(&(at, timer));
        self.next = self.due.first().map(|(at, _)| *at);
    }

    /// Take one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        if self.next? > now {
            return None;
        }
        let timer = self.due.pop_first().map(|(_, timer)| timer);
        self.next = self.due.first().map(|(at, _)| *at);
        timer
    }

    /// Take one, due or not.
    pub(super) fn pop_any(&mut self) -> Option<Timer> {
        let timer = self.due.pop_first().map(|(_, timer)| timer);
        self.next = self.due.first().map(|(at, _)| *at);
        timer
    }
}
