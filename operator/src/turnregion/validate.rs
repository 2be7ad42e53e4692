//! A TurnRegion as written → one that cannot be wrong. Touches nothing: values in, values out.
//!
//! The API server has checked the schema and its CEL rules already; what is left is what CEL cannot say, and what an
//! object stored under an older schema may still hold. Every mistake is reported, not only the first.

mod fleet;
mod listeners;
mod peers;
mod rate;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use rtcfleet_crds::TurnRegion;
use rtcfleet_crds::duration::NotADuration;
use rtcfleet_crds::turn_region::{
    AddressSource, Addresses, Auth, Capacity, Mode, Placement, Protocol, Quotas, Relay, Template, TurnRegionSpec,
};

pub use self::listeners::Listeners;
pub use self::rate::Rate;
pub use crate::identity::Identity;

use crate::error::{Categorised, Category};
use crate::fleet::policy::Policy;
use crate::fleet::schedule::NotScheduled;
use crate::identity::NoIdentity;
use crate::pod::{ADMIN_PORT, METRICS_PORT};

/// No listener may have them.
const OWN_PORTS: [(u16, &str); 2] = [(ADMIN_PORT, "admin"), (METRICS_PORT, "metrics")];

const DEFAULT_MAX_TTL: Duration = Duration::from_hours(24);
/// Kubernetes looks whether the pods of a deleted namespace are gone after half of the longest grace period among them.
const DEFAULT_EVICTION: Duration = Duration::from_secs(45);
const DEFAULT_PER_USER: u32 = 20;

/// One mistake in a TurnRegion.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    #[error(transparent)]
    Incomplete(#[from] NoIdentity),
    #[error("spec.{path}: {source}")]
    Duration { path: &'static str, source: NotADuration },
    #[error(
        "spec.relay: {min} to {max} is no range of ports: write 1024 <= minPort <= maxPort <= 65535, such as 49152 and 65535"
    )]
    NoPortRange { min: i32, max: i32 },
    #[error(
        "spec.relay: {have} ports for spec.quotas.allocationsPerNode {quota}: widen minPort to maxPort to at least {quota} ports, or lower the quota"
    )]
    TooFewRelayPorts { have: u32, quota: u32 },
    #[error(
        "spec.quotas.allocationsPerUser: {user} is more than allocationsPerNode {node}: lower it to at most {node}, or raise allocationsPerNode"
    )]
    UserQuotaAboveNodes { user: u32, node: u32 },
    #[error(
        "spec.relay: {min} to {max} holds the relay's own {what} port {port}: move the range, such as 49152 to 65535"
    )]
    OwnPortInRange { min: u16, max: u16, port: u16, what: &'static str },
    #[error("spec.listeners[{name}].port: {port} is the relay's own {what} port: choose another")]
    PortTaken { name: String, port: u16, what: &'static str },
    #[error("spec.listeners[{name}].port: {port} is not a port: write 1 to 65535, such as 3478")]
    NotAPort { name: String, port: i32 },
    #[error(
        "spec.listeners[{name}].port: {port} is the port of listener {other}: choose another (TCP and TLS share one port space)"
    )]
    PortTwice { name: String, other: String, port: u16 },
    #[error(
        "spec.relay: {min} to {max} holds port {port} of listener {name}: move the range, such as 49152 to 65535, or give the listener another port"
    )]
    ListenerInRange { name: String, port: u16, min: u16, max: u16 },
    #[error(
        "spec.tls: missing, and listener {name} needs a certificate: write {{secretName: turn-tls}}, naming a kubernetes.io/tls Secret"
    )]
    NoCertificate { name: String },
    #[error(
        "spec.listeners: the list is empty: write {{name: udp, protocol: UDP, port: 3478}}, or leave listeners out for UDP and TCP 3478"
    )]
    NoListener,
    #[error(
        "spec.{path}: {text:?} is no number above 0: write digits with k, M, G, T or nothing after them, such as {example}"
    )]
    NotARate { path: &'static str, text: String, example: &'static str },
    #[error("spec.{path}: {text:?} is no network: write address/prefix length, such as 10.20.0.0/16 or 2001:db8::/32")]
    NotANetwork { path: &'static str, text: String },
    #[error(
        "spec.relay.allowPeers: it opens the cluster's networks in so many places that {parts} networks are left to deny, and nodes take {most}: open fewer, wider networks"
    )]
    TooManyParts { parts: usize, most: usize },
    #[error("spec.auth: missing: write {{realm: turn.example.org, secretRef: {{name: turn-auth}}}}")]
    NoAuth,
    #[error(
        "spec.addresses.machines[{machine}]: {text:?} is not an IP address: write one such as 203.0.113.7 or 2001:db8::7"
    )]
    NotAnAddress { machine: String, text: String },
    #[error("spec.addresses.machines[{machine}]: two {family} addresses: write at most one a family")]
    TwoAddresses { machine: String, family: &'static str },
    #[error("spec.scaling.schedule[{at}]: {source}")]
    Schedule { at: usize, source: NotScheduled },
    #[error("spec.scaling: min {min} is more than max {max}: write min <= max, such as min: 2 and max: 20")]
    MinAboveMax { min: u32, max: u32 },
    #[error("spec.{path}: {value} is out of range: write {range}")]
    OutOfRange { path: &'static str, value: i64, range: &'static str },
}

impl Categorised for ValidateError {
    fn category(&self) -> Category {
        match self {
            Self::Incomplete(_) => Category::Bug,
            Self::Duration { .. }
            | Self::NoPortRange { .. }
            | Self::TooFewRelayPorts { .. }
            | Self::UserQuotaAboveNodes { .. }
            | Self::OwnPortInRange { .. }
            | Self::PortTaken { .. }
            | Self::NotAPort { .. }
            | Self::PortTwice { .. }
            | Self::ListenerInRange { .. }
            | Self::NoCertificate { .. }
            | Self::NoListener
            | Self::NotARate { .. }
            | Self::NotANetwork { .. }
            | Self::TooManyParts { .. }
            | Self::NoAuth
            | Self::NotAnAddress { .. }
            | Self::TwoAddresses { .. }
            | Self::Schedule { .. }
            | Self::MinAboveMax { .. }
            | Self::OutOfRange { .. } => Category::UserMustAct,
        }
    }

    fn reason(&self) -> &'static str {
        "InvalidSpec"
    }
}

/// Every mistake of one TurnRegion.
pub type Mistakes = crate::error::Mistakes<ValidateError>;

/// A TurnRegion that can be acted on.
#[derive(Clone, Debug, PartialEq)]
pub enum Validated {
    Managed(Box<ManagedRegion>),
    /// Relays that run elsewhere: listed, not made.
    External {
        identity: Identity,
        not_in_effect: Vec<String>,
    },
}

/// A region whose relays we run.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedRegion {
    pub identity: Identity,
    pub region: String,
    pub placement: Placement,
    pub listeners: Listeners,
    pub relay: RelayPorts,
    pub allow_peers: Vec<String>,
    /// The user's, and the cluster's own networks that the user does not open.
    pub deny_peers: Vec<String>,
    pub addresses: AddressesFrom,
    pub realm: String,
    pub secret: SecretKeys,
    pub max_ttl: Duration,
    pub quotas: NodeQuotas,
    pub nic: NicCapacity,
    /// How many relays, and how they come and go.
    pub fleet: Policy,
    /// Regions of this namespace with the same name here take each other's load.
    pub failover_group: Option<String>,
    /// How long sessions may stay on a node that Kubernetes ends.
    pub eviction_drain: Duration,
    pub template: Template,
    pub not_in_effect: Vec<String>,
}

/// Relay ports of one node, both ends included. Never empty, never privileged (RFC 8656 section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayPorts {
    first: u16,
    last: u16,
}

impl RelayPorts {
    pub fn parse(min: i32, max: i32) -> Result<Self, ValidateError> {
        match (u16::try_from(min), u16::try_from(max)) {
            (Ok(first @ 1024..), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(ValidateError::NoPortRange { min, max }),
        }
    }

    pub fn first(self) -> u16 {
        self.first
    }

    pub fn last(self) -> u16 {
        self.last
    }

    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

/// The Secret that credentials are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKeys {
    pub name: String,
    pub current: String,
    pub previous: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeQuotas {
    pub per_user: u32,
    pub per_node: u32,
    /// Bits a second of one allocation, each way.
    pub bandwidth: Option<Rate>,
}

/// What the network interface of a machine can carry, where somebody wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicCapacity {
    /// Bits a second sent.
    pub tx: Option<Rate>,
    /// Bits a second received.
    pub rx: Option<Rate>,
    /// Packets a second, both ways together.
    pub packets: Option<Rate>,
}

/// How a relay learns the address that clients see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressesFrom {
    InternalIp,
    ExternalIp,
    Annotation(String),
    /// By machine name, one address a family at the most.
    Static(BTreeMap<String, Vec<IpAddr>>),
}

/// Checks the whole object and collects every mistake. `cluster` are the cluster's own networks.
pub fn validate(region: &TurnRegion, cluster: &[IpNet]) -> Result<Validated, Mistakes> {
    let (validated, mistakes) = read(region, cluster);
    if mistakes.is_empty() { Ok(validated) } else { Err(crate::error::Mistakes(mistakes)) }
}

/// A region with mistakes, with defaults in their place: nothing to act on, but its relays run on, and where and how
/// callers reach them can mostly be told. None where it cannot, and for relays that run elsewhere.
pub fn readable(region: &TurnRegion, cluster: &[IpNet]) -> Option<ManagedRegion> {
    let (Validated::Managed(managed), mistakes) = read(region, cluster) else { return None };
    let is_in_the_way = |mistake: &ValidateError| {
        matches!(mistake, ValidateError::Incomplete(_) | ValidateError::NoAuth | ValidateError::NoCertificate { .. })
    };
    (!mistakes.iter().any(is_in_the_way)).then_some(*managed)
}

fn read(region: &TurnRegion, cluster: &[IpNet]) -> (Validated, Vec<ValidateError>) {
    let mut check = Check::default();
    let identity = check.identity(region);
    let spec = &region.spec;
    let not_in_effect = not_in_effect(spec);
    if spec.mode == Some(Mode::External) {
        return (Validated::External { identity, not_in_effect }, check.mistakes);
    }
    let relay = spec.relay.clone().unwrap_or_default();
    let ports = check.relay_ports(&relay);
    let (realm, secret, max_ttl) = check.auth(spec.auth.as_ref());
    let upgrade = spec.upgrade.clone().unwrap_or_default();
    let eviction_drain =
        check.duration("upgrade.evictionDeadline", upgrade.eviction_deadline.as_ref(), DEFAULT_EVICTION);
    let managed = ManagedRegion {
        identity,
        region: spec.region.clone(),
        placement: spec.placement.clone().unwrap_or_default(),
        listeners: check.listeners(spec, ports),
        relay: ports,
        deny_peers: check.deny_peers(&relay, cluster),
        allow_peers: relay.allow_peers,
        addresses: check.addresses(spec.addresses.as_ref()),
        realm,
        secret,
        max_ttl,
        quotas: check.quotas(spec.quotas.as_ref(), ports),
        nic: check.nic(spec.capacity.as_ref()),
        fleet: check.fleet(spec, &upgrade),
        failover_group: spec.failover_group.clone(),
        eviction_drain,
        template: spec.template.clone().unwrap_or_default(),
        not_in_effect,
    };
    (Validated::Managed(Box::new(managed)), check.mistakes)
}

#[derive(Default)]
struct Check {
    mistakes: Vec<ValidateError>,
}

impl Check {
    fn identity(&mut self, region: &TurnRegion) -> Identity {
        Identity::of(region).unwrap_or_else(|missing| {
            self.mistakes.push(missing.into());
            Identity { name: String::new(), namespace: String::new(), uid: String::new(), generation: 0 }
        })
    }

    fn duration(&mut self, path: &'static str, text: Option<&rtcfleet_crds::Duration>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        text.parse().unwrap_or_else(|source| {
            self.mistakes.push(ValidateError::Duration { path, source });
            default
        })
    }

    fn count(
        &mut self,
        path: &'static str,
        value: Option<i32>,
        default: u32,
        allowed: std::ops::RangeInclusive<u32>,
        range: &'static str,
    ) -> u32 {
        let Some(value) = value else { return default };
        match u32::try_from(value) {
            Ok(count) if allowed.contains(&count) => count,
            _ => {
                self.mistakes.push(ValidateError::OutOfRange { path, value: value.into(), range });
                default
            }
        }
    }

    fn relay_ports(&mut self, relay: &Relay) -> RelayPorts {
        let (min, max) = (relay.min_port.unwrap_or(49152), relay.max_port.unwrap_or(65535));
        let ports = RelayPorts::parse(min, max).unwrap_or_else(|mistake| {
            self.mistakes.push(mistake);
            RelayPorts { first: 49152, last: 65535 }
        });
        for (port, what) in OWN_PORTS {
            if ports.contains(port) {
                self.mistakes.push(ValidateError::OwnPortInRange { min: ports.first, max: ports.last, port, what });
            }
        }
        ports
    }

    fn auth(&mut self, auth: Option<&Auth>) -> (String, SecretKeys, Duration) {
        let Some(Auth { realm, secret_ref, max_ttl }) = auth else {
            self.mistakes.push(ValidateError::NoAuth);
            let nothing = SecretKeys { name: String::new(), current: String::new(), previous: None };
            return (String::new(), nothing, DEFAULT_MAX_TTL);
        };
        let keys = secret_ref.keys.clone().unwrap_or_else(|| vec!["current".into(), "previous".into()]);
        let mut keys = keys.into_iter();
        let current = keys.next().unwrap_or_else(|| "current".into());
        let secret = SecretKeys { name: secret_ref.name.clone(), current, previous: keys.next() };
        (realm.clone(), secret, self.duration("auth.maxTtl", max_ttl.as_ref(), DEFAULT_MAX_TTL))
    }

    fn quotas(&mut self, quotas: Option<&Quotas>, ports: RelayPorts) -> NodeQuotas {
        let quotas = quotas.cloned().unwrap_or_default();
        let per_node = self.count(
            "quotas.allocationsPerNode",
            quotas.allocations_per_node,
            ports.count(),
            1..=1_000_000,
            "1 to 1000000",
        );
        let per_user = self.count(
            "quotas.allocationsPerUser",
            quotas.allocations_per_user,
            DEFAULT_PER_USER.min(per_node),
            1..=100_000,
            "1 to 100000",
        );
        if per_user > per_node {
            self.mistakes.push(ValidateError::UserQuotaAboveNodes { user: per_user, node: per_node });
        }
        if per_node > ports.count() {
            self.mistakes.push(ValidateError::TooFewRelayPorts { have: ports.count(), quota: per_node });
        }
        let bandwidth = quotas.bandwidth_per_allocation.as_deref();
        NodeQuotas { per_user, per_node, bandwidth: self.rate("quotas.bandwidthPerAllocation", bandwidth, "4M") }
    }

    fn nic(&mut self, capacity: Option<&Capacity>) -> NicCapacity {
        let nic = capacity.and_then(|capacity| capacity.nic.clone()).unwrap_or_default();
        NicCapacity {
            tx: self.rate("capacity.nic.tx", nic.tx.as_deref(), "10G"),
            rx: self.rate("capacity.nic.rx", nic.rx.as_deref(), "10G"),
            packets: self.rate("capacity.nic.packets", nic.packets.as_deref(), "1M"),
        }
    }

    fn rate(&mut self, path: &'static str, text: Option<&str>, example: &'static str) -> Option<Rate> {
        let text = text?;
        let rate = Rate::parse(text);
        if rate.is_none() {
            self.mistakes.push(ValidateError::NotARate { path, text: text.to_owned(), example });
        }
        rate
    }

    fn addresses(&mut self, addresses: Option<&Addresses>) -> AddressesFrom {
        let Some(addresses) = addresses else { return AddressesFrom::InternalIp };
        match addresses.from {
            AddressSource::NodeInternalIp => AddressesFrom::InternalIp,
            AddressSource::NodeExternalIp => AddressesFrom::ExternalIp,
            AddressSource::NodeAnnotation => {
                AddressesFrom::Annotation(addresses.annotation.clone().unwrap_or_default())
            }
            AddressSource::Static => {
                let machines = addresses.machines.iter().flatten();
                AddressesFrom::Static(
                    machines
                        .map(|machine| (machine.name.clone(), self.static_addresses(&machine.name, &machine.addresses)))
                        .collect(),
                )
            }
        }
    }

    fn static_addresses(&mut self, machine: &str, texts: &[String]) -> Vec<IpAddr> {
        let mut found: Vec<IpAddr> = Vec::new();
        for text in texts {
            match text.parse::<IpAddr>() {
                Ok(address) if found.iter().any(|other| other.is_ipv4() == address.is_ipv4()) => {
                    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                    self.mistakes.push(ValidateError::TwoAddresses { machine: machine.to_owned(), family });
                }
                Ok(address) => found.push(address),
                Err(_) => {
                    let (machine, text) = (machine.to_owned(), text.clone());
                    self.mistakes.push(ValidateError::NotAnAddress { machine, text });
                }
            }
        }
        found
    }
}

/// What is written but does nothing in this release, a line each, for `status.notInEffect`.
fn not_in_effect(spec: &TurnRegionSpec) -> Vec<String> {
    let TurnRegionSpec {
        region: _,
        mode,
        endpoints: _,
        placement: _,
        failover_group: _,
        listeners,
        tls,
        relay: _,
        addresses: _,
        auth: _,
        quotas: _,
        capacity: _,
        replicas: _,
        scaling: _,
        upgrade: _,
        template: _,
        cost,
    } = spec;
    let mut lines = Vec::new();
    let mut say = |condition: bool, line: String| {
        if condition {
            lines.push(line);
        }
    };
    let external = *mode == Some(Mode::External);
    say(external, "spec.mode External: the endpoints are neither probed nor published yet".into());
    let no_tls = listeners.iter().flatten().all(|listener| listener.protocol != Protocol::Tls);
    say(
        tls.is_some() && listeners.is_some() && no_tls,
        "spec.tls: no listener is TLS; add {name: tls, protocol: TLS, port: 443}, or remove tls".into(),
    );
    say(cost.is_some(), "spec.cost: costs are not added up yet".into());
    lines
}

#[cfg(test)]
mod tests;
