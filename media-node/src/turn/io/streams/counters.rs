//! What connections count, per thread.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::turn::proto::Transport;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client has closed it.
    Client,
    /// It was reset, or could not be written to.
    Error,
    /// The client's machine has not answered for too long.
    Unreachable,
    /// Something else than TLS or TURN.
    NotTurn,
    /// A TLS handshake that failed, or TLS that broke later.
    Tls,
    /// No whole message came in time.
    NoMessage,
    /// No message for too long, without an allocation.
    Idle,
    /// Not even answers were read.
    SlowReader,
    /// The node ends its sessions.
    Drained,
}

impl Closed {
    pub const ALL: [Self; 9] = [
        Self::Client,
        Self::Error,
        Self::Unreachable,
        Self::NotTurn,
        Self::Tls,
        Self::NoMessage,
        Self::Idle,
        Self::SlowReader,
        Self::Drained,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Error => "error",
            Self::Unreachable => "unreachable",
            Self::NotTurn => "not_turn",
            Self::Tls => "tls",
            Self::NoMessage => "no_message",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::Drained => "drained",
        }
    }
}

/// Why a connection was closed as soon as it was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its source has as many without an allocation as it may.
    Source,
    /// The share of file descriptors that is for connections is used up.
    Descriptors,
    /// The process is near its memory limit.
    Memory,
}

impl Refused {
    pub const ALL: [Self; 3] = [Self::Source, Self::Descriptors, Self::Memory];

    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
        }
    }
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    Full,
    Resumed,
    Failed,
}

impl Handshake {
    pub const ALL: [Self; 3] = [Self::Full, Self::Resumed, Self::Failed];

    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
        }
    }
}

/// Transports that have connections, with their labels.
pub const TRANSPORTS: [(Transport, &str); 2] = [(Transport::Tcp, "tcp"), (Transport::Tls, "tls")];

/// Only the thread itself writes, anyone reads.
#[derive(Debug, Default)]
pub struct StreamCounters {
    accepted: AtomicU64,
    /// By [`TRANSPORTS`].
    open: [AtomicU64; TRANSPORTS.len()],
    closed: [AtomicU64; Closed::ALL.len()],
    refused: [AtomicU64; Refused::ALL.len()],
    handshakes: [AtomicU64; Handshake::ALL.len()],
    accept_pauses: AtomicU64,
    dropped: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl StreamCounters {
    fn place(transport: Transport) -> usize {
        usize::from(transport == Transport::Tls)
    }

    pub(super) fn accepted(&self, transport: Transport) {
        add(&self.accepted);
        self.opened(transport);
    }
    pub(super) fn opened(&self, transport: Transport) {
        add(&self.open[Self::place(transport)]);
    }
    pub(super) fn left(&self, transport: Transport) {
        let open = &self.open[Self::place(transport)];
        open.store(get(open).saturating_sub(1), Ordering::Relaxed);
    }
    pub(super) fn closed(&self, transport: Transport, why: Closed) {
        self.left(transport);
        add(&self.closed[why as usize]);
    }
    pub(super) fn refused(&self, why: Refused) {
        add(&self.refused[why as usize]);
    }
    pub(super) fn handshake(&self, how: Handshake) {
        add(&self.handshakes[how as usize]);
    }
    pub(super) fn accept_paused(&self) {
        add(&self.accept_pauses);
    }
    pub(super) fn dropped(&self) {
        add(&self.dropped);
    }

    /// Connections accepted.
    pub fn accepted_in_all(&self) -> u64 {
        get(&self.accepted)
    }
    /// Connections open now. One on a TLS listener counts as TLS until it shows that it is not.
    pub fn open(&self, transport: Transport) -> u64 {
        get(&self.open[Self::place(transport)])
    }
    /// Connections that have ended.
    pub fn ended(&self, why: Closed) -> u64 {
        get(&self.closed[why as usize])
    }
    /// Connections closed as soon as they were there.
    pub fn refusals(&self, why: Refused) -> u64 {
        get(&self.refused[why as usize])
    }
    /// TLS handshakes that have ended.
    pub fn handshakes(&self, how: Handshake) -> u64 {
        get(&self.handshakes[how as usize])
    }
    /// Times that no connection was accepted for a while because the machine had no room for one.
    pub fn accept_pauses(&self) -> u64 {
        get(&self.accept_pauses)
    }
    /// Messages with relayed data that were dropped because the client reads too slowly.
    pub fn drops(&self) -> u64 {
        get(&self.dropped)
    }
}
