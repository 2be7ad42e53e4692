//! What the sockets of one thread count.

use std::sync::atomic::{AtomicU64, Ordering};

use super::streams::counters::StreamCounters;

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// The socket's or the device's queue is full.
    QueueFull,
    /// Larger than the path takes, with the DF bit.
    TooLarge,
    /// No route, or a firewall of this machine says no.
    Refused,
}

impl SendFailure {
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::TooLarge, Self::Refused];

    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
        }
    }
}

/// Only the thread itself writes, anyone reads: on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct IoCounters {
    relays_open: AtomicU64,
    relays_not_opened: AtomicU64,
    send_failures: [AtomicU64; SendFailure::ALL.len()],
    icmp_errors: AtomicU64,
    listener_overflows: AtomicU64,
    pub streams: StreamCounters,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

impl IoCounters {
    pub(super) fn relay_opened(&self) {
        add(&self.relays_open, 1);
    }
    pub(super) fn relay_closed(&self) {
        let open = self.relays_open.load(Ordering::Relaxed);
        self.relays_open.store(open.saturating_sub(1), Ordering::Relaxed);
    }
    pub(super) fn relay_not_opened(&self) {
        add(&self.relays_not_opened, 1);
    }
    pub(super) fn not_sent(&self, why: SendFailure, datagrams: usize) {
        add(&self.send_failures[why as usize], datagrams as u64);
    }
    pub(super) fn icmp_error(&self) {
        add(&self.icmp_errors, 1);
    }
    pub(super) fn set_listener_overflows(&self, datagrams: u64) {
        self.listener_overflows.store(datagrams, Ordering::Relaxed);
    }

    /// Relay sockets open now.
    pub fn relays_open(&self) -> u64 {
        self.relays_open.load(Ordering::Relaxed)
    }
    /// Relay sockets that could not be opened although their port was free.
    pub fn relays_not_opened(&self) -> u64 {
        self.relays_not_opened.load(Ordering::Relaxed)
    }
    /// Datagrams that were not sent.
    pub fn send_failures(&self, why: SendFailure) -> u64 {
        self.send_failures[why as usize].load(Ordering::Relaxed)
    }
    /// ICMP errors about what relay sockets had sent.
    pub fn icmp_errors(&self) -> u64 {
        self.icmp_errors.load(Ordering::Relaxed)
    }
    /// Datagrams from clients that came while a listener's buffer was full.
    pub fn listener_overflows(&self) -> u64 {
        self.listener_overflows.load(Ordering::Relaxed)
    }
}
