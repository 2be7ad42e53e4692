//! Where clients are sent while the node drains: ALTERNATE-SERVER (RFC 8489 section 10, RFC 8656 section 7.2).
//!
//! Only an Allocate that is authenticated is answered so, and the answer is signed: RFC 8489 section 14.8 demands both,
//! or anybody on the way could send clients to a server of theirs.
//!
//! There is no ALTERNATE-DOMAIN (section 14.16). It names a server that shows another certificate; those of a region
//! show the same one, so the name by which a client came is the one to look for there as well.

use std::net::{IpAddr, SocketAddr};

use rtcfleet_node_api::MAX_ALTERNATES;

use super::config::{Family, is_machine};

/// Addresses of nodes that serve what this one serves, on the same ports. At most [`MAX_ALTERNATES`], each that of one
/// machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternates(Vec<IpAddr>);

/// What is wrong with a list of alternates, and what to send instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlternatesError {
    #[error("alternates: {have} addresses are too many: send at most {MAX_ALTERNATES}, clients are spread over them")]
    TooMany { have: usize },
    #[error("alternates[{index}]: {ip} is not an address of one machine: send the public address of an Active node")]
    NoMachine { index: usize, ip: IpAddr },
}

impl Alternates {
    pub fn parse(addresses: Vec<IpAddr>) -> Result<Self, AlternatesError> {
        if addresses.len() > MAX_ALTERNATES {
            return Err(AlternatesError::TooMany { have: addresses.len() });
        }
        match addresses.iter().enumerate().find(|(_, ip)| !is_machine(**ip)) {
            Some((index, ip)) => Err(AlternatesError::NoMachine { index, ip: *ip }),
            None => Ok(Self(addresses)),
        }
    }

    pub fn addresses(&self) -> &[IpAddr] {
        &self.0
    }

    /// Where the client at `remote` is sent that came to `port`. None without an alternate of its family: it could not
    /// follow. `spread` is even over clients, and the same for a request that is repeated, so that it is answered alike.
    pub(super) fn for_client(&self, remote: IpAddr, port: u16, spread: u64) -> Option<Redirection> {
        let (same, other) = match Family::of(remote) {
            Family::V4 => (Family::V4, Family::V6),
            Family::V6 => (Family::V6, Family::V4),
        };
        let of = |family| self.of(family, spread).map(|ip| SocketAddr::new(ip, port));
        Some(Redirection { same: of(same)?, other: of(other) })
    }

    fn of(&self, family: Family, spread: u64) -> Option<IpAddr> {
        let all = || self.0.iter().filter(|ip| Family::of(**ip) == family);
        let index = spread.checked_rem(all().count() as u64)?;
        all().nth(usize::try_from(index).ok()?).copied()
    }
}

/// What a 300 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirection {
    /// Of the client's own family, which the answer must hold (RFC 8489 section 10).
    pub(super) same: SocketAddr,
    /// Of the other one, which it should hold, behind it.
    pub(super) other: Option<SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(addresses: &[&str]) -> Result<Alternates, String> {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        Alternates::parse(addresses).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_that_are_not_of_one_machine_and_lists_that_are_too_long_are_refused() {
        for (addresses, expected) in [
            (vec!["192.0.2.1", "0.0.0.0"], "alternates[1]: 0.0.0.0 is not an address of one machine"),
            (vec!["ff02::1"], "alternates[0]: ff02::1 is not"),
            (vec!["::ffff:192.0.2.1"], "alternates[0]: ::ffff:192.0.2.1 is not"),
            (vec!["192.0.2.1"; 9], "alternates: 9 addresses are too many: send at most 8"),
        ] {
            let error = parse(&addresses).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(parse(&["192.0.2.1"; 8]).unwrap().addresses().len(), 8);
    }

    #[test]
    fn a_client_is_sent_to_its_own_family_first_and_nowhere_without_it() {
        let both = parse(&["2001:db8::1", "192.0.2.1", "192.0.2.2", "2001:db8::2"]).unwrap();
        let only_v6 = parse(&["2001:db8::1"]).unwrap();
        for (case, alternates, remote, spread, expected) in [
            ("IPv4", &both, "198.51.100.1", 4, Some(("192.0.2.1:443", Some("[2001:db8::1]:443")))),
            ("another", &both, "198.51.100.1", 5, Some(("192.0.2.2:443", Some("[2001:db8::2]:443")))),
            ("IPv6", &both, "2001:db8:1::1", 5, Some(("[2001:db8::2]:443", Some("192.0.2.2:443")))),
            ("the other family is missing", &only_v6, "2001:db8:1::1", 5, Some(("[2001:db8::1]:443", None))),
            ("its own is missing", &only_v6, "198.51.100.1", 5, None),
            ("nobody takes anybody", &Alternates::default(), "198.51.100.1", 5, None),
        ] {
            let address = |text: &str| text.parse().unwrap();
            let expected = expected.map(|(same, other)| Redirection { same: address(same), other: other.map(address) });
            assert_eq!(alternates.for_client(remote.parse().unwrap(), 443, spread), expected, "{case}");
        }
    }
}
