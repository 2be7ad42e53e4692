//! The file as it is written. The comments here are what `media-node config-schema probe` shows.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        Protocol,
        raw::{RawAdmin, RawMetrics},
        values::{As, Bounded, List, Whole},
    },
    probe::{
        canary::Spot,
        target::{Certified, Endpoint, Name, Place},
    },
};

/// Configuration of `media-node probe`. Durations are strings such as 1s, 250ms or 10m. Relative paths start at the
/// directory of this file. It is read again when it changes, except for `admin` and `metrics`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "media-node probe")]
pub struct RawProbe {
    /// What is probed. At most 2000; may be empty.
    #[schemars(required)]
    pub targets: Option<List<RawTarget>>,
    /// Between two probes of a target, a tenth more or less. 250ms to 1h, default 1s.
    pub interval: Option<As<Duration>>,
    /// How long a probe may take until its verdict. 100ms to 30s, at most the interval; default: the interval, but 3s at
    /// the most. It has to be six round trips over UDP and eight over TLS.
    pub timeout: Option<As<Duration>>,
    /// Credentials for targets of regions that have none of their own under `regions`.
    pub auth: Option<RawAuth>,
    /// What is particular to targets of a region, by its name. At most 256.
    pub regions: Option<BTreeMap<String, Option<RawRegion>>>,
    pub echo: Option<RawEcho>,
    pub security: Option<RawSecurity>,
    /// What answers nearly always and is not probed: stun:HOST:PORT or tcp:HOST:PORT. While none of them answers, this
    /// prober's verdicts do not count. Left out: while no target answers at all. At most 16.
    pub canary: Option<List<As<Spot>>>,
    /// PEM file with the authorities that certificates of targets are to come from. Left out: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Probes at one time; more are left out and counted. 1 to 2000, default 2000.
    pub concurrency: Option<Whole<Probes>>,
    /// The admin API, which tells verdicts. Left out: there is none.
    pub admin: Option<RawAdmin>,
    pub metrics: Option<RawMetrics>,
}

/// One way to reach a server: a TURN URI, or an address and a transport.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawTarget {
    /// What verdicts and metrics call it. Targets of one name differ in their transport.
    #[schemars(required)]
    pub name: Option<As<Name>>,
    /// Such as turn:203.0.113.7:3478?transport=udp or turns:turn.example.org:443.
    pub uri: Option<As<Endpoint>>,
    /// In place of uri: host and port.
    pub address: Option<As<Place>>,
    /// In place of uri: UDP, TCP or TLS.
    pub transport: Option<As<Protocol>>,
    /// Of TLS: whom the certificate is to be for. Left out: the host.
    pub server_name: Option<As<Certified>>,
    /// The region that it belongs to.
    pub region: Option<As<Name>>,
}

/// What is particular to one region.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawRegion {
    #[schemars(required)]
    pub auth: Option<RawAuth>,
}

/// Credentials: made from a shared secret (TURN REST), or a user name with its password. Files are read again when they
/// change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawAuth {
    /// Files that hold a shared secret each, one or two: the current one, and during a rotation the previous one, whose
    /// file may be missing.
    pub secret_files: Option<List<PathBuf>>,
    /// How long credentials are good for. Clocks of prober and servers may differ by less than that, and it must not be
    /// more than a server's auth.maxTtl less that. 1m to 24h, default 6h.
    pub ttl: Option<As<Duration>>,
    /// In place of secretFiles: a user name.
    pub username: Option<String>,
    /// With username: the file that holds its password.
    pub password_file: Option<PathBuf>,
}

/// The packets through the relay.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawEcho {
    /// relay, the default: to the allocation's own relayed address. here: to a socket of this prober, whose address has to
    /// be allowed as a peer. Or the address of a server that sends back what it gets (RFC 862).
    pub peer: Option<As<crate::probe::session::Echo>>,
    /// Packets a probe. 1 to 50, default 4.
    pub packets: Option<Whole<Packets>>,
}

/// What servers must refuse, and an alarm if they do not.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawSecurity {
    /// How often, a tenth more or less. 1s to 1h, default 30s; 0s for never.
    pub interval: Option<As<Duration>>,
    /// Peers that must be refused. At most 16; default 127.0.0.1, 169.254.169.254, ::1, fd00:ec2::254.
    pub forbidden_peers: Option<List<As<IpAddr>>>,
}

/// Where the admin API and metrics are served, as the command line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub metrics: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

/// A number of probes.
#[derive(Debug)]
pub struct Probes;
impl Bounded for Probes {
    const NAME: &'static str = "a number of probes";
    const MIN: u32 = 1;
    const MAX: u32 = 2000;
    const EXAMPLE: u32 = 256;
}

/// A number of packets.
#[derive(Debug)]
pub struct Packets;
impl Bounded for Packets {
    const NAME: &'static str = "a number of packets";
    const MIN: u32 = 1;
    const MAX: u32 = 50;
    const EXAMPLE: u32 = 4;
}
