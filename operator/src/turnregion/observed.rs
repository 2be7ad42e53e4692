//! What is there: machines, slots and their nodes, as values that the pure steps can look at. No client, no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use rtcfleet_crds::labels;

use super::secrets::{AuthSecret, TlsSecret};
use super::validate::{AddressesFrom, ManagedRegion};
use crate::fleet;
use crate::fleet::slot::{Intent, NodePod, NodeReport, Slot};

/// Template annotation: hash of everything that a node must be exchanged for.
pub const REVISION: &str = "rtcfleet.dev/revision";
/// Deployment annotation: what is to happen with the slot, as [`Intent`] writes it.
pub const INTENT: &str = "rtcfleet.dev/intent";

/// Everything read for one region.
#[derive(Debug, Default)]
pub struct Observed {
    pub machines: Vec<Machine>,
    pub slots: Vec<Slot>,
    /// Of the slots, by their numbers.
    pub deployments: BTreeMap<u32, Deployment>,
    pub auth: AuthSecret,
    /// None without a TLS listener.
    pub tls: Option<TlsSecret>,
    pub admin: Option<Secret>,
    pub config_maps: Vec<ConfigMap>,
    pub budget: Option<PodDisruptionBudget>,
}

impl Observed {
    /// The machines as decisions see them.
    pub fn for_fleet(&self) -> Vec<fleet::machine::Machine> {
        let one = |machine: &Machine| fleet::machine::Machine {
            name: machine.name.clone(),
            usable: machine.usable,
            leaving: machine.leaving,
            addressed: !machine.addresses.is_empty(),
        };
        self.machines.iter().map(one).collect()
    }
}

/// A machine of the region that relays may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    /// Takes new pods: ready, and not leaving.
    pub usable: bool,
    /// Cordoned, or about to be removed.
    pub leaving: bool,
    /// Where relayed ports are opened: one address a family at the most, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// What clients are told where it differs, in the same order of families.
    pub public: Vec<IpAddr>,
    /// What the cloud calls this type of machine: what its network can carry is known for some.
    pub instance_type: Option<String>,
}

/// Taints of cluster-autoscaler, Karpenter and the handlers of spot notices on a machine that is about to go.
const REMOVAL_TAINTS: [&str; 4] = [
    "ToBeDeletedByClusterAutoscaler",
    "karpenter.sh/disrupted",
    "aws-node-termination-handler/spot-itn",
    "cloud.google.com/impending-node-termination",
];

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
        let leaving = is_leaving(node);
        let usable = is_ready(node) && !leaving;
        Some(Self { name: node.name_any(), usable, leaving, addresses, public, instance_type })
    }

    /// What clients are told.
    pub fn told(&self) -> &[IpAddr] {
        if self.public.is_empty() { &self.addresses } else { &self.public }
    }
}

/// What clients are told of the node in a slot: at most one address of each family. Empty without a machine.
pub fn told(slot: &Slot, machines: &[Machine]) -> Vec<IpAddr> {
    if let NodeReport::Says(status) = &slot.node {
        return status.public_addresses.clone();
    }
    let machine = slot.pod.as_ref().and_then(|pod| pod.machine.as_deref());
    machines.iter().find(|one| Some(one.name.as_str()) == machine).map_or_else(Vec::new, |one| one.told().to_vec())
}

/// Its kubelet is heard of.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Cordoned, or marked by one of those who remove machines.
fn is_leaving(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    let marked = taints.into_iter().any(|taint| REMOVAL_TAINTS.contains(&taint.key.as_str()));
    marked || spec.and_then(|spec| spec.unschedulable) == Some(true)
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

/// The Deployments by slot. One that is not called `<region>-<slot>` is not one of ours. The name decides and not the
/// label, because a label can be edited, and is then put back.
pub fn by_slot(region: &str, deployments: Vec<Deployment>) -> BTreeMap<u32, Deployment> {
    let slot = |deployment: &Deployment| deployment.name_any().strip_prefix(region)?.strip_prefix('-')?.parse().ok();
    deployments.into_iter().filter_map(|deployment| Some((slot(&deployment)?, deployment))).collect()
}

/// Puts Deployments and pods together, sorted by slot. `is_reachable` knows machines by name.
pub fn slots(deployments: &BTreeMap<u32, Deployment>, pods: &[Pod], is_reachable: impl Fn(&str) -> bool) -> Vec<Slot> {
    let one = |(index, deployment): (&u32, &Deployment)| slot(*index, deployment, pod_of(*index, pods), &is_reachable);
    deployments.iter().map(one).collect()
}

fn slot(index: u32, deployment: &Deployment, pod: Option<NodePod>, is_reachable: impl Fn(&str) -> bool) -> Slot {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let annotations = template.and_then(|template| template.metadata.as_ref()?.annotations.as_ref());
    let machine = pod.as_ref().and_then(|pod| pod.machine.as_deref());
    Slot {
        index,
        name: deployment.name_any(),
        revision: annotations.and_then(|annotations| annotations.get(REVISION)).cloned(),
        intent: deployment.annotations().get(INTENT).and_then(|text| Intent::parse(text)),
        is_being_deleted: deployment.metadata.deletion_timestamp.is_some(),
        is_lost: machine.is_some_and(|machine| !is_reachable(machine)),
        pod,
        node: NodeReport::Absent,
    }
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
    Some(node_pod(youngest))
}

/// A pod without the object.
pub fn node_pod(pod: &Pod) -> NodePod {
    let status = pod.status.clone().unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let is = |kind: &str| condition(kind).is_some_and(|condition| condition.status == "True");
    let container = status.container_statuses.iter().flatten().next();
    let waiting = container.and_then(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    let unscheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
    NodePod {
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
        created: pod.creation_timestamp().map(|time| time.0),
        start: container.filter(|container| container.restart_count == 0).and_then(|_| {
            let ready = condition("Ready").filter(|condition| condition.status == "True")?;
            let took = ready.last_transition_time.as_ref()?.0.duration_since(pod.creation_timestamp()?.0);
            took.try_into().ok()
        }),
    }
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
    fn a_deployment_is_the_slot_of_its_name_whatever_its_label_says() {
        let deployment = |name: &str| -> Deployment {
            let metadata = serde_json::json!({"name": name, "labels": {labels::SLOT: "9"}});
            serde_json::from_value(serde_json::json!({ "metadata": metadata })).unwrap()
        };
        let all = ["a-1", "a-0", "a-b-2", "b-3", "a"].map(deployment).into();
        let found: Vec<u32> = by_slot("a", all).into_keys().collect();
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
