//! What is found at a name.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::Owner;

/// Addresses of a name as a server has them; maybe none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Seconds; 0 where there is no address, and where the families differ, which is the TTL of no wanted answer.
    pub ttl: u32,
    pub ipv4: BTreeSet<Ipv4Addr>,
    pub ipv6: BTreeSet<Ipv6Addr>,
}

impl Addresses {
    pub fn new(ttl: u32, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut all = Self { ttl, ..Self::default() };
        for address in addresses {
            match address {
                IpAddr::V4(address) => all.ipv4.insert(address),
                IpAddr::V6(address) => all.ipv6.insert(address),
            };
        }
        all
    }

    pub fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    /// IPv4 first, in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.iter().copied().map(IpAddr::V4).chain(self.ipv6.iter().copied().map(IpAddr::V6))
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no address");
        }
        let list: Vec<String> = self.iter().map(|address| address.to_string()).collect();
        write!(f, "{} (TTL {} s)", list.join(", "), self.ttl)
    }
}

/// What the record beside a name says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// There is no record.
    Nobody,
    Owner(Owner),
    /// Something that we do not write, a list of TXT records in strings: by hand, by another program, or by a wildcard.
    Unreadable(BTreeSet<Vec<Vec<u8>>>),
}

impl Ownership {
    /// From the TXT records, each a list of strings.
    pub fn read(records: BTreeSet<Vec<Vec<u8>>>) -> Self {
        let mut each = records.iter();
        match (each.next(), each.next()) {
            (None, _) => Self::Nobody,
            (Some(record), None) => match Owner::read(record).filter(|owner| &owner.strings() == record) {
                Some(owner) => Self::Owner(owner),
                None => Self::Unreadable(records),
            },
            _ => Self::Unreadable(records),
        }
    }

    /// The TXT records.
    pub fn records(&self) -> BTreeSet<Vec<Vec<u8>>> {
        match self {
            Self::Nobody => BTreeSet::new(),
            Self::Owner(owner) => BTreeSet::from([owner.strings()]),
            Self::Unreadable(records) => records.clone(),
        }
    }

    /// Whatever the claim.
    pub fn is(&self, owner: &Owner) -> bool {
        matches!(self, Self::Owner(found) if found.is_same(owner))
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Owner(owner) => owner.fmt(f),
            Self::Unreadable(records) => {
                let first = records.first().map(|record| record.concat()).unwrap_or_default();
                let text: String = String::from_utf8_lossy(&first).chars().take(80).collect();
                write!(f, "a record of it that is not ours: {text:?}")
            }
        }
    }
}

/// A name as one server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub addresses: Addresses,
    pub owner: Ownership,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, owner: {}", self.addresses, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_believed_only_if_the_record_is_exactly_what_we_write() {
        let owner = Owner::new("a", "b", "c").unwrap();
        let ours = owner.strings();
        let split: Vec<Vec<u8>> = ours[0].chunks(10).map(<[u8]>::to_vec).collect();
        for (case, records, expected) in [
            ("no record", vec![], Some(Ownership::Nobody)),
            ("our record", vec![ours.clone()], Some(Ownership::Owner(owner))),
            ("the same text in other strings", vec![split], None),
            ("another record beside it", vec![ours, vec![b"x".to_vec()]], None),
        ] {
            let records: BTreeSet<_> = records.into_iter().collect();
            let expected = expected.unwrap_or_else(|| Ownership::Unreadable(records.clone()));
            let read = Ownership::read(records.clone());
            assert_eq!(read, expected, "{case}");
            assert_eq!(read.records(), records, "{case}: nothing is lost, because a prerequisite compares it");
        }
    }
}
