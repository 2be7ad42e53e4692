//! `DnsFailover`: one name for several regions; a dead region leaves the answer in seconds, a healthy one never does.
//! R1.6, R3.6, R8.1 to R8.3.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::turn_region::Protocol;
use crate::{Duration, Interval};

/// What a user asks of the name of several regions.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "rtcfleet.dev",
    version = "v1alpha1",
    kind = "DnsFailover",
    plural = "dnsfailovers",
    shortname = "dnsf",
    category = "rtc",
    namespaced,
    status = "DnsFailoverStatus",
    derive = "PartialEq",
    doc = "One name for several regions: which of them its answer holds follows their health as callers see it.",
    printcolumn(name = "Hostname", type_ = "string", json_path = ".spec.hostname"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.activeRegions"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Health", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Last flip", type_ = "date", json_path = ".status.lastFlip.time"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", priority = 1),
    printcolumn(name = "Answer", type_ = "string", json_path = ".status.answer.ipv4", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: write at most 63 lower-case letters, digits and hyphens: it is the value of a label of what is made from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.failoverGroup) != has(self.regions)")
        .message("write either failoverGroup, for all TurnRegions of a group, or regions, a list of {name}"),
    validation = Rule::new("(has(self.policy) && self.policy == 'Priority') == (has(self.regions) && self.regions.exists(r, has(r.priority)))")
        .message("policy: Priority needs regions of which each has a priority, and only Priority has them: write regions: [{name: centralindia, priority: 1}, {name: southindia, priority: 2}]"),
    validation = Rule::new("!has(self.policy) || self.policy != 'Priority' || !has(self.regions) || self.regions.all(r, has(r.priority) && !has(r.weight))")
        .message("with policy: Priority every region has a priority and none a weight: write {name, priority} for each"),
    validation = Rule::new("!has(self.override) || !has(self.regions) || self.override.regions.all(p, self.regions.exists(r, r.name == p))")
        .message("override names a region that regions does not list: write names from regions"),
    validation = Rule::new("!has(self.provider.rfc2136) || !has(self.provider.rfc2136.zone) || self.hostname.endsWith('.' + self.provider.rfc2136.zone)")
        .message("hostname lies outside of provider.rfc2136.zone: write a zone that hostname ends in, such as zone: example.org for hostname: turn.example.org"),
)]
pub struct DnsFailoverSpec {
    /// The name that callers ask for, such as turn.example.org. Cannot change: callers have the old one in their configuration.
    #[schemars(
        length(min = 3, max = 189),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$")
    )]
    #[x_kube(validation = Rule::new("self == oldSelf").message("hostname cannot change: create another DnsFailover for the other name, then delete this one when nobody asks for the old name"))]
    pub hostname: String,

    /// How long resolvers may keep an answer. Default 30s. Browsers keep one for a minute whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5s') && duration(self) <= duration('1h')").message("ttl: write 5s to 1h, such as 30s"))]
    pub ttl: Option<Duration>,

    /// Weighted (the default): all healthy regions share the callers by weight. Priority: the healthy regions of the lowest priority number get them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,

    /// All TurnRegions of the namespace with this failoverGroup, with equal weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub failover_group: Option<String>,

    /// The TurnRegions of the namespace that the answer is made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub regions: Option<Vec<Member>>,

    /// True: <region>.<hostname> is published as well, with the relays of that region whatever its health. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_names: Option<bool>,

    /// When a region counts as unhealthy, and when as healthy again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,

    /// What is never done, whatever probes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety: Option<Safety>,

    /// How a region that is healthy again gets its callers back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failback: Option<Failback>,

    /// Addresses of each family in one answer. Default 4. Which relays they belong to changes over time, so that all are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub max_addresses: Option<i32>,

    /// Enforce (the default): the answer is published. Observe: what would be published is shown in the status, and nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// Regions that a person pins for a time. They get all callers, whatever their health.
    #[serde(rename = "override", default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Override>,

    /// Probers that the operator runs: one in each region and one beside itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probers: Option<Probers>,

    /// Where regions are looked at from besides. A region is judged by those outside of it. Two of those are needed for a verdict, three for one of them to fail meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub vantage_points: Option<Vec<VantagePoint>>,

    /// Who answers for the name.
    pub provider: Provider,
}

/// How healthy regions share the callers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Priority,
    Weighted,
}

/// Whether the answer is published.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    Observe,
}

/// A region that the answer is made from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Name of a TurnRegion in the same namespace.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Its part of the callers, beside the weights of the others. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: Option<i32>,
    /// Its place in the order for policy: Priority; the lowest number comes first, equal numbers share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub priority: Option<i32>,
}

/// When a region counts as unhealthy, and when as healthy again. For each vantage point first, then by their votes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// How often each relay is probed from each vantage point, such as 1s or 250ms. Default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('250ms') && duration(self) <= duration('5m')").message("health.interval: write 250ms to 5m, such as 1s"))]
    pub interval: Option<Interval>,
    /// So many failed probes within the window, in a row or not, and a vantage point votes against a relay. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub failures: Option<i32>,
    /// Default: ten intervals. Must have room for that many failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')").message("health.window: write 1s to 1h, such as 10s"))]
    pub window: Option<Duration>,
    /// So many good probes in a row, and a vantage point votes for it again. Default: twice the failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub successes: Option<i32>,
    /// Vantage points that must agree. Default: more than half of those outside of the region, at least 2. With 1, a single vantage point that is wrong withdraws a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub quorum: Option<i32>,
    /// All (the default): a region that fails over one of its transports leaves if another region has all of its own. Any: it stays while one transport works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transports: Option<Transports>,
}

/// Which transports a healthy region has.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transports {
    All,
    Any,
}

/// What is never done, whatever probes say.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(has(self.holdDown) ? self.holdDown : '1m') <= duration(has(self.maxHoldDown) ? self.maxHoldDown : '1h')")
    .message("safety.holdDown lies above safety.maxHoldDown (1m and 1h unless written): write the shorter one first, such as holdDown: 1m and maxHoldDown: 1h"))]
pub struct Safety {
    /// Regions that may be out of the answer at a time because of their health. Default 1. With 0 none ever is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 15))]
    pub max_withdrawn: Option<i32>,
    /// Less than this percent of all weights healthy, and the answer stays as it is: more is wrong than a region. Each region weighs the same with policy: Priority. Default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub min_healthy_capacity_percent: Option<i32>,
    /// Load in percent that the other regions may come to. What they cannot carry below it stays with the unhealthy region. Default 85.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 100))]
    pub survivor_percent: Option<i32>,
    /// How long a region stays out at least, and twice as long each time it fails again. Default 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("safety.holdDown: write at most 24h, such as 1m"))]
    pub hold_down: Option<Duration>,
    /// Where doubling ends. A region that serves this long is forgiven one failure. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("safety.maxHoldDown: write 1s to 24h, such as 1h"))]
    pub max_hold_down: Option<Duration>,
}

/// How a region that is healthy again gets its callers back.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Failback {
    /// Percent of its share, step by step. Default: 5, 25, 50, 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 10), inner(range(min = 1, max = 100)))]
    #[x_kube(validation = Rule::new("self.isSorted() && self[size(self) - 1] == 100").message("failback.steps: write rising percents that end in 100, such as [5, 25, 50, 100]"))]
    pub steps: Option<Vec<i32>>,
    /// How long a step lasts before the next one. Default 5m. While probes fail no step is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("failback.stepDuration: write 1s to 24h, such as 5m"))]
    pub step_duration: Option<Duration>,
}

/// Regions that a person pins for a time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Names of the regions that get all callers.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 40)))]
    pub regions: Vec<String>,
    /// Why, for those who find it.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
    /// When health decides again, RFC 3339.
    pub expires_at: Time,
}

/// Probers that the operator runs: one in each region and one beside itself.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Probers {
    /// False: none is run, and only vantagePoints are asked. Default true. With neither the answer holds every region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Which way probe packets go. Relay (the default): from the relay to itself, which every relay allows. Prober: to the prober and back, which also sees a firewall that closes relayed ports; relays must allow probers' addresses as peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Echo>,
    /// Resources of each prober. Default: requests of 20m CPU and 32Mi memory, and a limit of 128Mi memory. A limit of CPU makes probers late, and late ones have no vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// Which way probe packets go.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Relay,
    Prober,
}

/// Where regions are looked at from: a media-node in the role probe.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VantagePoint {
    /// Name, unique within the list.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The TurnRegion that it stands in, which it has no vote about. Default: none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub region: Option<String>,
    /// Where its verdicts are read, such as https://probe.example.org:9443.
    #[schemars(length(min = 9, max = 253))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() == 'https'").message("vantagePoints: write url as https://HOST:PORT, such as https://probe.example.org:9443"))]
    pub url: String,
}

/// Who answers for the name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.rfc2136), has(self.externalDns), has(self.azureTrafficManager)].exists_one(p, p)")
    .message("provider: write exactly one of rfc2136, externalDns and azureTrafficManager"))]
pub struct Provider {
    /// DNS servers that take updates (RFC 2136), such as BIND, Knot or PowerDNS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136>,
    /// A DNSEndpoint for external-dns, which writes to the zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_dns: Option<ExternalDns>,
    /// Weights of a profile of Azure Traffic Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_traffic_manager: Option<AzureTrafficManager>,
}

/// DNS servers that take updates (RFC 2136).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rfc2136 {
    /// Primary servers of the zone, HOST or HOST:PORT; port 53 unless written. Updates go to the first that takes them.
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 259), regex(pattern = r"^[-.:\[\]a-zA-Z0-9]+$")))]
    pub servers: Vec<String>,
    /// The zone that holds the name. Default: hostname without its first label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 189), regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub zone: Option<String>,
    /// The key that updates are signed with (RFC 8945).
    pub tsig: Tsig,
}

/// A key that updates are signed with (RFC 8945).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tsig {
    /// The key's name as the server knows it, such as rtc-fleet.
    #[schemars(length(min = 1, max = 189), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key_name: String,
    /// Default: hmac-sha256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<TsigAlgorithm>,
    /// The key itself.
    pub secret_ref: KeyRef,
}

/// How updates are signed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigAlgorithm {
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// A key of a Secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// A Secret in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its key. Default: secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// A DNSEndpoint for external-dns.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalDns {
    /// Labels of the DNSEndpoint, where external-dns looks at some only.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: std::collections::BTreeMap<String, String>,
    /// Simple (the default): one record with the addresses of all active regions, for every provider of external-dns. Weighted: a record for each active region, with its name as set identifier and aws/weight as its part, for Route 53.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<ExternalDnsRouting>,
}

/// How regions share the callers in a DNSEndpoint.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalDnsRouting {
    Simple,
    Weighted,
}

/// A profile of Azure Traffic Manager, whose endpoints are named like the regions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AzureTrafficManager {
    /// The subscription of the profile.
    #[schemars(length(min = 36, max = 36), regex(pattern = "^[-0-9a-fA-F]+$"))]
    pub subscription_id: String,
    /// The resource group of the profile.
    #[schemars(length(min = 1, max = 90), regex(pattern = r"^[-._()a-zA-Z0-9]*[-_()a-zA-Z0-9]$"))]
    pub resource_group: String,
    /// Name of the profile. Its routing method is Weighted, or Priority, which sends all callers to the region with the largest part.
    #[schemars(length(min = 1, max = 260), regex(pattern = r"^[-_a-zA-Z0-9]([-._a-zA-Z0-9]*[-_a-zA-Z0-9])?$"))]
    pub profile: String,
    /// Who the operator signs in as. Default: the workload identity of its service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureCredentials>,
}

/// A service principal.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AzureCredentials {
    /// The tenant of the principal.
    #[schemars(length(min = 36, max = 36), regex(pattern = "^[-0-9a-fA-F]+$"))]
    pub tenant_id: String,
    /// Its client ID.
    #[schemars(length(min = 36, max = 36), regex(pattern = "^[-0-9a-fA-F]+$"))]
    pub client_id: String,
    /// Its client secret.
    pub secret_ref: KeyRef,
}

/// What the operator saw and decided.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DnsFailoverStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Regions that get callers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active_regions: Vec<String>,
    /// The answer as published; with mode: Observe, the one that would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerStatus>,
    /// What is known and decided about each region. A new leader goes on from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub regions: Vec<RegionStatus>,
    /// What is heard of each vantage point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub vantage_points: Vec<VantagePointStatus>,
    /// Names that hold an answer of this object; they are withdrawn when it is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published_names: Vec<String>,
    /// The last time that the active regions changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_flip: Option<Flip>,
    /// Ready, Reconciling, Stalled, Degraded, Frozen, Overridden, VantagePointsMissing, SecurityAlarm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The addresses of an answer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AnswerStatus {
    /// A records, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv4: Vec<String>,
    /// AAAA records, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6: Vec<String>,
}

/// What is known and decided about a region.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// Name of the TurnRegion.
    pub name: String,
    /// Whether it gets callers.
    pub state: RegionState,
    /// What a quorum of vantage points last agreed on.
    pub health: RegionHealth,
    /// Transports that a quorum last found failing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing_transports: Vec<Protocol>,
    /// How the vantage points vote now, over the transport that looks worst.
    pub votes: Votes,
    /// Percent of its usual share that it is given: 100 for a region that serves, a step of the failback for one that returns, what the others cannot carry for one that is withdrawn.
    pub given_percent: i32,
    /// Percent of all callers that it is to get.
    pub weight_percent: i32,
    /// When state, or the step, began, RFC 3339.
    pub since: String,
    /// No return before this, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_down_until: Option<String>,
    /// Failures that are not forgiven yet: each doubles the next hold-down.
    #[serde(default)]
    pub flaps: i32,
    /// What led to state: Initial, Unhealthy, Impaired, Healthy, FailedAgain, LastResort.
    pub reason: String,
}

/// Whether a region gets callers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionState {
    /// Its whole share.
    Serving,
    /// None, or only those whom nobody else can carry.
    Withdrawn,
    /// A part of its share, step by step.
    Returning,
}

/// What vantage points agreed on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionHealth {
    /// There has been no quorum yet.
    Unknown,
    /// Every transport works.
    Healthy,
    /// Some transports work.
    Impaired,
    /// No transport works.
    Unhealthy,
}

/// What is heard of a vantage point.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VantagePointStatus {
    /// Its name; that of a region for the prober in it.
    pub name: String,
    /// The region that it stands in, about which it is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether its votes count.
    pub state: VantagePointState,
}

/// Whether votes of a vantage point count.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum VantagePointState {
    /// It is heard, and its own canary works.
    Fine,
    /// It is heard, and reaches nothing at all.
    CutOff,
    /// Nothing is heard of it.
    Silent,
}

/// How vantage points vote.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Votes {
    /// They see it work.
    pub up: i32,
    /// They see it fail.
    pub down: i32,
    /// As many must agree.
    pub needed: i32,
    /// As many are asked, those included that have no vote now: silent ones, and ones whose own canary fails.
    pub asked: i32,
}

/// A change of the active regions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Flip {
    /// When it was decided, RFC 3339.
    pub time: String,
    /// The active regions before.
    pub from: Vec<String>,
    /// The active regions after.
    pub to: Vec<String>,
    /// What led to it.
    pub reason: String,
    /// Milliseconds from the first failed probe to the decision. Absent where no failure led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection_milliseconds: Option<i64>,
    /// Milliseconds from the decision until the DNS servers had the answer. Absent until they have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publication_milliseconds: Option<i64>,
}
