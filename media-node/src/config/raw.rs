//! The file as it is written. The comments here are what `media-node config-schema` and the editors that read it show.

use std::{net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::capacity::{Amount, InterfaceName};
use super::{
    Protocol,
    values::{As, Bounded, List, Whole},
};
use crate::turn::proto::Realm;

/// Configuration of `media-node turn`. Durations are strings such as 30s, 10m, 24h or 1h30m. Relative paths start at
/// the directory of this file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "media-node turn")]
pub struct RawTurn {
    /// The realm of the long-term credentials (RFC 8489 section 9.2), usually the DNS name of the service. 1 to 63
    /// printable ASCII characters without quotes and backslashes.
    #[schemars(required)]
    pub realm: Option<As<Realm>>,
    /// Where clients are served. 1 to 16.
    #[schemars(required)]
    pub listeners: Option<List<RawListener>>,
    pub tls: Option<RawTls>,
    /// A file with relay.allowPeers, relay.denyPeers, auth.maxTtl, quotas, limits and capacity, in place of these keys
    /// here. It is read again when it changes.
    pub limits_file: Option<PathBuf>,
    pub relay: Option<RawRelay>,
    #[schemars(required)]
    pub auth: Option<RawAuth>,
    pub quotas: Option<RawQuotas>,
    pub limits: Option<RawLimits>,
    /// The admin API. Left out: there is none.
    pub admin: Option<RawAdmin>,
    pub metrics: Option<RawMetrics>,
    pub drain: Option<RawDrain>,
    /// Threads that relay, each with its own sockets. 0, the default: one a core.
    pub threads: Option<Whole<Threads>>,
    pub capacity: Option<RawCapacity>,
    pub probe: Option<RawProbe>,
    pub mobility: Option<RawMobility>,
}

/// One address and port that clients reach.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawListener {
    /// UDP, TCP or TLS. A TLS listener takes plain TURN over TCP as well.
    #[schemars(required)]
    pub protocol: Option<As<Protocol>>,
    /// Address and port. "[::]:3478" takes IPv6 only: write a second listener for IPv4. TCP and TLS cannot share a port.
    #[schemars(required)]
    pub address: Option<As<SocketAddr>>,
}

/// What TLS listeners show. Both files are read again when they change; the node waits until they are there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawTls {
    /// PEM file with the certificate, then its issuers.
    #[schemars(required)]
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[schemars(required)]
    pub key: Option<PathBuf>,
}

/// Where relayed ports are opened, and whom they may talk to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRelay {
    /// Addresses of this machine, at most one IPv4 and one IPv6. Left out, with machinesFile left out as well: the
    /// addresses of the listeners, or those that the default route leaves from.
    pub addresses: Option<List<As<IpAddr>>>,
    /// What clients are told in place of `addresses`, where it differs (1:1 NAT), at most one IPv4 and one IPv6.
    pub public_addresses: Option<List<As<IpAddr>>>,
    /// A file `machines: {NAME: {addresses: [], publicAddresses: []}}` that holds this machine's addresses under the
    /// name given by --machine, in place of `addresses` and `publicAddresses`. The node waits until its name is there.
    pub machines_file: Option<PathBuf>,
    /// First relayed port. 1024 to 65535, default 49152.
    pub min_port: Option<Whole<Port>>,
    /// Last relayed port. 1024 to 65535, default 65535.
    pub max_port: Option<Whole<Port>>,
    /// CIDRs opened in the standing deny list (private, loopback, link-local, multicast and other special ranges).
    /// At most 1000.
    pub allow_peers: Option<List<As<IpNet>>>,
    /// CIDRs denied on top of the standing deny list; they win over allowPeers. At most 1000.
    pub deny_peers: Option<List<As<IpNet>>>,
}

/// Who may use the server: TURN REST credentials, checked with shared secrets.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAuth {
    /// Files that hold a shared secret each, one or two: the current one, and during a rotation the previous one,
    /// whose file may be missing. They are read again when they change. White space around a secret is left out.
    #[schemars(required)]
    pub secret_files: Option<List<PathBuf>>,
    /// Credentials that expire further ahead than this are refused. 1m to 8760h, default 24h.
    pub max_ttl: Option<As<Duration>>,
}

/// Limits on what clients can hold at one time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawQuotas {
    /// Allocations a user (the part of the user name after the colon). 1 to 1000000, default 20.
    pub allocations_per_user: Option<Whole<Allocations>>,
    /// Allocations in all. 1 to 1000000, default 100000.
    pub allocations: Option<Whole<Allocations>>,
    /// Bits of payload a second that one allocation may relay each way, such as 4M; more is dropped. Left out: no limit.
    pub bandwidth_per_allocation: Option<As<Amount>>,
    /// Bits of payload a second, both ways together, at which new allocations are refused, such as 8G; live ones go on.
    /// Left out: no limit.
    pub bandwidth: Option<As<Amount>>,
}

/// Limits on what those can have the node do who have not proven who or where they are.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawLimits {
    /// Answers a second over UDP to requests whose source address may be forged, for each network (IPv4 /24, IPv6 /48):
    /// Binding answers and challenges. Bursts may be twice as large, and retransmissions get half as many again. 0 for
    /// no limit; to 1000000, default 1000.
    pub unauthenticated_per_prefix: Option<Whole<Answers>>,
}

/// HTTPS with mutual TLS. All three files are read again when they change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAdmin {
    /// Default 127.0.0.1:9443. --admin-address wins.
    pub address: Option<As<SocketAddr>>,
    /// PEM file with the server's certificate, then its issuers.
    #[schemars(required)]
    pub certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[schemars(required)]
    pub key: Option<PathBuf>,
    /// PEM file with the authorities whose client certificates are accepted.
    #[schemars(required)]
    pub client_ca: Option<PathBuf>,
}

/// Plain HTTP: /metrics, /healthz, /readyz.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMetrics {
    /// Default 127.0.0.1:9090. --metrics-address wins.
    pub address: Option<As<SocketAddr>>,
}

/// How the node ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawDrain {
    /// How long live allocations may go on after SIGTERM or SIGINT. 0s to 168h, default 30s. A second signal ends the
    /// process at once.
    pub on_terminate: Option<As<Duration>>,
}

/// The node asks itself, as a client would, for peers that it must refuse, and tells of those that it grants.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawProbe {
    /// How often, a fifth more or less. 2s to 1h, default 30s; 0s for never.
    pub interval: Option<As<Duration>>,
}

/// Clients whose address changes (RFC 8016).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMobility {
    /// Whether a client that asks for it keeps its allocation when its address changes. Default true. With false, those
    /// that ask are refused (405).
    pub enabled: Option<bool>,
}

/// What this machine can carry, where its kernel does not know. Load is told in percent of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCapacity {
    pub nic: Option<RawNic>,
    /// What the cloud calls this type of machine, such as c5.2xlarge or Standard_F8s_v2: what it can carry is known for
    /// some. --machine-type wins.
    pub machine_type: Option<String>,
}

/// The network interface that relayed traffic uses. Amounts are strings such as 10G or 400k (decimal suffixes k, M, G, T).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawNic {
    /// Its name. Left out: the one that holds the first of relay.addresses.
    pub interface: Option<As<InterfaceName>>,
    /// Bits a second that it can send. Left out: as rx.
    pub tx: Option<As<Amount>>,
    /// Bits a second that it can receive. Left out: as tx.
    pub rx: Option<As<Amount>>,
    /// Packets a second, both ways together. Left out: packets are not looked at.
    pub packets: Option<As<Amount>>,
}

/// The file that `limitsFile` names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAdjustable {
    pub relay: Option<RawPeers>,
    pub auth: Option<RawCredentials>,
    pub quotas: Option<RawQuotas>,
    pub limits: Option<RawLimits>,
    pub capacity: Option<RawCapacity>,
}

/// What [`RawRelay`] says of peers.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawPeers {
    pub allow_peers: Option<List<As<IpNet>>>,
    pub deny_peers: Option<List<As<IpNet>>>,
}

/// What [`RawAuth`] says of credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCredentials {
    pub max_ttl: Option<As<Duration>>,
}

/// The file that `relay.machinesFile` names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMachines {
    pub machines: Option<std::collections::BTreeMap<String, Option<RawMachine>>>,
}

/// One machine of [`RawMachines`].
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMachine {
    pub addresses: Option<List<As<IpAddr>>>,
    pub public_addresses: Option<List<As<IpAddr>>>,
    /// As in `capacity`, which wins.
    pub machine_type: Option<String>,
}

/// A relayed port.
#[derive(Debug)]
pub struct Port;
impl Bounded for Port {
    const NAME: &'static str = "a port";
    const MIN: u32 = 1024;
    const MAX: u32 = 65535;
    const EXAMPLE: u32 = 49152;
}

/// A number of threads.
#[derive(Debug)]
pub struct Threads;
impl Bounded for Threads {
    const NAME: &'static str = "a number of threads";
    const MIN: u32 = 0;
    const MAX: u32 = 256;
    const EXAMPLE: u32 = 0;
}

/// A number of answers a second.
#[derive(Debug)]
pub struct Answers;
impl Bounded for Answers {
    const NAME: &'static str = "a number of answers a second";
    const MIN: u32 = 0;
    const MAX: u32 = 1_000_000;
    const EXAMPLE: u32 = 1000;
}

/// A number of allocations.
#[derive(Debug)]
pub struct Allocations;
impl Bounded for Allocations {
    const NAME: &'static str = "a number of allocations";
    const MIN: u32 = 1;
    const MAX: u32 = 1_000_000;
    const EXAMPLE: u32 = 1000;
}
