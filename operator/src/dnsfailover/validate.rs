//! A DnsFailover as written → one that cannot be wrong. Touches nothing. What decides is checked by the core
//! ([`crate::failover::validate`]); what is left is the name, who publishes it, and where it is looked at from.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use rtcfleet_crds::DnsFailover;
use rtcfleet_crds::dns_failover::{self as crd, Echo, TsigAlgorithm};

use crate::error::{Categorised, Category};
use crate::failover::policy::Policy;
use crate::failover::validate as core;
use crate::identity::{Identity, NoIdentity};
use crate::publish::azure::ProfileId;
use crate::publish::external_dns::Routing;
use crate::publish::rfc2136::{Algorithm, NoServer, Server};
use crate::publish::{DnsName, NoDnsName, NoOwner, NoRecordSet, Owner, Ttl};

/// The vantage point beside the operator.
pub const BESIDE_OPERATOR: &str = "operator";
/// Where probers serve their verdicts unless the URL says otherwise.
const HTTPS: u16 = 443;

/// One mistake in a DnsFailover.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    #[error(transparent)]
    Incomplete(#[from] NoIdentity),
    #[error(transparent)]
    Decisions(#[from] core::ValidateError),
    #[error("spec.{path}: {source}")]
    Name { path: &'static str, source: NoDnsName },
    #[error("spec.hostname: it has no parent that could be the zone: write provider.rfc2136.zone")]
    NoZone,
    #[error("spec.hostname: {name} is not in provider.rfc2136.zone {zone}: write a zone that it ends in")]
    NotInZone { name: DnsName, zone: DnsName },
    #[error("spec.ttl: {0}")]
    Ttl(#[from] NoRecordSet),
    #[error("spec.provider.rfc2136.servers: {0}")]
    Server(#[from] NoServer),
    #[error("spec.provider: write exactly one of rfc2136, externalDns and azureTrafficManager")]
    NotOneProvider,
    #[error(
        "spec.regionNames: azureTrafficManager answers for one name, and publishes none of regions: remove regionNames, or write another provider"
    )]
    NoRegionNames,
    #[error(
        "spec.vantagePoints[{name}].url: {url:?} is not https://HOST:PORT: write such as https://probe.example.org:9443"
    )]
    Url { name: String, url: String },
    #[error("metadata: {0}")]
    Owner(#[from] NoOwner),
}

impl Categorised for ValidateError {
    fn reason(&self) -> &'static str {
        "InvalidSpec"
    }

    fn category(&self) -> Category {
        match self {
            Self::Incomplete(_) | Self::Owner(_) => Category::Bug,
            Self::Decisions(error) => error.category(),
            Self::Name { .. }
            | Self::NoZone
            | Self::NotInZone { .. }
            | Self::Ttl(_)
            | Self::Server(_)
            | Self::NotOneProvider
            | Self::NoRegionNames
            | Self::Url { .. } => Category::UserMustAct,
        }
    }
}

/// Every mistake of one DnsFailover.
pub type Mistakes = crate::error::Mistakes<ValidateError>;

/// A DnsFailover that can be acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedName {
    pub identity: Identity,
    /// Its vantage points are those that are written; probers of ours come to them when it is known which there are.
    pub policy: Policy,
    pub hostname: DnsName,
    pub owner: Owner,
    pub ttl: Ttl,
    pub members: Members,
    /// `<region>.<hostname>` is published, too.
    pub region_names: bool,
    /// Those that a user runs.
    pub points: Vec<Point>,
    pub probers: Option<Probers>,
    pub provider: Provider,
}

/// Which TurnRegions of the namespace are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    Group(String),
    Named(Vec<String>),
}

/// A vantage point that a user runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// Probers that we run.
#[derive(Clone, Debug, PartialEq)]
pub struct Probers {
    pub echo: Echo,
    pub interval: Duration,
    pub resources: Option<ResourceRequirements>,
}

/// Who answers for the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    Rfc2136 {
        zone: DnsName,
        servers: Vec<Server>,
        key: Key,
    },
    ExternalDns {
        labels: BTreeMap<String, String>,
        routing: Routing,
    },
    /// Without credentials the operator is who the cluster says that it is.
    AzureTrafficManager {
        profile: ProfileId,
        credentials: Option<ServicePrincipal>,
    },
}

/// Who signs in at Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePrincipal {
    pub tenant: String,
    pub client: String,
    pub secret: SecretEntry,
}

/// A key that updates are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: DnsName,
    pub algorithm: Algorithm,
    pub secret: SecretEntry,
}

/// Where something confidential is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEntry {
    /// A Secret in the same namespace.
    pub name: String,
    pub key: String,
}

impl SecretEntry {
    fn of(written: &crd::KeyRef) -> Self {
        Self { name: written.name.clone(), key: written.key.clone().unwrap_or_else(|| "secret".into()) }
    }
}

impl Provider {
    /// What it is published with, if anything confidential.
    pub fn secret(&self) -> Option<&SecretEntry> {
        match self {
            Self::Rfc2136 { key, .. } => Some(&key.secret),
            Self::AzureTrafficManager { credentials, .. } => credentials.as_ref().map(|one| &one.secret),
            Self::ExternalDns { .. } => None,
        }
    }

    /// What is published there is ours, and goes with the object.
    pub fn is_withdrawn(&self) -> bool {
        !matches!(self, Self::AzureTrafficManager { .. })
    }

    /// It is told how regions share the callers, instead of one list of addresses.
    pub fn weighs_regions(&self) -> bool {
        matches!(self, Self::ExternalDns { routing: Routing::Weighted, .. } | Self::AzureTrafficManager { .. })
    }
}

/// Every mistake, or none.
pub fn validate(object: &DnsFailover) -> Result<ManagedName, Mistakes> {
    let mut mistakes = Vec::new();
    let managed = read(object, &mut mistakes);
    match managed {
        Some(managed) if mistakes.is_empty() => Ok(managed),
        _ => Err(crate::error::Mistakes(mistakes)),
    }
}

/// None if there is a mistake without which nothing can be made.
fn read(object: &DnsFailover, mistakes: &mut Vec<ValidateError>) -> Option<ManagedName> {
    let spec = &object.spec;
    let identity = kept(Identity::of(object), mistakes);
    let policy = match core::validate(spec) {
        Ok(policy) => Some(policy),
        Err(wrong) => {
            mistakes.extend(wrong.into_iter().map(ValidateError::Decisions));
            None
        }
    };
    let hostname = name("hostname", &spec.hostname, mistakes);
    let provider = hostname.as_ref().and_then(|hostname| provider(&spec.provider, hostname, mistakes));
    if spec.region_names == Some(true) && matches!(provider, Some(Provider::AzureTrafficManager { .. })) {
        mistakes.push(ValidateError::NoRegionNames);
    }
    let points = spec.vantage_points.iter().flatten().filter_map(|one| kept(point(one), mistakes)).collect();
    let policy = policy?;
    let ttl = kept(Ttl::new(u32::try_from(policy.ttl.as_secs()).unwrap_or(u32::MAX)), mistakes);
    let identity = identity?;
    let owner = kept(Owner::new(&identity.namespace, &identity.name, &identity.uid), mistakes);
    let probers = spec.probers.clone().unwrap_or_default();
    Some(ManagedName {
        hostname: hostname?,
        owner: owner?,
        ttl: ttl?,
        members: match (&spec.failover_group, &spec.regions) {
            (Some(group), _) => Members::Group(group.clone()),
            (None, regions) => Members::Named(regions.iter().flatten().map(|one| one.name.clone()).collect()),
        },
        region_names: spec.region_names.unwrap_or(false),
        points,
        probers: probers.enabled.unwrap_or(true).then(|| Probers {
            echo: probers.echo.unwrap_or(Echo::Relay),
            interval: policy.health.interval,
            resources: probers.resources,
        }),
        provider: provider?,
        policy,
        identity,
    })
}

fn kept<T, E: Into<ValidateError>>(read: Result<T, E>, mistakes: &mut Vec<ValidateError>) -> Option<T> {
    read.map_err(|mistake| mistakes.push(mistake.into())).ok()
}

fn name(path: &'static str, text: &str, mistakes: &mut Vec<ValidateError>) -> Option<DnsName> {
    kept(DnsName::from_str(text).map_err(|source| ValidateError::Name { path, source }), mistakes)
}

fn provider(written: &crd::Provider, hostname: &DnsName, mistakes: &mut Vec<ValidateError>) -> Option<Provider> {
    match (&written.rfc2136, &written.external_dns, &written.azure_traffic_manager) {
        (Some(rfc2136), None, None) => self::rfc2136(rfc2136, hostname, mistakes),
        (None, Some(external_dns), None) => Some(Provider::ExternalDns {
            labels: external_dns.labels.clone(),
            routing: match external_dns.routing {
                None | Some(crd::ExternalDnsRouting::Simple) => Routing::Simple,
                Some(crd::ExternalDnsRouting::Weighted) => Routing::Weighted,
            },
        }),
        (None, None, Some(azure)) => Some(azure_traffic_manager(azure)),
        _ => {
            mistakes.push(ValidateError::NotOneProvider);
            None
        }
    }
}

fn azure_traffic_manager(written: &crd::AzureTrafficManager) -> Provider {
    let crd::AzureTrafficManager { subscription_id, resource_group, profile, credentials } = written;
    let principal = |crd::AzureCredentials { tenant_id, client_id, secret_ref }: &crd::AzureCredentials| {
        let (tenant, client) = (tenant_id.clone(), client_id.clone());
        ServicePrincipal { tenant, client, secret: SecretEntry::of(secret_ref) }
    };
    let profile = ProfileId {
        subscription: subscription_id.clone(),
        resource_group: resource_group.clone(),
        profile: profile.clone(),
    };
    Provider::AzureTrafficManager { profile, credentials: credentials.as_ref().map(principal) }
}

fn rfc2136(written: &crd::Rfc2136, hostname: &DnsName, mistakes: &mut Vec<ValidateError>) -> Option<Provider> {
    let crd::Rfc2136 { servers, zone, tsig } = written;
    let zone = match (zone, hostname.as_str().split_once('.')) {
        (Some(zone), _) => name("provider.rfc2136.zone", zone, mistakes),
        (None, Some((_, parent))) => name("provider.rfc2136.zone", parent, mistakes),
        (None, None) => {
            mistakes.push(ValidateError::NoZone);
            None
        }
    };
    if let Some(zone) = zone.as_ref().filter(|zone| !hostname.is_in(zone)) {
        mistakes.push(ValidateError::NotInZone { name: hostname.clone(), zone: zone.clone() });
    }
    let servers = servers.iter().filter_map(|text| kept(Server::from_str(text), mistakes)).collect();
    let key_name = name("provider.rfc2136.tsig.keyName", &tsig.key_name, mistakes)?;
    let key = Key {
        name: key_name,
        algorithm: match tsig.algorithm {
            None | Some(TsigAlgorithm::HmacSha256) => Algorithm::HmacSha256,
            Some(TsigAlgorithm::HmacSha384) => Algorithm::HmacSha384,
            Some(TsigAlgorithm::HmacSha512) => Algorithm::HmacSha512,
        },
        secret: SecretEntry::of(&tsig.secret_ref),
    };
    Some(Provider::Rfc2136 { zone: zone?, servers, key })
}

fn point(written: &crd::VantagePoint) -> Result<Point, ValidateError> {
    let wrong = || ValidateError::Url { name: written.name.clone(), url: written.url.clone() };
    let url: http::Uri = written.url.parse().map_err(|_| wrong())?;
    let host = url.host().filter(|_| url.scheme_str() == Some("https") && matches!(url.path(), "" | "/"));
    let host = host.ok_or_else(wrong)?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Point { name: written.name.clone(), host, port: url.port_u16().unwrap_or(HTTPS) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnsfailover::test_support::object;

    fn refused(spec: &str) -> String {
        validate(&object(spec)).expect_err(spec).to_string()
    }

    #[test]
    fn a_short_name_gets_the_documented_defaults() {
        let name = validate(&object("{}")).unwrap();
        assert_eq!(name.members, Members::Group("india".into()));
        assert!(!name.region_names);
        assert_eq!(
            name.probers,
            Some(Probers { echo: Echo::Relay, interval: Duration::from_secs(1), resources: None })
        );
        let Provider::Rfc2136 { zone, servers, key } = name.provider else { panic!("{:?}", name.provider) };
        assert_eq!((zone.as_str(), servers[0].to_string().as_str()), ("example.org", "192.0.2.53"));
        assert_eq!((key.algorithm, key.secret.key.as_str()), (Algorithm::HmacSha256, "secret"));
    }

    #[test]
    fn every_mistake_is_told_with_what_to_write() {
        for (spec, expected) in [
            ("{ttl: soon, provider: {externalDns: {}}}", "spec.ttl: \"soon\" is not a duration"),
            ("{provider: {}}", "spec.provider: write exactly one of"),
            (
                "{regionNames: true, provider: {azureTrafficManager: {subscriptionId: s, resourceGroup: g, profile: p}}}",
                "spec.regionNames: azureTrafficManager answers for one name",
            ),
            (
                "{vantagePoints: [{name: a, url: 'https://probe.example.org/metrics'}]}",
                "spec.vantagePoints[a].url: \"https://probe.example.org/metrics\" is not https://HOST:PORT",
            ),
            (
                "{provider: {rfc2136: {servers: [a], zone: example.net, tsig: {keyName: k, secretRef: {name: s}}}}}",
                "turn.example.org is not in provider.rfc2136.zone example.net",
            ),
        ] {
            let told = refused(spec);
            assert!(told.contains(expected), "{spec}: {told}");
        }
    }

    #[test]
    fn a_profile_is_changed_with_a_secret_or_by_the_operator_itself() {
        let provider = |credentials: &str| {
            let profile = format!("subscriptionId: s, resourceGroup: g, profile: p{credentials}");
            validate(&object(&format!("{{provider: {{azureTrafficManager: {{{profile}}}}}}}"))).unwrap().provider
        };
        let itself = provider("");
        assert!(itself.weighs_regions() && itself.secret().is_none(), "{itself:?}");
        let principal = provider(", credentials: {tenantId: t, clientId: c, secretRef: {name: azure}}");
        assert_eq!(principal.secret(), Some(&SecretEntry { name: "azure".into(), key: "secret".into() }));
    }

    #[test]
    fn vantage_points_are_reached_at_host_and_port() {
        let spec = "{vantagePoints: [{name: a, url: 'https://probe.example.org:9443'}, {name: b, url: 'https://[2001:db8::1]'}]}";
        let points: Vec<_> =
            validate(&object(spec)).unwrap().points.into_iter().map(|one| (one.host, one.port)).collect();
        assert_eq!(points, [("probe.example.org".to_owned(), 9443), ("2001:db8::1".to_owned(), 443)]);
    }
}
