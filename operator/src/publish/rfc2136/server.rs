//! Where a server is.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::wire;
use crate::host_port::host_port;
use crate::publish::PublishError;

const DNS: u16 = 53;
const LONGEST: usize = 253;

/// A server as configured: a host name or an address, and a port (53 unless written).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no server: write HOST or HOST:PORT, such as ns1.example.org, 192.0.2.1:5353 or [2001:db8::1]:53")]
pub struct NoServer {
    text: String,
}

impl Server {
    pub fn new(host: &str, port: u16) -> Result<Self, NoServer> {
        let is_host = (1..=LONGEST).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte))
            && (!host.contains(':') || host.parse::<IpAddr>().is_ok());
        if is_host && port != 0 {
            Ok(Self { host: host.to_owned(), port })
        } else {
            Err(NoServer { text: format!("{host}:{port}").chars().take(300).collect() })
        }
    }

    /// As `HOST:PORT`.
    pub fn place(&self) -> String {
        host_port(&self.host, self.port)
    }

    /// Its addresses, by the resolver of this machine where it is a name. Never none.
    pub(super) async fn addresses(&self) -> Result<Vec<SocketAddr>, PublishError> {
        wire::lookup(&self.host, self.port, self).await
    }
}

impl FromStr for Server {
    type Err = NoServer;

    fn from_str(text: &str) -> Result<Self, NoServer> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::new(&address.ip().to_string(), address.port());
        }
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Self::new(&address.to_string(), DNS);
        }
        let wrong = |_| NoServer { text: text.chars().take(300).collect() };
        match text.rsplit_once(':') {
            Some((host, port)) => Self::new(host, port.parse().map_err(wrong)?),
            None => Self::new(text, DNS),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == DNS { f.write_str(&self.host) } else { f.write_str(&self.place()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_printed_as_it_can_be_written() {
        for (text, printed) in [
            ("ns1.example.org", "ns1.example.org"),
            ("ns1.example.org:53", "ns1.example.org"),
            ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), printed, "{text}");
            assert_eq!(printed.parse::<Server>().unwrap(), server, "{text}");
        }
    }

    #[test]
    fn what_is_no_server_says_what_to_write() {
        for text in ["", ":53", "a:", "a:0", "a:65536", "a b", "udp://a"] {
            assert!(text.parse::<Server>().unwrap_err().to_string().contains("such as ns1.example.org"), "{text}");
        }
    }
}
