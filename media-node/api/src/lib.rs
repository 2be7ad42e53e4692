//! What the operator and a media node say to each other: HTTPS with mutual TLS on the node's admin port.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`NodeStatus`] |
//! | `PUT /v1/state` | [`SetState`] | [`NodeStatus`] as it stands afterwards |
//!
//! A refusal is a [`Problem`] with a 4xx or 5xx status. Unknown fields of an answer are ignored, so that an older
//! operator can read a newer node; unknown fields of a request are refused, so that a newer operator notices an older node.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Path of [`NodeStatus`].
pub const STATUS_PATH: &str = "/v1/status";
/// Path that takes [`SetState`].
pub const STATE_PATH: &str = "/v1/state";
/// Largest request or answer body, bytes.
pub const MAX_BODY: usize = 64 * 1024;

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
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "state", deny_unknown_fields)]
pub enum SetState {
    /// Take new sessions again. Refused with 409 once the process has been told to end (SIGTERM).
    Active,
    /// Refuse new sessions; end those that are left at `deadline`. Repeating it moves the deadline, except that
    /// after SIGTERM it can only come nearer.
    Draining {
        /// When the remaining sessions are ended.
        deadline: Timestamp,
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
    pub public_addresses: Vec<std::net::IpAddr>,
    /// The drain in progress, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    pub sessions: Sessions,
    pub counters: Counters,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    pub since: Timestamp,
    pub deadline: Timestamp,
    /// True after SIGTERM: the process ends when the drain does, and there is no way back to Active.
    pub terminating: bool,
}

/// What is live now.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sessions {
    /// Live TURN allocations.
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
