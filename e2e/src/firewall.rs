//! Rules of a network that lets almost nothing out, as those of offices and hotels.

use std::{fmt::Write, net::SocketAddrV4};

/// Where packets may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Udp(SocketAddrV4),
    Tcp(SocketAddrV4),
}

/// The programs that take rules, and the rules for each. What is not let out is dropped without an answer, which is hardest
/// for a client: it has to give up by itself.
pub fn rules(openings: &[Opening]) -> [(&'static str, String); 2] {
    let closed = "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT DROP\n-A OUTPUT -o lo -j ACCEPT\n";
    let mut v4 = closed.to_owned();
    for opening in openings {
        let (protocol, address) = match opening {
            Opening::Udp(address) => ("udp", address),
            Opening::Tcp(address) => ("tcp", address),
        };
        let _ = writeln!(v4, "-A OUTPUT -d {} -p {protocol} --dport {} -j ACCEPT", address.ip(), address.port());
    }
    [("iptables-restore", v4 + "COMMIT\n"), ("ip6tables-restore", format!("{closed}COMMIT\n"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_opened_gets_out() {
        let [(v4, v4_rules), (v6, v6_rules)] =
            rules(&[Opening::Udp("192.0.2.1:3478".parse().unwrap()), Opening::Tcp("192.0.2.2:443".parse().unwrap())]);
        let closed = "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT DROP\n-A OUTPUT -o lo -j ACCEPT\n";
        assert_eq!([v4, v6], ["iptables-restore", "ip6tables-restore"]);
        assert_eq!(v6_rules, format!("{closed}COMMIT\n"));
        let opened = "-A OUTPUT -d 192.0.2.1 -p udp --dport 3478 -j ACCEPT\n-A OUTPUT -d 192.0.2.2 -p tcp --dport 443 -j ACCEPT\n";
        assert_eq!(v4_rules, format!("{closed}{opened}COMMIT\n"));
    }
}
