//! `TurnRegion`: the TURN relays of one region. R1.2 to R1.6, R6.3, R8.1, R8.2, R8.4.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// What a user asks of the TURN relays of one region.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "rtcfleet.dev",
    version = "v1alpha1",
    kind = "TurnRegion",
    plural = "turnregions",
    shortname = "tr",
    category = "rtc",
    namespaced,
    status = "TurnRegionStatus",
    derive = "PartialEq",
    doc = "The TURN relays of one region: how many machines relay, on which ports, for whom.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.scaling.desired"),
    printcolumn(name = "Serving", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Draining", type_ = "integer", json_path = ".status.nodes.draining", priority = 1),
    printcolumn(name = "State", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Failover", type_ = "string", json_path = ".spec.failoverGroup", priority = 1),
    printcolumn(name = "Addresses", type_ = "string", json_path = ".status.addresses[*]", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: write at most 40 lower-case letters, digits and hyphens, beginning with a letter: node names are made from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.scaling))")
        .message("replicas and scaling exclude each other: write scaling to let rtc-fleet decide, or remove it and write replicas to let kubectl scale, an HPA or KEDA decide"),
    validation = Rule::new("!has(self.listeners) || !self.listeners.exists(l, l.protocol == 'TLS') || has(self.tls)")
        .message("a TLS listener needs a certificate: write tls: {secretName: NAME}, naming a kubernetes.io/tls Secret"),
    validation = Rule::new("!has(self.listeners) || self.listeners.all(l, l.port < (has(self.relay) && has(self.relay.minPort) ? self.relay.minPort : 49152) || l.port > (has(self.relay) && has(self.relay.maxPort) ? self.relay.maxPort : 65535))")
        .message("a listener's port lies inside relay.minPort to relay.maxPort (49152 to 65535 unless written): choose another port, or move the relay range"),
    validation = Rule::new("(has(self.mode) && self.mode == 'External') == has(self.endpoints)")
        .message("mode: External needs endpoints, and only External has them: write both or neither"),
    validation = Rule::new("(has(self.mode) && self.mode == 'External') || has(self.auth)")
        .message("auth is missing: write auth: {realm: turn.example.org, secretRef: {name: turn-auth}}; a relay without credentials serves anybody"),
)]
pub struct TurnRegionSpec {
    /// The region that the relays stand in. Machines whose label topology.kubernetes.io/region has this value are used. Cannot change: sessions do not move between regions.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("region cannot change: create another TurnRegion for the other region, then delete this one"))]
    pub region: String,

    /// Managed (the default): rtc-fleet runs the relays. External: they run elsewhere and are listed in endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// Relays that run elsewhere, for mode External.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub endpoints: Option<Vec<Endpoint>>,

    /// Which machines of the region may be used. A change exchanges the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,

    /// Regions with the same group take each other's load, and are published together by a DnsFailover. A change restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub failover_group: Option<String>,

    /// Where clients reach a relay. Default: UDP 3478 and TCP 3478, and TLS 443 if tls is written. A TLS listener also takes plain TURN over TCP. A change exchanges the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.all(l, self.exists_one(m, m.port == l.port && (m.protocol == 'UDP') == (l.protocol == 'UDP')))")
            .message("two listeners have the same port: give each its own (TCP and TLS share one port space; one TLS listener on 443 also takes plain TURN over TCP)")
    )]
    pub listeners: Option<Vec<Listener>>,

    /// The certificate of TLS listeners. A renewed one is taken up without a restart; another secretName exchanges the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// The ports and peers of relayed traffic. A change of minPort or maxPort exchanges the nodes; one of the peers restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<Relay>,

    /// How a relay learns the address that clients see. Default: the machine's internal addresses. A change counts for nodes that start afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,

    /// Who may use the relays. Needed unless mode is External. A change of realm or secretRef exchanges the nodes; one of maxTtl, or of the values in the Secret, restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,

    /// How much one user, and one node, may use. A change restarts nothing: a lower one ends no allocation, and counts for new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,

    /// What a machine can carry, where its kernel does not know. A change restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,

    /// Number of relays, when something else than rtc-fleet decides it (kubectl scale, an HPA, KEDA). Excludes scaling. A change restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 500))]
    pub replicas: Option<i32>,

    /// Bounds and targets for the number of relays. Without it and without replicas: two. A change restarts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,

    /// How relays are exchanged when their configuration or image changes. A change restarts nothing, but that of evictionDeadline exchanges the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Upgrade>,

    /// What the pods of relays get besides. A change exchanges the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,

    /// What relayed traffic costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// Who runs the relays.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Managed,
    External,
}

/// A TURN server that runs elsewhere.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Host name or IP address.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Port number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// Which machines of the region may be used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a machine must have, besides the region's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of machines that relays put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// Affinity of the pods, as in a pod's spec. One a machine holds without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// A port on which clients reach the relay.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Name, unique within the list.
    #[schemars(length(min = 1, max = 15), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What is spoken there. TLS means TURN over TLS over TCP.
    pub protocol: Protocol,
    /// Port number. For one below 1024 the node begins as root and gives root up once its listeners are open.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// Transport between client and relay (RFC 8656 section 3.1).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "TLS")]
    Tls,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    pub fn text(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// The certificate of TLS listeners.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// A kubernetes.io/tls Secret in the same namespace, such as cert-manager writes.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// The ports and peers of relayed traffic.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.minPort) ? self.minPort : 49152) <= (has(self.maxPort) ? self.maxPort : 65535)")
    .message("relay.minPort lies above relay.maxPort: write the lower one first, such as minPort: 49152 and maxPort: 65535"))]
pub struct Relay {
    /// First relayed port. Default 49152 (RFC 8656 section 7.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    pub min_port: Option<i32>,
    /// Last relayed port. Default 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 65535))]
    pub max_port: Option<i32>,
    /// Networks that are opened in the standing deny list (private, link-local, loopback and multicast addresses) and among the cluster's own networks, such as 10.20.0.0/16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("allowPeers: write networks as address/prefix length, such as 10.20.0.0/16 or 2001:db8::/32"))]
    pub allow_peers: Vec<String>,
    /// Networks that are denied besides. Wins over allowPeers. From a change on, what was granted for them before is not relayed either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)))]
    #[x_kube(validation = Rule::new("self.all(c, isCIDR(c))").message("denyPeers: write networks as address/prefix length, such as 198.51.100.0/24 or 2001:db8::/32"))]
    pub deny_peers: Vec<String>,
}

/// How a relay learns the address that clients see.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.from == 'NodeAnnotation') == has(self.annotation)")
        .message("from: NodeAnnotation needs annotation, the name of an annotation that holds a machine's addresses separated by commas; the other sources have none"),
    validation = Rule::new("(self.from == 'Static') == has(self.machines)")
        .message("from: Static needs machines, a list of {name, addresses}; the other sources have none"),
)]
pub struct Addresses {
    /// NodeInternalIP and NodeExternalIP: from the machine's status. NodeAnnotation: from an annotation of the machine. Static: from the list here.
    pub from: AddressSource,
    /// The annotation, for from: NodeAnnotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub annotation: Option<String>,
    /// The addresses, for from: Static.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub machines: Option<Vec<MachineAddresses>>,
}

/// Where addresses come from.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    #[serde(rename = "NodeExternalIP")]
    NodeExternalIp,
    #[serde(rename = "NodeInternalIP")]
    NodeInternalIp,
    NodeAnnotation,
    Static,
}

/// The addresses of one machine.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MachineAddresses {
    /// Name of the Kubernetes node.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// What clients are told: one IPv4 address, one IPv6 address, or both.
    #[schemars(length(min = 1, max = 2), inner(length(max = 45)))]
    #[x_kube(validation = Rule::new("self.all(a, isIP(a))").message("addresses: write IP addresses, such as 203.0.113.7 or 2001:db8::7"))]
    pub addresses: Vec<String>,
}

/// Who may use the relays.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// The realm of the credentials, usually the service's host name.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$"))]
    pub realm: String,
    /// The secret that credentials are made from (TURN REST API).
    pub secret_ref: SecretRef,
    /// How far away the expiry of a credential may be. Default 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('720h')").message("auth.maxTtl: write 1m to 720h, such as 24h"))]
    pub max_ttl: Option<Duration>,
}

/// A Secret and its keys.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// A Secret in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of the current secret and, during a rotation, that of the previous one. Default: current, previous. The second may be missing from the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2), inner(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$")))]
    #[x_kube(validation = Rule::new("self.all(k, self.exists_one(o, o == k))").message("auth.secretRef.keys: the two keys are the same: write the current one, then the previous one"))]
    pub keys: Option<Vec<String>>,
}

/// How much one user, and one node, may use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Quotas {
    /// Live allocations of one user on one node, at most allocationsPerNode. Default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub allocations_per_user: Option<i32>,
    /// Live allocations on one node. Default: as many as there are relayed ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub allocations_per_node: Option<i32>,
    /// Bits a second of one allocation, each way, such as 4M. Counts for live allocations, too. Default: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T)?$"))]
    pub bandwidth_per_allocation: Option<String>,
}

/// What a machine can carry, where its kernel does not know.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// The network interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nic: Option<NicCapacity>,
}

/// What a network interface can carry.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NicCapacity {
    /// Bits a second sent, such as 10G.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T)?$"))]
    pub tx: Option<String>,
    /// Bits a second received, such as 10G.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T)?$"))]
    pub rx: Option<String>,
    /// Packets a second, both ways together, such as 1M.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T)?$"))]
    pub packets: Option<String>,
}

/// Bounds and targets for the number of relays.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.max) || self.min <= self.max").message("scaling.min lies above scaling.max: write min <= max, such as min: 2 and max: 20"))]
pub struct Scaling {
    /// Least number of relays.
    #[schemars(range(min = 1, max = 500))]
    pub min: i32,
    /// Greatest number of relays. Default: as many as there are machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 500))]
    pub max: Option<i32>,
    /// The load of a node that is aimed at (R6.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ScalingTarget>,
    /// What is kept free (R8.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headroom: Option<Headroom>,
    /// How the number goes down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScaleDown>,
    /// A timetable: higher minima at known times, such as before classes begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub schedule: Vec<ScheduledMinimum>,
}

/// A line of the timetable. Its minimum holds from its time to that of the next line; scaling.min holds always.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledMinimum {
    /// When, as in cron: minute, hour, day of the month, month, weekday, such as "50 7 * * 1-5". Relays are started ahead of it, so that they serve then.
    #[schemars(length(min = 9, max = 100))]
    pub cron: String,
    /// Time zone of cron, a name of the IANA database such as Asia/Kolkata. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*$"))]
    pub time_zone: Option<String>,
    /// Least number of relays from then on.
    #[schemars(range(min = 0, max = 500))]
    pub min: i32,
}

/// The load of a node that is aimed at.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingTarget {
    /// Percent of the network interface's capacity. Default 65.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 95))]
    pub nic_percent: Option<i32>,
    /// Percent of the processors. Default 65.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 95))]
    pub cpu_percent: Option<i32>,
}

/// What is kept free.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Headroom {
    /// Capacity held, in percent of the present load. Default 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 1000))]
    pub percent: Option<i32>,
    /// Hold enough to take the load of any other region of the failover group. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survive_region_loss: Option<bool>,
    /// The load in percent that relays may come to when another region of the failover group is lost. Default 85.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 50, max = 100))]
    pub survivor_percent: Option<i32>,
}

/// How the number goes down.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleDown {
    /// The number goes down to the highest recommendation of this long. Default 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("scaling.scaleDown.stabilization: write at most 24h, such as 5m"))]
    pub stabilization: Option<Duration>,
    /// How long sessions may stay on a node that is to go. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("scaling.scaleDown.drainDeadline: write at most 24h, such as 1h"))]
    pub drain_deadline: Option<Duration>,
    /// Relays that may drain at a time because there are too many. Default: a quarter of them, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 500))]
    pub max_draining: Option<i32>,
}

/// How relays are exchanged when their configuration or image changes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// Nodes that may be out of service at a time. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable: Option<i32>,
    /// How long sessions may stay on a node that is to be exchanged. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("upgrade.drainDeadline: write at most 24h, such as 1h"))]
    pub drain_deadline: Option<Duration>,
    /// How long sessions may stay on a node that Kubernetes ends: kubectl drain, an eviction, a deleted pod. Default 45s. A deleted namespace lasts for more than half of it, because Kubernetes looks no earlier whether its pods are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("upgrade.evictionDeadline: write at most 24h, such as 10m"))]
    pub eviction_deadline: Option<Duration>,
    /// True: no further node is exchanged until it is false again. One that drains already is exchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// How long a node may take until it has shown that it relays with what is new. Past it the upgrade stops: Stalled, UpgradeFailed. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('30s') && duration(self) <= duration('24h')").message("upgrade.progressDeadline: write 30s to 24h, such as 10m"))]
    pub progress_deadline: Option<Duration>,
}

/// What the pods of relays get besides.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Image of the node. Default: the one that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500), regex(pattern = "^[^\\s]+$"))]
    pub image: Option<String>,
    /// Requests and limits of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels of the pods. Those of rtc-fleet win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods. Those of rtc-fleet win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = {"type": "string", "maxLength": 1024}))]
    pub annotations: BTreeMap<String, String>,
    /// Names of Secrets in the same namespace, for a registry that asks who pulls the node's image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
}

/// What relayed traffic costs (R5.8).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Price of one GiB sent, a decimal number such as 7.30.
    #[serde(rename = "perGiB")]
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[0-9]+(\.[0-9]{1,6})?$"))]
    pub per_gib: String,
    /// ISO 4217 code of the currency, such as INR.
    #[schemars(length(min = 3, max = 3), regex(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
}

/// What the operator saw and decided.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TurnRegionStatus {
    /// The generation that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Slots that exist, each a Deployment of one relay.
    #[serde(default)]
    pub replicas: i32,
    /// Relays that are ready and take new sessions.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the relays' pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How many nodes are in which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// How many relays there should be, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// How busy the relays are, in steps of ten percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation: Option<Utilisation>,
    /// How far an upgrade is. Absent when every relay has what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// Nodes that sessions are being moved off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub draining: Vec<DrainingNode>,
    /// What clients are told, of relays that serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Hash of the configuration and image that the relays should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Parts of the spec that are accepted but do nothing in this release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_in_effect: Vec<String>,
    /// Ready, Reconciling, Stalled, Draining, CapacityLimited, AuthSecretMissing, TlsSecretMissing, CertificateExpiring, LimitsPending, PeerRulesViolated, CapacityUnknown, NotInEffect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How many nodes are in which state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Pods that do not serve yet.
    pub starting: i32,
    /// Nodes that serve and take new sessions.
    pub active: i32,
    /// Nodes that serve the sessions they have and take no new ones.
    pub draining: i32,
    /// Nodes without sessions that are about to go or to be exchanged.
    pub drained: i32,
    /// Nodes whose state is not known: they do not answer on their admin port.
    pub unknown: i32,
}

/// How many relays there should be, and why.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// Number of relays that there should be.
    pub desired: i32,
    /// What decided it: Minimum, Schedule, Target, Headroom, RegionLoss, Stabilization, MetricsMissing, Default or ExternalScaler.
    pub reason: String,
    /// Limits that keep it from being what it should be: MaxReplicas, NoMachine, NoAddress, MetricsMissing, NicCapacityUnknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limited_by: Vec<String>,
}

/// How busy the relays are, all of them together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Utilisation {
    /// Percent of the relays' capacity: processors or network, whichever is fuller on each.
    pub percent: i32,
}

/// How far an upgrade is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// Canary: one relay has what is new and must prove itself. Rolling: the others follow. Paused: upgrade.paused. Failed: a relay with what is new does not serve, and nothing else is touched.
    pub state: String,
    /// Relays that have what is new.
    pub updated: i32,
    /// Relays that have not.
    pub outdated: i32,
}

/// A node that sessions are being moved off.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DrainingNode {
    /// Number of the slot.
    pub slot: i32,
    /// Why it drains: ScaleDown, Upgrade, or Superseded by a relay that was made first.
    pub reason: String,
    /// When the sessions that are left are ended, RFC 3339.
    pub deadline: String,
}
