//! What a shard counts. Every label is an enum, so that metrics stay bounded.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            pub const COUNT: usize = Self::ALL.len();

            /// The label that metrics carry.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

labels! {
    /// Why a packet went no further. Nothing was answered.
    Drop {
        /// From a client: neither STUN nor channel data, or broken (RFC 8489 section 6.3).
        Malformed = "malformed",
        /// From a client: a FINGERPRINT that does not match.
        Fingerprint = "fingerprint",
        /// From a client: a method or class that a TURN server has no answer to.
        NotForUs = "not_for_us",
        /// From a client: the answer would have been more than three times the request, and nobody is authenticated.
        Amplification = "amplification",
        /// From a client: an answer would have been one too many for its network, and its address may be forged.
        RateLimited = "rate_limited",
        /// From a client: data without an allocation.
        NoAllocation = "no_allocation",
        /// From a client: channel data on a channel that is not bound.
        NoChannel = "no_channel",
        /// Data to or from a peer without a permission.
        NoPermission = "no_permission",
        /// Data to or from an address of the node that is no live relayed port.
        OwnAddress = "own_address",
        /// Data to a peer of a family that the allocation has no relay for.
        Family = "family",
        /// Data above what the allocation may relay in this direction.
        Bandwidth = "bandwidth",
        /// From a peer: more than fits into one datagram with its header.
        TooLarge = "too_large",
        /// From a peer: a relay socket that belongs to no live allocation.
        NoRelay = "no_relay",
        /// To a client that has lost its connection and not come back with its ticket yet.
        ClientGone = "client_gone",
        /// From a client that moves between threads: more of it than can wait, or a mailbox is full.
        HandoverFull = "handover_full",
    }
}

labels! {
    /// Requests that are answered (RFC 8489 section 18.2, RFC 8656 section 17).
    Method {
        Binding = "binding",
        Allocate = "allocate",
        Refresh = "refresh",
        CreatePermission = "create_permission",
        ChannelBind = "channel_bind",
    }
}

labels! {
    /// How a request was answered.
    Outcome {
        Success = "success",
        TryAlternate = "300",
        BadRequest = "400",
        Unauthenticated = "401",
        Forbidden = "403",
        MobilityForbidden = "405",
        UnknownAttribute = "420",
        AllocationMismatch = "437",
        StaleNonce = "438",
        AddressFamilyNotSupported = "440",
        WrongCredentials = "441",
        UnsupportedTransport = "442",
        PeerAddressFamilyMismatch = "443",
        AllocationQuotaReached = "486",
        InsufficientCapacity = "508",
    }
}

labels! {
    /// Why somebody who is authenticated got a 486 or a 508.
    Refusal {
        /// The user has as many allocations as it may have: 486, all others are 508.
        UserQuota = "user_quota",
        NodeQuota = "node_quota",
        /// The node relays as much as it may.
        Bandwidth = "bandwidth",
        /// The process is near its memory limit.
        Memory = "memory",
        Draining = "draining",
        /// No relayed port is free.
        Ports = "ports",
        /// The process has as many files open as it may have.
        Descriptors = "descriptors",
        /// The kernel refuses a socket for another reason: the relay address is gone, or memory is.
        Sockets = "sockets",
        /// A token that is not known, not this user's, or expired.
        Reservation = "reservation",
        /// The allocation has permissions for as many peers as it may have.
        Permissions = "permissions",
        /// The allocation has as many channels as it may have.
        Channels = "channels",
    }
}

impl Refusal {
    fn outcome(self) -> Outcome {
        if self == Self::UserQuota { Outcome::AllocationQuotaReached } else { Outcome::InsufficientCapacity }
    }
}

impl Outcome {
    /// The error code (RFC 8489 section 14.8, RFC 8656 section 19, RFC 8016 section 5); 0 for success.
    pub fn code(self) -> u16 {
        match self {
            Self::Success => 0,
            Self::TryAlternate => 300,
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::MobilityForbidden => 405,
            Self::UnknownAttribute => 420,
            Self::AllocationMismatch => 437,
            Self::StaleNonce => 438,
            Self::AddressFamilyNotSupported => 440,
            Self::WrongCredentials => 441,
            Self::UnsupportedTransport => 442,
            Self::PeerAddressFamilyMismatch => 443,
            Self::AllocationQuotaReached => 486,
            Self::InsufficientCapacity => 508,
        }
    }
}

labels! {
    /// How an allocation came to another 5-tuple (RFC 8016).
    Move {
        /// Both belong to the same shard.
        Within = "within",
        /// It went from one shard to another.
        Between = "between",
    }
}

/// The counters of one shard. Only that shard's thread writes them, anyone may read them: plain loads and stores, on
/// cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardCounters {
    allocations: AtomicU64,
    packets_to_peers: AtomicU64,
    bytes_to_peers: AtomicU64,
    packets_to_clients: AtomicU64,
    bytes_to_clients: AtomicU64,
    drops: [AtomicU64; Drop::COUNT],
    requests: [[AtomicU64; Outcome::COUNT]; Method::COUNT],
    refusals: [AtomicU64; Refusal::COUNT],
    moves: [AtomicU64; Move::COUNT],
}

impl Default for ShardCounters {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            allocations: zero(),
            packets_to_peers: zero(),
            bytes_to_peers: zero(),
            packets_to_clients: zero(),
            bytes_to_clients: zero(),
            drops: std::array::from_fn(|_| zero()),
            requests: std::array::from_fn(|_| std::array::from_fn(|_| zero())),
            refusals: std::array::from_fn(|_| zero()),
            moves: std::array::from_fn(|_| zero()),
        }
    }
}

/// The counters at one moment. Bytes are payload bytes, without any header of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSnapshot {
    /// Live now.
    pub allocations: u64,
    pub packets_to_peers: u64,
    pub bytes_to_peers: u64,
    pub packets_to_clients: u64,
    pub bytes_to_clients: u64,
    drops: [u64; Drop::COUNT],
    requests: [[u64; Outcome::COUNT]; Method::COUNT],
    refusals: [u64; Refusal::COUNT],
    moves: [u64; Move::COUNT],
}

impl ShardSnapshot {
    pub fn dropped(&self, why: Drop) -> u64 {
        self.drops[why as usize]
    }

    pub fn dropped_in_all(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Requests answered so.
    pub fn requests(&self, method: Method, outcome: Outcome) -> u64 {
        self.requests[method as usize][outcome as usize]
    }

    /// Requests refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refusals[why as usize]
    }

    /// Allocations that came to another 5-tuple.
    pub fn moves(&self, kind: Move) -> u64 {
        self.moves[kind as usize]
    }
}

impl std::ops::AddAssign for ShardSnapshot {
    fn add_assign(&mut self, other: Self) {
        let Self {
            allocations,
            packets_to_peers,
            bytes_to_peers,
            packets_to_clients,
            bytes_to_clients,
            drops,
            requests,
            refusals,
            moves,
        } = other;
        self.allocations += allocations;
        self.packets_to_peers += packets_to_peers;
        self.bytes_to_peers += bytes_to_peers;
        self.packets_to_clients += packets_to_clients;
        self.bytes_to_clients += bytes_to_clients;
        for (mine, theirs) in self.drops.iter_mut().zip(drops) {
            *mine += theirs;
        }
        for (mine, theirs) in self.requests.iter_mut().flatten().zip(requests.into_iter().flatten()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.refusals.iter_mut().zip(refusals) {
            *mine += theirs;
        }
        for (mine, theirs) in self.moves.iter_mut().zip(moves) {
            *mine += theirs;
        }
    }
}

/// A load and a store instead of a locked add: there is one writer.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl ShardCounters {
    pub fn snapshot(&self) -> ShardSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ShardSnapshot {
            allocations: get(&self.allocations),
            packets_to_peers: get(&self.packets_to_peers),
            bytes_to_peers: get(&self.bytes_to_peers),
            packets_to_clients: get(&self.packets_to_clients),
            bytes_to_clients: get(&self.bytes_to_clients),
            drops: std::array::from_fn(|i| get(&self.drops[i])),
            requests: std::array::from_fn(|m| std::array::from_fn(|o| get(&self.requests[m][o]))),
            refusals: std::array::from_fn(|i| get(&self.refusals[i])),
            moves: std::array::from_fn(|i| get(&self.moves[i])),
        }
    }

    pub(super) fn set_allocations(&self, live: usize) {
        self.allocations.store(live as u64, Ordering::Relaxed);
    }

    pub(super) fn to_peer(&self, bytes: usize) {
        add(&self.packets_to_peers, 1);
        add(&self.bytes_to_peers, bytes as u64);
    }

    pub(super) fn to_client(&self, bytes: usize) {
        add(&self.packets_to_clients, 1);
        add(&self.bytes_to_clients, bytes as u64);
    }

    pub(super) fn dropped(&self, why: Drop) {
        add(&self.drops[why as usize], 1);
    }

    /// Counts it. Returns what the client is answered.
    pub(super) fn refuse(&self, why: Refusal) -> Outcome {
        add(&self.refusals[why as usize], 1);
        why.outcome()
    }

    pub(super) fn answered(&self, method: Method, outcome: Outcome) {
        add(&self.requests[method as usize][outcome as usize], 1);
    }
    pub(super) fn moved(&self, kind: Move) {
        add(&self.moves[kind as usize], 1);
    }
}
