//! What BIND reads: its configuration and the zone. Pure.

use std::{net::SocketAddrV4, path::Path};

use super::{ZONE, key::Key};

/// Where the two servers are.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub primary: SocketAddrV4,
    pub secondary: SocketAddrV4,
}

impl Pair {
    /// The key may write what a publication needs, at any name; other types stay forbidden to it.
    pub fn primary_config(&self, directory: &Path, key: &Key) -> String {
        let (secondary, port) = (self.secondary.ip(), self.secondary.port());
        let (name, algorithm, secret) = (Key::NAME, Key::ALGORITHM, key.secret());
        let options = options(self.primary, directory);
        format!(
            "{options}
key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};
zone \"{ZONE}\" {{
  type primary;
  file \"zone\";
  update-policy {{ grant {name}. zonesub A AAAA TXT; }};
  allow-transfer {{ {secondary}; key \"{name}\"; }};
  notify explicit;
  also-notify {{ {secondary} port {port}; }};
  notify-delay 0;
}};
"
        )
    }

    /// A NOTIFY that is lost, as while the primary starts, is made up for by a look every second.
    pub fn secondary_config(&self, directory: &Path) -> String {
        let (primary, port) = (self.primary.ip(), self.primary.port());
        let options = options(self.secondary, directory);
        format!(
            "{options}
zone \"{ZONE}\" {{
  type secondary;
  file \"copy\";
  primaries {{ {primary} port {port}; }};
  allow-transfer {{ none; }};
  notify no;
  min-refresh-time 1; max-refresh-time 1; min-retry-time 1; max-retry-time 1;
}};
"
        )
    }

    pub fn zone(&self) -> String {
        let (primary, secondary) = (self.primary.ip(), self.secondary.ip());
        format!(
            "$ORIGIN {ZONE}.
$TTL 300
@ IN SOA ns1 hostmaster 1 1 1 86400 5
@ IN NS ns1
@ IN NS ns2
ns1 IN A {primary}
ns2 IN A {secondary}
"
        )
    }
}

fn options(own: SocketAddrV4, directory: &Path) -> String {
    let (ip, port, directory) = (own.ip(), own.port(), directory.display());
    format!(
        "options {{
  directory \"{directory}\";
  listen-on port {port} {{ {ip}; }};
  listen-on-v6 {{ none; }};
  pid-file none; lock-file none; session-keyfile none;
  recursion no; dnssec-validation no; minimal-responses yes;
  query-source address {ip}; notify-source {ip}; transfer-source {ip};
  notify-rate 1000; startup-notify-rate 1000; serial-query-rate 1000;
}};
controls {{ }};"
    )
}
