//! What a [`Server`](super::Server) is told once, checked where it is made.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::terms::Terms;

/// Everything a server needs to know. Build it with [`ServerConfig::new`] and change the public fields.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub realm: Realm,
    /// Where relayed ports are opened, and what clients are told.
    pub relays: RelayAddresses,
    pub ports: PortRange,
    pub lifetimes: Lifetimes,
    /// Whether clients may keep an allocation when their address changes (RFC 8016). Default true: it costs only those
    /// who ask for it, and takes the credentials of the allocation. Without it who asks gets a 405.
    pub mobility: bool,
    /// At the start: [`Shared::set_terms`](super::Shared::set_terms) puts others in force.
    pub terms: Terms,
}

impl ServerConfig {
    /// The defaults of the fields' types around the three things that have none.
    pub fn new(realm: Realm, relays: RelayAddresses, ports: PortRange) -> Self {
        Self { realm, relays, ports, lifetimes: Lifetimes::default(), mobility: true, terms: Terms::default() }
    }
}

/// The realm of the long-term credential mechanism: 1 to 63 printable ASCII characters without `"` and `\`.
///
/// ASCII, because then OpaqueString and SASLprep (RFC 8265, RFC 4013) both leave it as it is, so that clients of RFC
/// 5389 and of RFC 8489 derive the same key. At most 63, because a challenge must stay under three times the size of
/// the smallest request on the wire: see [`Realm::MAX`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Realm(Box<str>);

impl Realm {
    /// A challenge to the smallest request, 20 bytes and 28 of headers, may have 116 bytes. With a realm of up to 36
    /// bytes it has room for PASSWORD-ALGORITHMS and the nonce cookie; with a longer one it does without both, as a
    /// server of RFC 5389. Real clients send more than 20 bytes (a REQUESTED-TRANSPORT at the least), and are
    /// offered the algorithms with up to 60; with a SOFTWARE or FINGERPRINT, whatever the realm.
    pub const MAX: usize = 63;

    pub fn parse(realm: &str) -> Result<Self, ConfigError> {
        let fits = (1..=Self::MAX).contains(&realm.len());
        let plain = realm.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
        if fits && plain { Ok(Self(realm.into())) } else { Err(ConfigError::Realm { have: realm.to_owned() }) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether it can be the address of one machine. A v4-mapped one is written as what it is, an IPv4 address.
pub(super) fn is_machine(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip.to_canonical() == ip
}

/// One address on which relayed ports are opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayAddress {
    /// Bound by [`RelayPorts::open`](super::RelayPorts::open).
    pub local: IpAddr,
    /// What clients are told; another one than `local` behind a 1:1 NAT.
    pub public: IpAddr,
}

/// At least one relay address, one of each family at the most, each with a public form of its own family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddresses {
    pub(super) v4: Option<RelayAddress>,
    pub(super) v6: Option<RelayAddress>,
}

impl RelayAddresses {
    pub fn new(addresses: &[RelayAddress]) -> Result<Self, ConfigError> {
        let mut all = Self { v4: None, v6: None };
        for &address in addresses {
            let RelayAddress { local, public } = address;
            if local.is_ipv4() != public.is_ipv4() {
                return Err(ConfigError::RelayFamilies { local, public });
            }
            for ip in [local, public] {
                if !is_machine(ip) {
                    return Err(ConfigError::RelayAddress { ip });
                }
            }
            let place = if local.is_ipv4() { &mut all.v4 } else { &mut all.v6 };
            if let Some(first) = place {
                return Err(ConfigError::TwoRelayAddresses { first: first.local, second: local });
            }
            *place = Some(address);
        }
        if all.v4.is_none() && all.v6.is_none() { Err(ConfigError::NoRelayAddress) } else { Ok(all) }
    }

    /// The relay addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = RelayAddress> {
        [self.v4, self.v6].into_iter().flatten()
    }
}

/// Relayed ports, both ends included. Never empty, never privileged (RFC 8656 section 7.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    pub fn parse(first: u16, last: u16) -> Result<Self, ConfigError> {
        if first >= 1024 && first <= last { Ok(Self { first, last }) } else { Err(ConfigError::Ports { first, last }) }
    }

    pub fn first(self) -> u16 {
        self.first
    }

    pub fn last(self) -> u16 {
        self.last
    }

    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

/// How many allocations there may be in the process. A reserved port (EVEN-PORT) counts like an allocation until it is
/// claimed or expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quotas {
    /// Allocations with the same user part of the username (`expiry:user`). Past it: 486. Default 20.
    pub per_user: u32,
    /// Allocations in all. Past it: 508. Default 100 000.
    pub total: u32,
    /// Bits of payload a second that one allocation may relay, in each direction. The rest is dropped. Default: all.
    pub bandwidth_per_allocation: Option<u64>,
    /// Bits of payload a second that the process relays, both directions together, before new allocations are refused
    /// (508). Whoever owns the servers looks at the counters and tells [`Shared`](super::Shared). Default: no limit.
    pub bandwidth: Option<u64>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { per_user: 20, total: 100_000, bandwidth_per_allocation: None, bandwidth: None }
    }
}

/// RFC 8656 sections 3.2, 9, 12; RFC 8489 section 9.2 for the nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Of an allocation whose client asks for none, or for less. Default 600 s.
    pub allocation: Duration,
    /// The longest a client can ask for. Default 3600 s.
    pub allocation_max: Duration,
    /// Default 300 s, which the RFC demands.
    pub permission: Duration,
    /// Default 600 s, which the RFC demands.
    pub channel: Duration,
    /// How long a nonce is accepted. Default 600 s; the RFC wants at most an hour.
    pub nonce: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            allocation: Duration::from_mins(10),
            allocation_max: Duration::from_hours(1),
            permission: Duration::from_mins(5),
            channel: Duration::from_mins(10),
            nonce: Duration::from_mins(10),
        }
    }
}

/// Bounds on what clients that are nobody yet, or anybody with one allocation, can make the process do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Peer addresses with a live permission. Past it: 508. Default 256.
    pub permissions: usize,
    /// Channels bound, or expired less than five minutes ago. Past it: 508. Default 256.
    pub channels: usize,
    /// Answers a second to requests over UDP whose source may be forged, for each IPv4 /24 and IPv6 /48: see
    /// `strangers.rs`. 0 for no limit. Default 1000.
    pub unauthenticated_per_prefix: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { permissions: 256, channels: 256, unauthenticated_per_prefix: 1000 }
    }
}

/// What is wrong with a configuration, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "realm {have:?}: write 1 to {max} printable ASCII characters without quotes and backslashes, such as turn.example.org",
        max = Realm::MAX
    )]
    Realm { have: String },
    #[error("ports {first} to {last}: write 1024 <= first <= last, such as 49152 and 65535")]
    Ports { first: u16, last: u16 },
    #[error("no relay address: write one IPv4 address, one IPv6 address, or one of each")]
    NoRelayAddress,
    #[error("relay addresses {first} and {second} are of the same family: leave one out")]
    TwoRelayAddresses { first: IpAddr, second: IpAddr },
    #[error(
        "relay address {local} is made public as {public}, of the other family: write an address of the same family"
    )]
    RelayFamilies { local: IpAddr, public: IpAddr },
    #[error("relay address {ip} is not an address of one machine: write the address that peers can reach")]
    RelayAddress { ip: IpAddr },
}

/// `true` for the IPv4 half of a dual allocation; keeps the two families from being swapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn of_socket(address: SocketAddr) -> Self {
        Self::of(address.ip())
    }
}

impl RelayAddresses {
    pub(super) fn get(&self, family: Family) -> Option<RelayAddress> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}
