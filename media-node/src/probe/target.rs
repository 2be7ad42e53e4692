//! What is probed, and how it is written: TURN URIs (RFC 7065), or an address and a transport.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
};

use rtcfleet_node_api::Transport;
use rustls::pki_types::ServerName;

use crate::config::values::Written;

/// RFC 7065 section 3.2.
const PLAIN_PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;
/// RFC 1035 section 2.3.4.
const LONGEST_NAME: usize = 253;

/// An address, or a name that has some.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'))?;
        if let Ok(ip) = bare.parse::<IpAddr>() {
            // Without brackets nobody can tell where its port begins.
            return (ip.is_ipv4() == (bare == text)).then_some(Self::Ip(ip));
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(good);
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A host and a port on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub host: Host,
    pub port: u16,
}

impl Place {
    /// The port may be left out if there is a default.
    fn read(text: &str, default: Option<u16>) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            // `parse` alone would take "+5".
            Some(port) => port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?,
            None => default?,
        };
        Some(Self { host: Host::parse(host)?, port }).filter(|place| place.port != 0)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Written for Place {
    const NAME: &'static str = "a host and a port";
    const EXAMPLES: &'static [&'static str] = &["turn.example.org:3478", "203.0.113.7:3478", "[2001:db8::7]:3478"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        Self::read(text, None).ok_or_else(|| Self::EXAMPLES.join(" or ").into())
    }
}

/// Where a server is, and how it is talked to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub place: Place,
    pub transport: Transport,
}

impl Written for Endpoint {
    const NAME: &'static str = "a TURN URI";
    const EXAMPLES: &'static [&'static str] =
        &["turn:203.0.113.7:3478?transport=udp", "turn:turn.example.org?transport=tcp", "turns:turn.example.org:443"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let instead = || Cow::from(Self::EXAMPLES.join(" or "));
        let (scheme, rest) = text.split_once(':').ok_or_else(instead)?;
        let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
        let (transport, port) = match (scheme, query) {
            ("turn", None | Some("transport=udp")) => (Transport::Udp, PLAIN_PORT),
            ("turn", Some("transport=tcp")) => (Transport::Tcp, PLAIN_PORT),
            ("turns", None | Some("transport=tcp")) => (Transport::Tls, TLS_PORT),
            ("turns", Some("transport=udp")) => return Err("turns:HOST:PORT: DTLS is not probed".into()),
            _ => return Err(instead()),
        };
        let place = Place::read(place, Some(port)).ok_or_else(instead)?;
        Ok(Self { place, transport })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Udp => write!(f, "turn:{}?transport=udp", self.place),
            Transport::Tcp => write!(f, "turn:{}?transport=tcp", self.place),
            Transport::Tls => write!(f, "turns:{}", self.place),
        }
    }
}

/// How a transport is called in metrics and tables.
pub fn transport_label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
    }
}

/// A name that the configuration gives to something: a label of metrics, so without anything that needs escaping.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub String);

impl Written for Name {
    const NAME: &'static str = "a name";
    const EXAMPLES: &'static [&'static str] = &["centralindia-0"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
        if (1..=63).contains(&text.len()) && text.bytes().all(good) {
            return Ok(Self(text.to_owned()));
        }
        Err("1 to 63 letters, digits, dashes, dots, underscores and slashes, such as centralindia-0".into())
    }
}

/// A name that a certificate has to have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certified(pub ServerName<'static>);

impl Written for Certified {
    const NAME: &'static str = "a server name";
    const EXAMPLES: &'static [&'static str] = &["turn.example.org", "203.0.113.7"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        ServerName::try_from(text.to_owned()).map(Self).map_err(|_| Self::EXAMPLES.join(" or ").into())
    }
}

/// One thing to probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub name: String,
    pub region: Option<String>,
    pub endpoint: Endpoint,
    /// Of [`Transport::Tls`]: what the certificate is to be for. Left out: the host.
    pub server_name: Option<ServerName<'static>>,
}

/// Names a target among the others: there is one of each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub name: String,
    pub transport: Transport,
}

impl Target {
    pub fn key(&self) -> Key {
        Key { name: self.name.clone(), transport: self.endpoint.transport }
    }

    /// None for a host that no certificate can be for, such as one with an underscore.
    pub fn certified_name(&self) -> Option<ServerName<'static>> {
        self.server_name.clone().or_else(|| match &self.endpoint.place.host {
            Host::Ip(ip) => Some(ServerName::from(*ip)),
            Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        })
    }
}

/// Addresses that may be probed of one name: more than this are left out.
pub const MAX_ADDRESSES: usize = 16;

/// The address to probe in the so-manieth probe: each in turn, so that none of them stays unseen.
pub fn turn(addresses: &[SocketAddr], probe: u64) -> Option<SocketAddr> {
    let count = u64::try_from(addresses.len()).ok().filter(|count| *count > 0)?;
    usize::try_from(probe % count).ok().and_then(|index| addresses.get(index).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_uris_are_read_as_rfc_7065_has_them() {
        for (text, expected) in [
            ("turn:turn.example.org", "turn:turn.example.org:3478?transport=udp"),
            ("turn:203.0.113.7:80?transport=tcp", "turn:203.0.113.7:80?transport=tcp"),
            ("turns:Turn.Example.ORG", "turns:turn.example.org:5349"),
            ("turns:turn.example.org:443?transport=tcp", "turns:turn.example.org:443"),
            ("turn:[2001:db8::7]", "turn:[2001:db8::7]:3478?transport=udp"),
            ("turn:[2001:db8::7]:80", "turn:[2001:db8::7]:80?transport=udp"),
        ] {
            assert_eq!(Endpoint::parse(text).map(|endpoint| endpoint.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_turn_uri_is_refused_with_what_to_write() {
        for text in [
            "",
            "turn",
            "turn:",
            "stun:turn.example.org",
            "turn:2001:db8::7",
            "turn:a:0",
            "turn:a:65536",
            "turn:a:+1",
            "turn:a b",
            "turn:a?transport=sctp",
            "turn://a",
            "turn:[a]",
            "turns:a?transport=udp",
            "turn:[203.0.113.7]:80",
        ] {
            let instead = Endpoint::parse(text).expect_err(text);
            assert!(instead.contains("turn"), "{text}: {instead}");
        }
        assert!(Place::parse("turn.example.org").is_err(), "there is no default port for a place");
    }

    #[test]
    fn the_addresses_of_a_name_take_turns() {
        let addresses = ["192.0.2.1:1", "192.0.2.2:1"].map(|address| address.parse().unwrap());
        let probed: Vec<_> = (0..4).filter_map(|probe| turn(&addresses, probe)).collect();
        assert_eq!(probed, [addresses[0], addresses[1], addresses[0], addresses[1]]);
        assert_eq!(turn(&[], 3), None);
    }
}
