//! Which peers a client may reach: SSRF is what a relay is attacked for (RFC 8656 section 21.3.1).
//!
//! - A standing deny list holds what is never a peer on the Internet. `allow` opens parts of it. `deny` closes what the
//!   user names, and wins over `allow`.
//! - An IPv6 address that carries IPv4 addresses (v4-mapped, v4-compatible, v4-translated, NAT64, 6to4, Teredo, ISATAP)
//!   is judged by itself and by each of them: all must be allowed. So to reach 10.0.0.1 by NAT64, open 10.0.0.1. With
//!   the prefix for local use (RFC 8215) open that too; its addresses are taken to end with the IPv4 address, as those
//!   of 96 bits do. Other prefixes that a network has for NAT64 (RFC 6052) nobody can know: deny them.
//! - The node's own addresses are never opened by `allow`. The public form of a relay address is a peer nevertheless,
//!   for two clients of one node send to each other's relayed address; which port counts then: see `data.rs`.
//!   Only a `deny` of the user closes that too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::config::{Family, RelayAddresses};

const fn v4(a: u8, b: u8, c: u8, len: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), len))
}

/// Azure's platform: the agent's goal state with its certificates, DNS, health probes. A public address, served to
/// each machine by its host.
const AZURE: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32));

const fn v6(a: u16, b: u16, c: u16, len: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), len))
}

/// What is never a peer unless it is opened.
pub const STANDING: [IpNet; 19] = [
    v4(0, 0, 0, 8),      // this network
    v4(10, 0, 0, 8),     // private
    v4(100, 64, 0, 10),  // shared by carriers, and by clusters
    v4(127, 0, 0, 8),    // loopback
    v4(169, 254, 0, 16), // link-local: cloud metadata
    AZURE,
    v4(172, 16, 0, 12),  // private
    v4(192, 0, 0, 24),   // protocol assignments
    v4(192, 168, 0, 16), // private
    v4(224, 0, 0, 4),    // multicast
    v4(240, 0, 0, 4),    // reserved, broadcast
    v6(0, 0, 0, 128),    // unspecified
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    v6(0x64, 0xff9b, 1, 48), // local-use NAT64: leads wherever the network says
    v6(0x100, 0, 0, 64),     // discard
    v6(0xfc00, 0, 0, 7),     // unique local
    v6(0xfe80, 0, 0, 10),    // link-local
    v6(0xfec0, 0, 0, 10),    // site-local, deprecated
    v6(0xff00, 0, 0, 8),     // multicast
];

/// The lists of one node. The default is the standing deny list alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerPolicy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl PeerPolicy {
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow, deny }
    }

    pub fn allow(&self) -> &[IpNet] {
        &self.allow
    }

    pub fn deny(&self) -> &[IpNet] {
        &self.deny
    }

    /// Whether this may be a peer. The node's own addresses are judged elsewhere, first.
    pub fn allows(&self, peer: IpAddr) -> bool {
        // The unspecified address means this machine to a socket, so nothing opens it.
        forms(peer).all(|form| {
            !form.is_unspecified()
                && !contains(&self.deny, form)
                && (contains(&self.allow, form) || !contains(&STANDING, form))
        })
    }
}

fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&ip))
}

/// The address and every address that it carries.
fn forms(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let carried = match ip {
        IpAddr::V4(_) => [None; 3],
        IpAddr::V6(ip) => carried(ip),
    };
    std::iter::once(ip).chain(carried.into_iter().flatten().map(IpAddr::V4))
}

fn carried(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 3] {
    let [one, other] = by_prefix(ip);
    [one, other, by_interface(ip)]
}

/// ISATAP (RFC 5214 section 6.1) has no prefix of its own: its addresses are told by the interface identifier, with the
/// bit for "universal" or without.
fn by_interface(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., 0 | 0x0200, 0x5efe, high, low] = ip.segments() else { return None };
    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

fn by_prefix(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let o = ip.octets();
    let last = Ipv4Addr::new(o[12], o[13], o[14], o[15]);
    match ip.segments() {
        // Unspecified and loopback are no v4-compatible addresses.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        // v4-compatible, v4-mapped, v4-translated (RFC 2765); NAT64 with the well-known prefix (RFC 6052) and with that
        // for local use (RFC 8215).
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _]
        | [0x64, 0xff9b, 1, ..] => [Some(last), None],
        // 6to4 (RFC 3056).
        [0x2002, ..] => [Some(Ipv4Addr::new(o[2], o[3], o[4], o[5])), None],
        // Teredo (RFC 4380): the server, and the client with its bits inverted.
        [0x2001, 0, ..] => {
            [Some(Ipv4Addr::new(o[4], o[5], o[6], o[7])), Some(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15]))]
        }
        _ => [None, None],
    }
}

/// What a peer address is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// Where relayed ports of this node are reached.
    OwnRelay,
    Forbidden,
}

/// `own` are the addresses of the machine.
pub(super) fn standing(relays: &RelayAddresses, policy: &PeerPolicy, own: &[IpAddr], peer: IpAddr) -> Standing {
    if relays.get(Family::of(peer)).is_some_and(|relay| relay.public == peer) {
        let closed = contains(&policy.deny, peer);
        return if closed { Standing::Forbidden } else { Standing::OwnRelay };
    }
    // Behind a 1:1 NAT `local` is another address than clients were told, so nobody asks for it in good faith.
    let is_own = |form| own.contains(&form) || relays.iter().any(|relay| relay.local == form || relay.public == form);
    if forms(peer).any(is_own) || !policy.allows(peer) { Standing::Forbidden } else { Standing::Open }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn peers_that_an_attacker_wants_are_denied_in_every_form() {
        let policy = PeerPolicy::default();
        for denied in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "224.0.0.1",
            "239.1.2.3",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fdff::1",
            "ff02::1",
            // the same, carried in IPv6
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::808:808",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
            "2002:c0a8:101::",
            // Teredo: server 10.0.0.1; client 127.0.0.1 inverted
            "2001:0:a00:1::",
            "2001:0:808:808:0:0:80ff:fffe",
        ] {
            assert!(!policy.allows(ip(denied)), "{denied}");
        }
    }

    /// The address in every form that carries it.
    fn carriers(inner: Ipv4Addr) -> Vec<(&'static str, IpAddr)> {
        let [a, b, c, d] = inner.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        // Where another address is carried as well, it is one of the Internet: 8.8.8.8.
        let forms = [
            ("v4-compatible", [0, 0, 0, 0, 0, 0, high, low]),
            ("v4-mapped", [0, 0, 0, 0, 0, 0xffff, high, low]),
            ("v4-translated", [0, 0, 0, 0, 0xffff, 0, high, low]),
            ("NAT64", [0x64, 0xff9b, 0, 0, 0, 0, high, low]),
            ("NAT64 of a network", [0x64, 0xff9b, 1, 0, 0, 0, high, low]),
            ("6to4", [0x2002, high, low, 0, 0, 0, 0, 1]),
            ("Teredo server", [0x2001, 0, high, low, 0, 0, 0xf7f7, 0xf7f7]),
            ("Teredo client", [0x2001, 0, 0x808, 0x808, 0, 0, !high, !low]),
            ("ISATAP", [0x2a00, 1, 2, 3, 0, 0x5efe, high, low]),
            ("ISATAP, universal", [0x2a00, 1, 2, 3, 0x200, 0x5efe, high, low]),
            ("ISATAP in 6to4", [0x2002, 0x808, 0x808, 1, 0, 0x5efe, high, low]),
        ];
        forms.map(|(form, s)| (form, IpAddr::from(s))).to_vec()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_denied_is_denied_in_every_form_and_what_is_allowed_is_allowed_in_every_form() {
        // The local-use prefix is denied as such, so it is opened here to see what it carries.
        let policy =
            PeerPolicy::new(nets(&["64:ff9b:1::/48", "10.200.0.0/16"]), nets(&["9.9.9.0/24", "10.200.9.0/24"]));
        for (case, inner, expected) in [
            ("loopback", "127.0.0.1", false),
            ("private", "10.1.2.3", false),
            ("metadata", "169.254.169.254", false),
            ("Azure's platform", "168.63.129.16", false),
            ("multicast", "239.1.2.3", false),
            ("denied by the user", "9.9.9.9", false),
            ("denied by the user in what the user opens", "10.200.9.1", false),
            ("opened by the user", "10.200.0.1", true),
            ("beside Azure's platform", "168.63.129.17", true),
            ("on the Internet", "8.8.8.8", true),
        ] {
            assert_eq!(policy.allows(ip(inner)), expected, "{case}");
            for (form, peer) in carriers(inner.parse().unwrap()) {
                assert_eq!(policy.allows(peer), expected, "{case}, {form}: {peer}");
            }
        }
    }

    #[test]
    fn the_nodes_own_addresses_are_forbidden_in_every_form_whatever_is_opened() {
        use super::super::config::RelayAddress;
        let relay = RelayAddress { local: ip("10.0.0.7"), public: ip("203.0.113.7") };
        let relays = RelayAddresses::new(&[relay]).unwrap();
        let opened = PeerPolicy::new(nets(&["0.0.0.0/0", "::/0"]), vec![]);
        let machine = [ip("198.51.100.7"), ip("2001:db8::7")];
        let standing = |peer| standing(&relays, &opened, &machine, peer);
        assert_eq!(standing(ip("203.0.113.7")), Standing::OwnRelay);
        for own in ["10.0.0.7", "198.51.100.7", "2001:db8::7"] {
            assert_eq!(standing(ip(own)), Standing::Forbidden, "{own}");
        }
        for own in ["10.0.0.7", "198.51.100.7", "203.0.113.7"] {
            for (form, peer) in carriers(own.parse().unwrap()) {
                assert_eq!(standing(peer), Standing::Forbidden, "{form}: {peer}");
            }
        }
        assert_eq!(standing(ip("127.0.0.1")), Standing::Open, "opened");
    }

    #[test]
    fn azures_platform_is_opened_by_its_address() {
        let policy = PeerPolicy::new(nets(&["168.63.129.16/32"]), vec![]);
        assert!(policy.allows(ip("168.63.129.16")) && policy.allows(ip("64:ff9b::168.63.129.16")));
    }

    #[test]
    fn peers_on_the_internet_are_allowed() {
        let policy = PeerPolicy::default();
        for allowed in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "203.0.113.7",
            "2001:db8::1",
            "2a00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808:0:0:f7f7:f7f7",
            "2a00::5efe:808:808",
            // one digit beside ISATAP
            "2a00::5eff:a00:1",
            "2a00::100:5efe:a00:1",
        ] {
            assert!(policy.allows(ip(allowed)), "{allowed}");
        }
    }

    #[test]
    fn allow_opens_a_part_of_the_standing_list_and_deny_wins_over_it() {
        let policy = PeerPolicy::new(nets(&["10.200.0.0/16", "fd00::/8"]), nets(&["10.200.9.0/24", "8.8.8.8/32"]));
        for (case, peer, expected) in [
            ("opened", "10.200.0.1", true),
            ("opened, IPv6", "fd00::1", true),
            ("the rest stays closed", "10.201.0.1", false),
            ("denied inside what is opened", "10.200.9.1", false),
            ("denied on the Internet", "8.8.8.8", false),
            ("denied, carried in IPv6", "64:ff9b::8.8.8.8", false),
            ("opened, carried in IPv6", "64:ff9b::10.200.0.1", true),
        ] {
            assert_eq!(policy.allows(ip(peer)), expected, "{case}: {peer}");
        }
    }

    #[test]
    fn nothing_opens_the_unspecified_address() {
        let everything = PeerPolicy::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], vec![]);
        assert!(everything.allows(ip("127.0.0.1")));
        for peer in ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"] {
            assert!(!everything.allows(ip(peer)), "{peer}");
        }
    }
}
