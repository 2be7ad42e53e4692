//! Which peers nodes refuse: what the user denies, and the cluster's own networks as far as the user does not open them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtcfleet_crds::turn_region::Relay;

use super::{Check, ValidateError};

const fn v4(a: u8, b: u8, prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, 0, 0)), prefix)
}

/// What nodes refuse by themselves of all that clusters are made of: RFC 1918, RFC 6598 and RFC 4193. Left out of their
/// configuration, so that nearly every cluster's networks exchange no node, and `allowPeers` can open them.
const PRIVATE: [IpNet; 5] = [
    v4(10, 0, 8),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(100, 64, 10),
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];
/// A node takes 1000 networks; the user may write 64 of them.
const MOST: usize = 900;

impl Check {
    /// `spec.relay.denyPeers` and what else nodes are to refuse, in an order that follows from the spec and `cluster` alone.
    pub(super) fn deny_peers(&mut self, relay: &Relay, cluster: &[IpNet]) -> Vec<String> {
        let opened = self.networks("relay.allowPeers", &relay.allow_peers);
        let denied = self.networks("relay.denyPeers", &relay.deny_peers);
        let mut closed = Vec::new();
        for network in cluster {
            let refused_already = PRIVATE.iter().chain(&denied).any(|outer| outer.contains(network));
            if !refused_already {
                without(*network, &opened, &mut closed);
            }
        }
        if closed.len() > MOST {
            self.mistakes.push(ValidateError::TooManyParts { parts: closed.len(), most: MOST });
        }
        relay.deny_peers.iter().cloned().chain(closed.iter().map(ToString::to_string)).collect()
    }

    fn networks(&mut self, path: &'static str, texts: &[String]) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for text in texts {
            match text.parse::<IpNet>() {
                Ok(network) => networks.push(network.trunc()),
                Err(_) => self.mistakes.push(ValidateError::NotANetwork { path, text: text.clone() }),
            }
        }
        networks
    }
}

/// Adds to `left` what is left of `network` when `opened` is taken out: a node's `denyPeers` win over its `allowPeers`, so
/// an opened part must not be written.
fn without(network: IpNet, opened: &[IpNet], left: &mut Vec<IpNet>) {
    if opened.iter().any(|one| one.contains(&network)) {
        return;
    }
    let inside: Vec<IpNet> = opened.iter().filter(|one| network.contains(*one)).copied().collect();
    match network.subnets(network.prefix_len() + 1) {
        // Bounded: a half without an opened part ends the branch, and there are as many levels as bits in an address.
        Ok(halves) if !inside.is_empty() => halves.for_each(|half| without(half, &inside, left)),
        _ => left.push(network),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turnregion::test_support::region_with;
    use crate::turnregion::validate::{Validated, validate};

    /// `denyPeers` of the nodes of a region with this `relay`, in a cluster of these networks; or the mistake.
    fn denied(relay: &str, cluster: &[&str]) -> Result<Vec<String>, String> {
        let cluster: Vec<IpNet> = cluster.iter().map(|text| text.parse().unwrap()).collect();
        match validate(&region_with(&format!("{{relay: {relay}}}")), &cluster) {
            Ok(Validated::Managed(region)) => Ok(region.deny_peers),
            Ok(Validated::External { .. }) => panic!("managed"),
            Err(mistakes) => Err(mistakes.to_string()),
        }
    }

    #[test]
    fn networks_of_the_cluster_are_refused_unless_the_region_opens_them() {
        for (case, relay, cluster, expected) in [
            ("one that every node refuses", "{}", vec!["10.96.0.0/12", "100.64.3.0/24", "fd12::/108"], vec![]),
            ("one that anybody may be reached in", "{}", vec!["34.118.224.0/20"], vec!["34.118.224.0/20"]),
            ("more than what every node refuses", "{}", vec!["172.0.0.0/8"], vec!["172.0.0.0/8"]),
            (
                "the user's come first and are kept as they are",
                "{denyPeers: [203.0.113.9/24]}",
                vec!["34.118.224.0/20"],
                vec!["203.0.113.9/24", "34.118.224.0/20"],
            ),
            ("denied by the user already", "{denyPeers: [34.0.0.0/8]}", vec!["34.118.224.0/20"], vec!["34.0.0.0/8"]),
            ("opened as it is", "{allowPeers: [34.118.224.0/20]}", vec!["34.118.224.0/20"], vec![]),
            ("opened with more", "{allowPeers: [34.0.0.0/8]}", vec!["34.118.224.0/20", "2600::/48"], vec!["2600::/48"]),
            (
                "opened in part: the rest stays closed",
                "{allowPeers: [34.118.224.9/22, 34.118.239.0/24]}",
                vec!["34.118.224.0/20"],
                vec!["34.118.228.0/22", "34.118.232.0/22", "34.118.236.0/23", "34.118.238.0/24"],
            ),
            (
                "one address of it is opened",
                "{allowPeers: ['2600::1/128']}",
                vec!["2600::/126"],
                vec!["2600::/128", "2600::2/127"],
            ),
        ] {
            assert_eq!(denied(relay, &cluster).unwrap(), expected, "{case}");
        }
    }

    #[test]
    fn what_is_no_network_is_told() {
        assert_eq!(
            denied("{allowPeers: [10.20.0.0], denyPeers: [everything]}", &[]).unwrap_err(),
            "spec.relay.allowPeers: \"10.20.0.0\" is no network: write address/prefix length, such as 10.20.0.0/16 or 2001:db8::/32; \
             spec.relay.denyPeers: \"everything\" is no network: write address/prefix length, such as 10.20.0.0/16 or 2001:db8::/32"
        );
    }

    #[test]
    fn more_parts_than_a_node_takes_are_told() {
        let opened: Vec<String> = (0..64).map(|one| format!("'2600:0:0:{one:x}::1/128'")).collect();
        let told = denied(&format!("{{allowPeers: [{}]}}", opened.join(", ")), &["2600::/32"]).unwrap_err();
        assert!(
            told.starts_with("spec.relay.allowPeers: it opens the cluster's networks in so many places that"),
            "{told}"
        );
        assert!(told.ends_with("networks are left to deny, and nodes take 900: open fewer, wider networks"), "{told}");
    }
}
