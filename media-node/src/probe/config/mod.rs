//! The configuration of a prober: text → [`raw`] → [`ProbeConfig`], which cannot be wrong. Every mistake is reported with its
//! path.

mod check;
mod raw;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::raw::Addresses;
use super::{canary::Spot, credentials::Source, session::Echo, target::Target};
use crate::config::{Admin, ConfigError, ConfigHash, Mistakes, read_text, yaml};

/// Peers that no server may grant: loopback, and where clouds give away credentials.
pub const FORBIDDEN_PEERS: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// What `media-node probe` runs by.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeConfig {
    /// At most 2000, one of each name and transport.
    pub targets: Vec<Target>,
    pub settings: Settings,
    /// Every target finds one.
    pub auth: AuthBook,
    pub canary: Vec<Spot>,
    pub ca_file: Option<PathBuf>,
    pub concurrency: usize,
    pub admin: Option<Admin>,
    pub metrics: SocketAddr,
    /// SHA-256 of the file, lower-case hex.
    pub hash: String,
}

/// What holds for every target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub interval: Duration,
    /// At most the interval.
    pub timeout: Duration,
    pub echo: Echo,
    pub packets: u16,
    /// None: never.
    pub security_interval: Option<Duration>,
    /// At most 16.
    pub forbidden_peers: Vec<IpAddr>,
}

/// Whose credentials are used where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthBook {
    pub default: Option<Source>,
    pub regions: BTreeMap<String, Source>,
}

impl AuthBook {
    pub fn find(&self, target: &Target) -> Option<&Source> {
        target.region.as_ref().and_then(|region| self.regions.get(region)).or(self.default.as_ref())
    }
}

/// Reads and checks the file at `path`.
pub fn load(path: &Path, addresses: Addresses) -> Result<ProbeConfig, ConfigError> {
    parse_file(path, &read_text(path)?, addresses)
}

/// Checks `text`, which was read from `path`.
pub fn parse_file(path: &Path, text: &str, addresses: Addresses) -> Result<ProbeConfig, ConfigError> {
    let base = path.parent().unwrap_or(Path::new(""));
    parse(text, base, addresses).map_err(|mistakes| ConfigError::Wrong { path: path.to_owned(), mistakes })
}

fn parse(text: &str, base: &Path, addresses: Addresses) -> Result<ProbeConfig, Mistakes> {
    let (raw, mistakes) = yaml::read::<raw::RawProbe>(text);
    check::check(raw, mistakes, base, addresses, hash(text))
}

/// By which a configuration is known to whoever wrote it: SHA-256, lower-case hex.
pub fn hash(text: &str) -> String {
    ConfigHash::of(text).to_string()
}

/// The JSON Schema of the file.
pub fn json_schema() -> schemars::Schema {
    schemars::schema_for!(raw::RawProbe)
}
