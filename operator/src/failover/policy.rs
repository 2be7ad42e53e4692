//! What the user asks for, in units that cannot be mixed up.

use std::time::Duration;

use jiff::Timestamp;

/// A `DnsFailover` that cannot be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub order: Order,
    /// How long resolvers may keep an answer.
    pub ttl: Duration,
    /// Addresses of each family in an answer, 1 to 16.
    pub max_addresses: usize,
    pub health: Health,
    pub safety: Safety,
    pub failback: Failback,
    pub vantage_points: Vec<VantagePoint>,
    pub pinned: Option<Pinned>,
    /// False: nothing is published.
    pub enforce: bool,
}

/// How regions share the callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// All of the failover group, alike.
    Group,
    /// By weight, which is 1 to 1000. Sorted by name.
    Weighted(Vec<(String, u32)>),
    /// The lowest number first; equal ones alike. Sorted by name.
    Priority(Vec<(String, u32)>),
}

impl Order {
    /// Rank and weight of a region. None: it is not one of them.
    pub fn place(&self, name: &str) -> Option<(u32, f64)> {
        let of = |list: &[(String, u32)]| list.iter().find(|(known, _)| known == name).map(|(_, number)| *number);
        match self {
            Self::Group => Some((0, 1.0)),
            Self::Weighted(list) => of(list).map(|weight| (0, f64::from(weight))),
            Self::Priority(list) => of(list).map(|rank| (rank, 1.0)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Between two probes of a relay.
    pub interval: Duration,
    /// So many within `window`, and a vantage point sees a relay fail.
    pub failures: usize,
    pub window: Duration,
    /// So many in a row, and it sees it work again.
    pub successes: u32,
    /// Vantage points that must agree; None: a majority, at least [`Health::LEAST`].
    pub quorum: Option<u32>,
    /// A region that fails over some of its transports is to leave.
    pub all_transports: bool,
}

impl Health {
    /// One vantage point alone decides nothing, unless somebody writes that it may.
    pub const LEAST: u32 = 2;

    /// What was told longer ago counts for nothing: three probes, and time for them to be fetched.
    pub fn stale(&self) -> Duration {
        self.interval * 3 + Duration::from_secs(2)
    }

    /// Vantage points that must agree, of so many that are asked.
    pub fn needed(&self, asked: u32) -> u32 {
        self.quorum.unwrap_or((asked / 2 + 1).max(Self::LEAST))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    pub max_withdrawn: usize,
    /// Of all weights.
    pub min_healthy_percent: u32,
    /// Load that the other regions may come to.
    pub survivor_percent: u32,
    pub hold_down: Duration,
    pub max_hold_down: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failback {
    /// Percents of a region's share, rising, the last one 100.
    pub steps: Vec<u32>,
    pub step_duration: Duration,
}

/// Where probes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VantagePoint {
    pub name: String,
    /// The region that it stands in.
    pub region: Option<String>,
}

/// What a person pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    pub regions: Vec<String>,
    pub reason: String,
    pub expires_at: Timestamp,
}
