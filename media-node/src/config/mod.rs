//! The configuration of a node: text → [`raw`] → [`TurnConfig`], which cannot be wrong. Every mistake is reported with
//! its path, not only the first.

pub mod adjustable;
pub mod capacity;
pub(crate) mod check;
mod listeners;
pub mod machines;
pub(crate) mod raw;
pub(crate) mod values;
pub mod warnings;
pub mod yaml;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};

pub use adjustable::Adjustable;
pub use capacity::Capacity;
pub use yaml::{Mistake, Mistakes};

use crate::cli::{Failure, Role};
use crate::turn::proto::{PortRange, Realm, RelayAddresses};

/// What `media-node turn` runs by.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnConfig {
    pub realm: Realm,
    /// Never empty, no port 0.
    pub listeners: Vec<Listener>,
    /// Some if there is a TLS listener.
    pub tls: Option<Tls>,
    pub relay_addresses: RelaySource,
    pub relay_ports: PortRange,
    pub auth: Auth,
    pub limits: LimitsSource,
    pub admin: Option<Admin>,
    pub metrics: SocketAddr,
    /// How long live allocations may go on after SIGTERM.
    pub on_terminate: Duration,
    pub threads: Threads,
    /// Between two rounds of asking the node itself for peers that it must refuse. None: never.
    pub probe_interval: Option<Duration>,
    /// Whether clients may keep an allocation when their address changes.
    pub mobility: bool,
    pub hash: ConfigHash,
}

/// Where clients are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    pub protocol: Protocol,
    pub address: SocketAddr,
}

/// What clients speak on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
    /// Plain TCP as well.
    Tls,
}

impl Protocol {
    /// TCP and TLS have their ports together, apart from those of UDP.
    fn is_udp(self) -> bool {
        self == Self::Udp
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// PEM files of TLS listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How the node learns where it relays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelaySource {
    /// As the file says.
    Given(RelayAddresses),
    /// From a file that others keep.
    Machines { file: PathBuf, machine: String },
    /// The file leaves it to us.
    Detect,
}

/// Where that is which may be changed while the node runs.
#[derive(Clone, Debug, PartialEq)]
pub enum LimitsSource {
    /// In the file itself, which is read once.
    Given(Adjustable),
    /// In a file that is followed.
    File(PathBuf),
}

/// Where the shared secrets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The node is not ready before this one has been read.
    pub current: PathBuf,
    /// May be missing.
    pub previous: Option<PathBuf>,
}

/// The admin API and its PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    pub address: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    OneACore,
    Exactly(std::num::NonZeroUsize),
}

/// SHA-256 of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ConfigHash([u8; 32]);

impl ConfigHash {
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the command line and its environment say in place of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    pub machine: Option<String>,
    pub metrics_address: Option<SocketAddr>,
    pub admin_address: Option<SocketAddr>,
    pub machine_type: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {source}: write a file there, or name another", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: is larger than {} bytes: a configuration file is not", path.display(), yaml::MAX_FILE)]
    TooLarge { path: PathBuf },
    /// One line each.
    #[error("{}", lines(path, mistakes))]
    Wrong { path: PathBuf, mistakes: Mistakes },
}

fn lines(path: &Path, mistakes: &Mistakes) -> String {
    let lines: Vec<_> = mistakes.all().iter().map(|mistake| format!("{}: {mistake}", path.display())).collect();
    lines.join("\n")
}

/// Reads and checks the file at `path`.
pub fn load(path: &Path, overrides: &Overrides) -> Result<TurnConfig, ConfigError> {
    let text = read_text(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    parse(&text, base, overrides).map_err(|mistakes| ConfigError::Wrong { path: path.to_owned(), mistakes })
}

/// Checks `text`; relative paths in it start at `base`.
pub fn parse(text: &str, base: &Path, overrides: &Overrides) -> Result<TurnConfig, Mistakes> {
    let (raw, mistakes) = yaml::read::<raw::RawTurn>(text);
    check::check(raw, mistakes, base, overrides, ConfigHash::of(text))
}

/// The JSON Schema of the file.
pub fn json_schema() -> schemars::Schema {
    schemars::schema_for!(raw::RawTurn)
}

/// Prints it, for `media-node config-schema`.
pub fn print_schema(role: Role) -> Result<(), Failure> {
    let schema = match role {
        Role::Turn => json_schema(),
        Role::Probe => crate::probe::config::json_schema(),
    };
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n";
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Running(format!("stdout: {error}")))
}

/// What the machines file at `path` says of `machine` now.
pub fn find_machine(path: &Path, machine: &str) -> Result<machines::Found, ConfigError> {
    let text = read_text(path)?;
    machines::find(&text, machine).map_err(|mistakes| ConfigError::Wrong { path: path.to_owned(), mistakes })
}

/// What the limits file at `path` says now.
pub fn load_limits(path: &Path, overrides: &Overrides) -> Result<(Adjustable, ConfigHash), ConfigError> {
    let text = read_text(path)?;
    let wrong = |mistakes| ConfigError::Wrong { path: path.to_owned(), mistakes };
    let adjustable = adjustable::parse(&text, overrides).map_err(wrong)?;
    Ok((adjustable, ConfigHash::of(&text)))
}

/// For the command line: the same forms as in the file.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    values::parse(text)
}

/// For the command line: the same forms as in the file.
pub(crate) fn parse_written<T: values::Written>(text: &str) -> Result<T, String> {
    values::parse(text)
}

/// For the command line: the same forms as in the file.
pub fn parse_socket_address(text: &str) -> Result<SocketAddr, String> {
    values::parse(text)
}

/// The file at `path`, if it is not larger than a configuration file can be.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(yaml::MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > yaml::MAX_FILE {
        return Err(ConfigError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}
