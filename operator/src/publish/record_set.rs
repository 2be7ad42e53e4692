//! The wanted answer.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Addresses, DnsName, Owner};

/// Addresses of one family in an answer. 16 of both fit into 512 octets of UDP with a name of 50, or nearly so, and no
/// client tries more.
pub const MAX_RECORDS: usize = 16;
/// Seconds. A day: longer, and nothing can be moved.
pub const MAX_TTL: u32 = 86_400;

/// How long an answer may be cached, in seconds: 1 to 86 400 (RFC 2181 section 8). Not 0, which some resolvers lift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(u32);

impl Ttl {
    pub fn new(seconds: u32) -> Result<Self, NoRecordSet> {
        if (1..=MAX_TTL).contains(&seconds) { Ok(Self(seconds)) } else { Err(NoRecordSet::Ttl { seconds }) }
    }

    pub const fn seconds(self) -> u32 {
        self.0
    }
}

/// All A and AAAA records of one name, and whose they are. Never without an address: an empty answer is not to be
/// expressed, so that no mistake publishes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    name: DnsName,
    owner: Owner,
    addresses: Addresses,
    shares: Vec<Share>,
}

/// A region's part of the callers, for providers that weigh one region against another instead of one list of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub region: String,
    /// 0 to 100.
    pub percent: u32,
    /// Some of its relays; those of a region without callers are none.
    pub addresses: Addresses,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoRecordSet {
    #[error("{name}: no address: an empty answer is never published; give one address at least")]
    Empty { name: DnsName },
    #[error("{name}: {have} addresses of one family: give at most {MAX_RECORDS}")]
    TooMany { name: DnsName, have: usize },
    #[error("{name}: {address} is nothing that callers can reach: give addresses of machines")]
    NoHost { name: DnsName, address: IpAddr },
    #[error("a TTL of {seconds} s: write 1 to {MAX_TTL}, such as 30")]
    Ttl { seconds: u32 },
}

impl RecordSet {
    pub fn new(
        name: DnsName,
        owner: Owner,
        ttl: Ttl,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Self, NoRecordSet> {
        let addresses = Addresses::new(ttl.seconds(), addresses);
        let have = addresses.ipv4.len().max(addresses.ipv6.len());
        if have == 0 {
            return Err(NoRecordSet::Empty { name });
        }
        if have > MAX_RECORDS {
            return Err(NoRecordSet::TooMany { name, have });
        }
        if let Some(address) = addresses.iter().find(|ip| ip.is_unspecified() || ip.is_multicast()) {
            return Err(NoRecordSet::NoHost { name, address });
        }
        Ok(Self { name, owner, addresses, shares: Vec::new() })
    }

    /// Divided among regions, by name.
    #[must_use]
    pub fn shared(self, shares: Vec<Share>) -> Self {
        Self { shares, ..self }
    }

    /// The same by another process of its owner.
    #[must_use]
    pub fn claiming(&self, claim: u32) -> Self {
        Self { owner: self.owner.claiming(claim), ..self.clone() }
    }

    pub fn name(&self) -> &DnsName {
        &self.name
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Seconds.
    pub fn ttl(&self) -> u32 {
        self.addresses.ttl
    }

    pub fn ipv4(&self) -> &BTreeSet<Ipv4Addr> {
        &self.addresses.ipv4
    }

    pub fn ipv6(&self) -> &BTreeSet<Ipv6Addr> {
        &self.addresses.ipv6
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// None unless it is divided.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }
}

impl fmt::Display for RecordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(addresses: impl IntoIterator<Item = IpAddr>) -> Result<RecordSet, NoRecordSet> {
        let owner = Owner::new("a", "b", "c").unwrap();
        RecordSet::new("turn.example.org".parse().unwrap(), owner, Ttl::new(30).unwrap(), addresses)
    }

    #[test]
    fn an_empty_answer_cannot_be_made() {
        assert!(matches!(made([]), Err(NoRecordSet::Empty { .. })));
    }

    #[test]
    fn sixteen_addresses_of_a_family_are_the_most() {
        let addresses = |n: u8| (1..=n).map(|last| IpAddr::from([192, 0, 2, last]));
        assert_eq!(made(addresses(16)).unwrap().ipv4().len(), 16);
        assert!(matches!(made(addresses(17)), Err(NoRecordSet::TooMany { have: 17, .. })));
    }

    #[test]
    fn no_address_that_is_no_host_is_published() {
        for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
            assert!(matches!(made([address.parse().unwrap()]), Err(NoRecordSet::NoHost { .. })), "{address}");
        }
    }

    #[test]
    fn a_ttl_is_a_second_to_a_day() {
        assert_eq!([0, 1, 86_400, 86_401].map(|seconds| Ttl::new(seconds).is_ok()), [false, true, true, false]);
    }
}
