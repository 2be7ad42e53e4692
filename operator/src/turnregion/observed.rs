//! What is there: machines, slots and their nodes, as values that the pure steps can look at. No client, no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use rtcfleet_crds::labels;
use rtcfleet_node_api::{NodeState, NodeStatus};

use super::secrets::{AuthSecret, TlsSecret};
use super::validate::{AddressesFrom, ManagedRegion};

/// Template annotation: hash of everything that a node must be exchanged for.
pub const REVISION: &str = "rtcfleet.dev/revision";
/// Deployment annotation: what is to happen with the slot, as [`Intent`] writes it.
pub const INTENT: &str = "rtcfleet.dev/intent";

/// Everything read for one region.
#[derive(Debug, Default)]
pub struct Observed {
    pub machines: Vec<Machine>,
    pub slots: Vec<Slot>,
    pub auth: AuthSecret,
    /// None without a TLS listener.
    pub tls: Option<TlsSecret>,
    pub admin: Option<Secret>,
    pub config_maps: Vec<ConfigMap>,
    pub budget: Option<PodDisruptionBudget>,
}

/// A machine of the region that relays may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    /// Ready and not cordoned.
    pub usable: bool,
    /// Where relayed ports are opened: one address a family at the most, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// What clients are told where it differs, in the same order of families.
    pub public: Vec<IpAddr>,
    /// What the cloud calls this type of machine: what its network can carry is known for some.
    pub instance_type: Option<String>,
}

/// The well-known label that cloud providers set on their machines.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

impl Machine {
    /// `None` for a machine of another region or without the labels that the region asks for.
    pub fn of(node: &Node, region: &ManagedRegion) -> Option<Self> {
        let node_labels = node.labels();
        let matches = |(key, value): (&String, &String)| node_labels.get(key) == Some(value);
        if node_labels.get(labels::REGION) != Some(&region.region)
            || !region.placement.node_selector.iter().all(matches)
        {
            return None;
        }
        let internal = status_addresses(node, "InternalIP");
        let public = match &region.addresses {
            AddressesFrom::InternalIp => internal.clone(),
            AddressesFrom::ExternalIp => status_addresses(node, "ExternalIP"),
            AddressesFrom::Annotation(key) => {
                let text = node.annotations().get(key).map_or("", String::as_str);
                one_a_family(text.split(',').filter_map(|part| part.trim().parse().ok()))
            }
            AddressesFrom::Static(machines) => {
                one_a_family(machines.get(&node.name_any()).into_iter().flatten().copied())
            }
        };
        // A family that clients are not told of is of no use to them; one that the machine lacks cannot be opened.
        let common = |own: &&IpAddr| public.iter().any(|told| told.is_ipv4() == own.is_ipv4());
        let addresses: Vec<IpAddr> = internal.iter().filter(common).copied().collect();
        let public = public.into_iter().filter(|told| addresses.iter().any(|own| own.is_ipv4() == told.is_ipv4()));
        let public: Vec<IpAddr> = public.collect();
        let public = if public == addresses { Vec::new() } else { public };
        let instance_type = node_labels.get(INSTANCE_TYPE).cloned();
        Some(Self { name: node.name_any(), usable: usable(node), addresses, public, instance_type })
    }

    /// What clients are told.
    pub fn told(&self) -> &[IpAddr] {
        if self.public.is_empty() { &self.addresses } else { &self.public }
    }
}

fn usable(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && !cordoned
}

fn status_addresses(node: &Node, kind: &str) -> Vec<IpAddr> {
    let all = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    one_a_family(all.filter(|address| address.type_ == kind).filter_map(|address| address.address.parse().ok()))
}

/// The first address of each family, IPv4 first.
fn one_a_family(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut first: BTreeMap<bool, IpAddr> = BTreeMap::new();
    for address in addresses {
        first.entry(address.is_ipv6()).or_insert(address);
    }
    first.into_values().collect()
}

/// What is to happen with a slot. Kept as an annotation of its Deployment, so that a new leader goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Drained until `deadline`, then given the new template; ends when the new node serves.
    Exchange { deadline: Timestamp },
    /// Drained until `deadline`, then deleted.
    Retire { deadline: Timestamp },
}

impl Intent {
    /// What `status.draining` and Events call it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Exchange { .. } => "Upgrade",
            Self::Retire { .. } => "ScaleDown",
        }
    }

    pub fn deadline(self) -> Timestamp {
        match self {
            Self::Exchange { deadline } | Self::Retire { deadline } => deadline,
        }
    }

    /// As the annotation holds it.
    pub fn text(self) -> String {
        format!("{} {}", self.reason(), self.deadline())
    }

    /// An annotation that is no intent counts as none: whoever wrote it, the plan decides anew.
    pub fn parse(text: &str) -> Option<Self> {
        let (reason, deadline) = text.split_once(' ')?;
        let deadline = deadline.parse().ok()?;
        match reason {
            "Upgrade" => Some(Self::Exchange { deadline }),
            "ScaleDown" => Some(Self::Retire { deadline }),
            _ => None,
        }
    }
}

/// One slot: its Deployment, the pod that Kubernetes made of it, and what the node in the pod says.
#[derive(Clone, Debug)]
pub struct Slot {
    pub index: u32,
    pub deployment: Deployment,
    /// The youngest pod that is not ending, else the youngest of those that are.
    pub pod: Option<NodePod>,
    pub node: NodeReport,
}

/// What the node in the pod says of itself.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum NodeReport {
    /// Not asked: there is no running pod.
    #[default]
    Absent,
    /// Asked, and no answer.
    Silent {
        why: String,
    },
    Says(Box<NodeStatus>),
}

/// A pod of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePod {
    pub name: String,
    pub uid: String,
    pub revision: Option<String>,
    pub machine: Option<String>,
    pub host_ip: Option<IpAddr>,
    pub ready: bool,
    pub running: bool,
    pub terminating: bool,
    /// Why it does not run or is not ready, as Kubernetes says it.
    pub waiting_for: Option<String>,
}

impl NodePod {
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let condition = |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
        let is = |kind: &str| condition(kind).is_some_and(|condition| condition.status == "True");
        let container = status.container_statuses.iter().flatten().next();
        let waiting = container.and_then(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
        let unscheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            revision: pod.annotations().get(REVISION).cloned(),
            machine: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            host_ip: status.host_ip.as_deref().and_then(|text| text.parse().ok()),
            ready: is("Ready"),
            // The phase of a pod whose container crashes again and again stays Running.
            running: container
                .is_some_and(|container| container.state.as_ref().is_some_and(|state| state.running.is_some())),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            waiting_for: waiting.or_else(|| unscheduled.and_then(|condition| condition.reason.clone())),
        }
    }

    /// It can have live sessions.
    pub fn may_serve(&self) -> bool {
        self.running
    }
}

impl Slot {
    pub fn name(&self) -> String {
        self.deployment.name_any()
    }

    /// The revision that its template asks for.
    pub fn revision(&self) -> Option<&str> {
        let template = &self.deployment.spec.as_ref()?.template;
        template.metadata.as_ref()?.annotations.as_ref()?.get(REVISION).map(String::as_str)
    }

    pub fn intent(&self) -> Option<Intent> {
        Intent::parse(self.deployment.annotations().get(INTENT)?)
    }

    pub fn is_being_deleted(&self) -> bool {
        self.deployment.metadata.deletion_timestamp.is_some()
    }

    /// Serves, and takes new sessions. A node that does not answer us is believed if the kubelet finds it ready:
    /// the way from here to its admin port is not the way that callers take.
    pub fn serves(&self) -> bool {
        let ready = self.pod.as_ref().is_some_and(|pod| pod.ready && !pod.terminating);
        ready
            && match &self.node {
                NodeReport::Says(status) => status.state == NodeState::Active,
                NodeReport::Silent { .. } | NodeReport::Absent => true,
            }
    }

    /// Live sessions, where the node says so.
    pub fn sessions(&self) -> Option<u64> {
        match &self.node {
            NodeReport::Says(status) => Some(status.sessions.allocations),
            NodeReport::Silent { .. } | NodeReport::Absent => None,
        }
    }

    pub fn state(&self) -> Option<NodeState> {
        match &self.node {
            NodeReport::Says(status) => Some(status.state),
            NodeReport::Silent { .. } | NodeReport::Absent => None,
        }
    }
}

/// Puts Deployments and pods together, sorted by slot. A Deployment that is not called `<region>-<slot>` is not one of
/// ours. The name decides and not the label, because a label can be edited, and is then put back.
pub fn slots(region: &str, deployments: Vec<Deployment>, pods: &[Pod]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = deployments
        .into_iter()
        .filter_map(|deployment| {
            let index = deployment.name_any().strip_prefix(region)?.strip_prefix('-')?.parse().ok()?;
            Some(Slot { index, deployment, pod: pod_of(index, pods), node: NodeReport::Absent })
        })
        .collect();
    slots.sort_by_key(|slot| slot.index);
    slots
}

fn pod_of(index: u32, pods: &[Pod]) -> Option<NodePod> {
    let of_slot = pods.iter().filter(|pod| slot_of(pod.labels()) == Some(index));
    let finished = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    let youngest = of_slot.filter(|pod| !finished(pod)).max_by_key(|pod| {
        let created = pod.creation_timestamp().map(|time| time.0);
        (pod.metadata.deletion_timestamp.is_none(), created, pod.name_any())
    })?;
    Some(NodePod::of(youngest))
}

fn slot_of(labels_of_object: &BTreeMap<String, String>) -> Option<u32> {
    labels_of_object.get(labels::SLOT)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turnregion::test_support::managed;

    fn machine(addresses: &str, node: serde_json::Value) -> Option<Machine> {
        let node: Node = serde_json::from_value(node).unwrap();
        Machine::of(&node, &managed(&format!("{{addresses: {addresses}}}")))
    }

    fn node(region: &str) -> serde_json::Value {
        serde_json::json!({
            "metadata": {"name": "m1", "labels": {labels::REGION: region}, "annotations": {"net/ip": "203.0.113.9, 2001:db8::9"}},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [
                    {"type": "InternalIP", "address": "2001:db8:1::7"}, {"type": "InternalIP", "address": "10.0.0.7"},
                    {"type": "InternalIP", "address": "10.0.0.8"}, {"type": "ExternalIP", "address": "203.0.113.7"},
                ],
            },
        })
    }

    fn told(machine: &Machine) -> Vec<String> {
        machine.told().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn clients_are_told_the_addresses_of_the_source_that_the_region_names() {
        for (source, expected) in [
            ("{from: NodeInternalIP}", vec!["10.0.0.7", "2001:db8:1::7"]),
            ("{from: NodeExternalIP}", vec!["203.0.113.7"]),
            ("{from: NodeAnnotation, annotation: net/ip}", vec!["203.0.113.9", "2001:db8::9"]),
            ("{from: NodeAnnotation, annotation: other}", vec![]),
            ("{from: Static, machines: [{name: m1, addresses: ['198.51.100.1']}]}", vec!["198.51.100.1"]),
            ("{from: Static, machines: [{name: m2, addresses: ['198.51.100.1']}]}", vec![]),
        ] {
            assert_eq!(told(&machine(source, node("centralindia")).unwrap()), expected, "{source}");
        }
    }

    #[test]
    fn a_machine_of_another_region_is_not_used() {
        assert_eq!(machine("{from: NodeInternalIP}", node("southindia")), None);
    }

    #[test]
    fn an_intent_survives_being_written_down() {
        let deadline: Timestamp = "2026-02-01T10:00:00Z".parse().unwrap();
        for intent in [Intent::Exchange { deadline }, Intent::Retire { deadline }] {
            assert_eq!(Intent::parse(&intent.text()), Some(intent));
        }
        for text in ["", "Upgrade", "Upgrade soon", "Other 2026-02-01T10:00:00Z"] {
            assert_eq!(Intent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_deployment_is_the_slot_of_its_name_whatever_its_label_says() {
        let deployment = |name: &str| -> Deployment {
            let metadata = serde_json::json!({"name": name, "labels": {labels::SLOT: "9"}});
            serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()
        };
        let all = ["a-1", "a-0", "a-b-2", "b-3", "a"].map(deployment).into();
        let found: Vec<u32> = slots("a", all, &[]).iter().map(|slot| slot.index).collect();
        assert_eq!(found, [0, 1]);
    }

    #[test]
    fn a_pod_that_ends_does_not_hide_its_successor() {
        let pod = |name: &str, created: &str, ending: bool| -> Pod {
            let mut meta =
                serde_json::json!({"name": name, "labels": {labels::SLOT: "0"}, "creationTimestamp": created});
            if ending {
                meta["deletionTimestamp"] = "2026-02-01T10:00:00Z".into();
            }
            serde_json::from_value(serde_json::json!({"metadata": meta})).unwrap()
        };
        let pods = [pod("new", "2026-02-01T09:59:00Z", false), pod("old", "2026-02-01T10:00:00Z", true)];
        assert_eq!(pod_of(0, &pods).unwrap().name, "new");
        assert_eq!(pod_of(0, &pods[1..]).unwrap().name, "old");
        assert_eq!(pod_of(1, &pods), None);
    }
}
