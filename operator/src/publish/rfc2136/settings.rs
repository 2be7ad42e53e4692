//! What is configured of a zone.

use super::{Server, TsigKey};
use crate::publish::DnsName;

/// Servers that are configured. A zone has one primary, or two that share what they store.
pub const MAX_SERVERS: usize = 8;
const DNS: u16 = 53;

/// A zone, who takes its updates, and the key.
#[derive(Clone, Debug)]
pub struct Settings {
    zone: DnsName,
    servers: Vec<Server>,
    key: TsigKey,
    ns_port: u16,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoSettings {
    #[error("no server is named: name the zone's primary")]
    NoServer,
    #[error("{have} servers: name at most {MAX_SERVERS}; secondaries are found by the zone's NS records")]
    TooMany { have: usize },
}

impl Settings {
    /// Updates go to the first of `servers` that takes them, so they must be of one zone as it is stored once.
    pub fn new(zone: DnsName, servers: Vec<Server>, key: TsigKey) -> Result<Self, NoSettings> {
        match servers.len() {
            0 => Err(NoSettings::NoServer),
            1..=MAX_SERVERS => Ok(Self { zone, servers, key, ns_port: DNS }),
            have => Err(NoSettings::TooMany { have }),
        }
    }

    /// The port at which the servers of the zone's NS records are asked; 53 unless they stand behind another.
    #[must_use]
    pub fn with_ns_port(self, ns_port: u16) -> Self {
        Self { ns_port, ..self }
    }

    pub fn zone(&self) -> &DnsName {
        &self.zone
    }

    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub fn key(&self) -> &TsigKey {
        &self.key
    }

    pub fn ns_port(&self) -> u16 {
        self.ns_port
    }
}

#[cfg(test)]
mod tests {
    use super::super::Algorithm;
    use super::*;

    #[test]
    fn one_server_is_needed_and_eight_are_the_most() {
        let key = TsigKey::new("k".parse().unwrap(), Algorithm::HmacSha256, &"QUFB".repeat(8)).unwrap();
        let settings = |count| {
            let servers = (1..=count).map(|n| format!("ns{n}.example.org").parse().unwrap()).collect();
            Settings::new("example.org".parse().unwrap(), servers, key.clone()).map(|_| ())
        };
        assert_eq!(settings(0), Err(NoSettings::NoServer));
        assert_eq!((settings(1), settings(8)), (Ok(()), Ok(())));
        assert_eq!(settings(9), Err(NoSettings::TooMany { have: 9 }));
    }
}
