//! What must be refused, written out once more.
//!
//! Nothing here uses [`PeerPolicy`](crate::turn::proto::PeerPolicy): a judge that asks the accused proves nothing. So
//! this is a list of single addresses, less those that the configuration opens by a plain look at its CIDRs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::turn::proto::RelayAddress;

/// Addresses asked for at the most in each of what can be long: addresses of the machine, and `relay.denyPeers`.
const MANY: usize = 16;

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(s: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]))
}

const LOOPBACK: IpAddr = v4(127, 0, 0, 1);
const METADATA: IpAddr = v4(169, 254, 169, 254);
/// Azure's metadata, certificates and DNS, at an address that looks like any other of the Internet.
const AZURE: IpAddr = v4(168, 63, 129, 16);
const PRIVATE: IpAddr = v4(10, 0, 0, 1);

/// A peer, and the address that `relay.allowPeers` has to hold if it is to be opened: of an IPv6 address that carries
/// an IPv4 address, that one.
const STANDING: [(IpAddr, IpAddr); 27] = [
    itself(LOOPBACK),
    itself(METADATA),
    itself(AZURE),
    itself(PRIVATE),
    itself(v4(172, 16, 0, 1)),
    itself(v4(192, 168, 0, 1)),
    itself(v4(100, 64, 0, 1)),
    itself(v4(224, 0, 0, 1)),
    itself(v4(255, 255, 255, 255)),
    itself(v6([0, 0, 0, 0, 0, 0, 0, 1])),
    itself(v6([0xfe80, 0, 0, 0, 0, 0, 0, 1])),
    // Metadata again: AWS over IPv6.
    itself(v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254])),
    itself(v6([0xff02, 0, 0, 0, 0, 0, 0, 1])),
    // v4-mapped
    (v6([0, 0, 0, 0, 0, 0xffff, 0x7f00, 0x0001]), LOOPBACK),
    (v6([0, 0, 0, 0, 0, 0xffff, 0xa9fe, 0xa9fe]), METADATA),
    (v6([0, 0, 0, 0, 0, 0xffff, 0x0a00, 0x0001]), PRIVATE),
    (v6([0, 0, 0, 0, 0, 0xffff, 0xa83f, 0x8110]), AZURE),
    // NAT64
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0x7f00, 0x0001]), LOOPBACK),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), METADATA),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0x0a00, 0x0001]), PRIVATE),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0xa83f, 0x8110]), AZURE),
    // 6to4
    (v6([0x2002, 0x7f00, 0x0001, 0, 0, 0, 0, 1]), LOOPBACK),
    (v6([0x2002, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]), METADATA),
    // v4-compatible, Teredo with its client inverted, ISATAP
    (v6([0, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]), METADATA),
    (v6([0x2001, 0, 0x0808, 0x0808, 0, 0, !0xa9fe, !0xa9fe]), METADATA),
    (v6([0x2001, 0, 0xa9fe, 0xa9fe, 0, 0, !0x0808, !0x0808]), METADATA),
    (v6([0x2a00, 0, 0, 0, 0, 0x5efe, 0xa9fe, 0xa9fe]), METADATA),
];

/// Nothing opens these: to a socket they mean this machine.
const NEVER: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

const fn itself(peer: IpAddr) -> (IpAddr, IpAddr) {
    (peer, peer)
}

/// What is configured and where this node is.
#[derive(Clone, Debug)]
pub struct Ground {
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    pub relays: Vec<RelayAddress>,
    /// Listeners, admin, metrics: as they are bound.
    pub services: Vec<SocketAddr>,
}

impl Ground {
    /// Peers of the family of `relay` that no permission may be granted for. `machine` is what addresses this machine
    /// has now.
    pub fn peers(&self, relay: RelayAddress, machine: &[IpAddr]) -> Vec<IpAddr> {
        let standing = STANDING.iter().filter(|(_, key)| !self.opened(*key)).map(|(peer, _)| *peer);
        let denied = self.deny.iter().map(IpNet::network).take(MANY);
        let own = self.own(machine);
        let mapped = own.iter().filter_map(|own| match own {
            IpAddr::V4(own) => Some(IpAddr::V6(own.to_ipv6_mapped())),
            IpAddr::V6(_) => None,
        });
        let all = standing.chain(NEVER).chain(denied).chain(own.iter().copied()).chain(mapped);
        let of_family = all.filter(|peer| peer.is_ipv4() == relay.public.is_ipv4());
        // A caller may send to the relayed address of another: that one is judged by ports.
        let mut peers: Vec<IpAddr> = of_family.filter(|peer| *peer != relay.public).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    /// Where clients are told that relayed ports are, with ports that are none: what serves here must not be reached.
    pub fn services(&self, relay: RelayAddress) -> Vec<SocketAddr> {
        let mut ports: Vec<u16> = self.services.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.into_iter().map(|port| SocketAddr::new(relay.public, port)).collect()
    }

    /// Whether clients relayed on `relay` may not reach each other: the configuration can close that, too.
    pub fn closes(&self, relay: RelayAddress) -> bool {
        holds(&self.deny, relay.public)
    }

    fn opened(&self, ip: IpAddr) -> bool {
        holds(&self.allow, ip) && !holds(&self.deny, ip)
    }

    /// Addresses that this node serves at or relays on. The configuration cannot open them.
    fn own(&self, machine: &[IpAddr]) -> Vec<IpAddr> {
        let bound = self.services.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
        let relays = self.relays.iter().flat_map(|relay| [relay.local, relay.public]);
        let everywhere = self.services.iter().any(|service| service.ip().is_unspecified());
        // Link-local ones are refused as such, and a machine with containers has hundreds.
        let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let machine = machine.iter().copied().filter(|ip| everywhere && !link_local(ip)).take(MANY);
        bound.chain(relays).chain(machine).collect()
    }
}

fn holds(nets: &[IpNet], ip: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|net| net.parse().unwrap()).collect()
    }

    const V4: RelayAddress = RelayAddress { local: v4(10, 0, 0, 7), public: v4(203, 0, 113, 7) };
    const V6: RelayAddress =
        RelayAddress { local: v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]), public: v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]) };

    fn ground(allow: &[&str], deny: &[&str]) -> Ground {
        let services = ["0.0.0.0:3478", "192.0.2.7:443", "127.0.0.1:9090"].map(|s| s.parse().unwrap()).to_vec();
        Ground { allow: nets(allow), deny: nets(deny), relays: vec![V4, V6], services }
    }

    fn asked(ground: &Ground) -> Vec<String> {
        let machine = [ip("127.0.0.1"), ip("10.0.0.7"), ip("198.51.100.9"), ip("fe80::7"), ip("2001:db8::7")];
        [V4, V6].iter().flat_map(|relay| ground.peers(*relay, &machine)).map(|peer| peer.to_string()).collect()
    }

    #[test]
    fn without_exceptions_every_form_of_what_an_attacker_wants_is_asked_for() {
        let asked = asked(&ground(&[], &[]));
        for peer in [
            "127.0.0.1",
            "169.254.169.254",
            "10.0.0.1",
            "0.0.0.0",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "168.63.129.16",
            "64:ff9b::a83f:8110",
            "2001:0:808:808::5601:5601",
            "2a00::5efe:a9fe:a9fe",
        ] {
            assert!(asked.contains(&peer.to_owned()), "{peer} in {asked:?}");
        }
    }

    #[test]
    fn what_the_configuration_opens_is_not_asked_for_in_any_form() {
        let asked = asked(&Ground { services: Vec::new(), ..ground(&["127.0.0.0/8", "fd00::/8"], &[]) });
        for opened in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "fd00:ec2::254"] {
            assert!(!asked.contains(&opened.to_owned()), "{opened} in {asked:?}");
        }
        for closed in ["169.254.169.254", "::ffff:169.254.169.254", "::1", "0.0.0.0"] {
            assert!(asked.contains(&closed.to_owned()), "{closed} in {asked:?}");
        }
    }

    #[test]
    fn denied_peers_are_asked_for_although_they_are_allowed_as_well() {
        let asked = asked(&ground(&["10.0.0.0/8", "8.0.0.0/8"], &["10.0.0.0/24", "8.8.8.0/24", "2001:db8:bad::/48"]));
        for denied in ["10.0.0.1", "10.0.0.0", "8.8.8.0", "2001:db8:bad::"] {
            assert!(asked.contains(&denied.to_owned()), "{denied} in {asked:?}");
        }
    }

    #[test]
    fn the_nodes_own_addresses_are_asked_for_whatever_is_opened_but_not_where_relayed_ports_are() {
        let asked = asked(&ground(&["0.0.0.0/0", "::/0"], &[]));
        for own in ["127.0.0.1", "10.0.0.7", "192.0.2.7", "198.51.100.9", "::ffff:10.0.0.7", "::ffff:203.0.113.7"] {
            assert!(asked.contains(&own.to_owned()), "{own} in {asked:?}");
        }
        for other in ["203.0.113.7", "2001:db8::7", "fe80::7"] {
            assert!(!asked.contains(&other.to_owned()), "{other} in {asked:?}");
        }
        let loopback = RelayAddress { local: LOOPBACK, public: LOOPBACK };
        assert!(!ground(&[], &[]).peers(loopback, &[]).contains(&LOOPBACK), "relaying on it opens it");
    }

    #[test]
    fn services_are_asked_for_at_the_address_that_clients_are_told() {
        let services: Vec<_> = ground(&[], &[]).services(V4).iter().map(ToString::to_string).collect();
        assert_eq!(services, ["203.0.113.7:443", "203.0.113.7:3478", "203.0.113.7:9090"]);
    }

    #[test]
    fn clients_of_one_node_reach_each_other_unless_its_public_address_is_denied() {
        for (deny, expected) in [
            (&[][..], [false, false]),
            (&["203.0.113.0/24"], [true, false]),
            (&["10.0.0.0/8", "2001:db8::/32"], [false, true]),
        ] {
            assert_eq!([V4, V6].map(|relay| ground(&[], deny).closes(relay)), expected, "{deny:?}");
        }
    }

    #[test]
    fn a_round_stays_small_however_much_is_configured() {
        let deny: Vec<String> = (0..1000).map(|n| format!("192.0.{}.{}/32", n / 256, n % 256)).collect();
        let deny: Vec<&str> = deny.iter().map(String::as_str).collect();
        let machine: Vec<IpAddr> = (0..=255).flat_map(|c| (0..4).map(move |d| v4(198, 18, c, d))).collect();
        assert!(ground(&[], &deny).peers(V4, &machine).len() < 64);
    }
}
