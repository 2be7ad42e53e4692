//! What the operator and a media node say to each other: HTTPS with mutual TLS on the node's admin port.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`NodeStatus`] |
//! | `PUT /v1/state` | [`SetState`] | [`NodeStatus`] as it stands afterwards |
//!
//! Of a prober, which answers nothing else:
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/verdicts?boot=B&after=S` | | [`Verdicts`]; with a query without those up to the sequence S of the boot B |
//! | `PUT /v1/config` | its configuration, YAML | [`ConfigTaken`] |
//!
//! A refusal is a [`Problem`] with a 4xx or 5xx status. Unknown fields of an answer are ignored, so that an older
//! operator can read a newer node; unknown fields of a request are refused, so that a newer operator notices an older node.

mod verdicts;

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use verdicts::{
    CONFIG_PATH, Canary, ConfigTaken, MAX_CONFIG_BODY, MAX_DETAIL, MAX_TARGETS, MAX_VERDICTS_BODY, Security, Stage,
    Transport, VERDICTS_PATH, Verdict, Verdicts,
};

/// Path of [`NodeStatus`].
pub const STATUS_PATH: &str = "/v1/status";
/// Path that takes [`SetState`].
pub const STATE_PATH: &str = "/v1/state";
/// Largest request or answer body, bytes, but for [`VERDICTS_PATH`] and [`CONFIG_PATH`].
pub const MAX_BODY: usize = 64 * 1024;
/// Most addresses in [`SetState::Draining`]'s `alternates`.
pub const MAX_ALTERNATES: usize = 8;

/// Longest [`Limits::problem`], characters.
pub const MAX_PROBLEM: usize = 1024;

/// Where a node is in its life: `Starting → Active ⇄ Draining → Drained`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Listeners are not open yet.
    Starting,
    /// Serves, and takes new sessions.
    Active,
    /// Serves the sessions it has, refuses new ones.
    Draining,
    /// Has no session left, or its drain deadline has passed and they were ended.
    Drained,
}

/// The body of `PUT /v1/state`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "state", deny_unknown_fields)]
pub enum SetState {
    /// Take new sessions again. Refused with 409 once the process has been told to end (SIGTERM).
    Active,
    /// Refuse new sessions; end those that are left at `deadline`. Repeating it replaces the alternates and moves the
    /// deadline, except that after SIGTERM that can only come nearer.
    Draining {
        /// When the remaining sessions are ended.
        deadline: Timestamp,
        /// Public addresses of nodes that take the new sessions meanwhile, on the same ports as this one and with the
        /// same secrets and certificate. At most [`MAX_ALTERNATES`]. Without any of a client's family it is refused
        /// without being told where to go.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alternates: Vec<IpAddr>,
    },
}

/// The answer of `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    pub state: NodeState,
    /// Release of the media-node binary.
    pub version: String,
    /// SHA-256 of the configuration file in force, lower-case hex.
    pub config_hash: String,
    pub started_at: Timestamp,
    /// What clients are told, one per address family at the most.
    pub public_addresses: Vec<IpAddr>,
    /// The drain in progress, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    pub sessions: Sessions,
    pub counters: Counters,
    /// What TLS listeners show. None without a TLS listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// What may be changed while the node runs: quotas, peers, capacity. None if it is written in the configuration file
    /// itself, and from nodes of older releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What the node's own probe of its peer rules found. None before its first round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_rules: Option<PeerRules>,
    /// Whether two clients of the node's own reached each other through it. None before the first verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaying: Option<Relaying>,
    /// How busy machine and process are. None before there are two samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// The certificate of TLS listeners.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The end of its validity (RFC 5280 section 4.1.2.5).
    pub not_after: Timestamp,
    /// Why the files as they are now cannot be used, while the certificate read before stays in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The limits file, which is followed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// SHA-256 of the file in force, lower-case hex.
    pub hash: String,
    /// Why the file as it is now cannot be used, while the one read before stays in force. At most
    /// [`MAX_PROBLEM`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One round of asking the node, as a client would, for peers that it must refuse.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PeerRules {
    pub checked_at: Timestamp,
    /// Addresses that were granted and must not be. At most 32.
    #[serde(default)]
    pub granted: Vec<IpAddr>,
}

/// Whether the node relays, as it was last tried. A try that the node itself refused, because it drains or is full, is no
/// verdict and leaves the last one as it was.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Relaying {
    pub checked_at: Timestamp,
    /// What did not work, tried twice. None: it relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How busy machine and process were over the last window. R6.3.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Seconds between the two samples that the rates are taken from.
    pub window_seconds: f64,
    pub cpu: CpuLoad,
    /// The interface that relayed traffic uses. None if it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<NicLoad>,
}

/// Processor time, each in percent of all processors that the process may use (0 to 100).
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CpuLoad {
    /// This process, user and system.
    pub process_percent: f64,
    /// The whole machine, everything but idle and waiting for disks.
    pub machine_percent: f64,
    /// The machine's share in soft interrupts, where the kernel receives packets.
    pub softirq_percent: f64,
}

/// One network interface.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NicLoad {
    pub interface: String,
    pub sent: Rate,
    pub received: Rate,
    pub capacity: NicCapacity,
}

/// One direction of an interface, as the kernel counts it: with all headers.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    pub bits_per_second: u64,
    pub packets_per_second: u64,
    /// Packets a second that the interface or its queue threw away.
    pub drops_per_second: u64,
}

/// What an interface can carry.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NicCapacity {
    pub source: CapacitySource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bits_per_second: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bits_per_second: Option<u64>,
    /// Both ways together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets_per_second: Option<u64>,
}

/// Where a capacity is known from, the surest first.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, Hash)]
pub enum CapacitySource {
    /// Somebody wrote it.
    Configured,
    /// What the cloud promises for this type of machine.
    CloudTable,
    /// What the device says, where devices tell the truth.
    LinkSpeed,
    /// Nobody knows: a cautious guess is used.
    Unknown,
}

/// How far a drain is.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    pub since: Timestamp,
    pub deadline: Timestamp,
    /// True after SIGTERM: the process ends when the drain does, and there is no way back to Active.
    pub terminating: bool,
    /// Where new sessions are sent, as [`SetState::Draining`] said last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternates: Vec<IpAddr>,
}

/// What is live now.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Live TURN allocations, and ports that are reserved for one (EVEN-PORT), without those of the node's own probe.
    pub allocations: u64,
}

/// Totals since the process started. They only grow.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Packets relayed from clients to peers, and their payload bytes.
    pub packets_to_peers: u64,
    pub bytes_to_peers: u64,
    /// Packets relayed from peers to clients, and their payload bytes.
    pub packets_to_clients: u64,
    pub bytes_to_clients: u64,
    /// Packets dropped for any reason that the metrics name.
    pub packets_dropped: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and what to send instead.
    pub message: String,
}
