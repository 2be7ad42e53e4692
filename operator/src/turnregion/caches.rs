//! What is watched: TurnRegions, the objects we made (by label), and machines. One store each, without managedFields.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::stream::{self, BoxStream, select_all};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, NodeSpec, NodeStatus, Pod, PodSpec, PodStatus};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use rtcfleet_crds::{TurnRegion, labels};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::kube_io::{Packed, slim};

/// A TurnRegion that may be malformed: one that is must not stop the watch of the others.
pub type Guarded = DeserializeGuard<TurnRegion>;

/// The stores. Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    pub regions: Store<Guarded>,
    pub deployments: Store<Packed<Deployment>>,
    pub pods: Store<Pod>,
    pub config_maps: Store<ConfigMap>,
    pub budgets: Store<PodDisruptionBudget>,
    pub machines: Store<Node>,
    filled: Filled,
}

/// Which stores have been filled once, a bit each.
///
/// kube's own `Store::wait_until_ready` keeps one waker: of several tasks that wait for one store, all but the last would
/// wait forever.
#[derive(Clone)]
struct Filled(Arc<watch::Sender<u8>>);

/// The number of stores.
const STORES: u8 = 6;

impl Filled {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    fn fill(&self, store: u8) {
        self.0.send_modify(|filled| *filled |= 1 << store);
    }

    async fn all(&self) {
        // Cannot fail: the sender lives as long as self.
        let _ = self.0.subscribe().wait_for(|filled| *filled == (1 << STORES) - 1).await;
    }
}

/// What keeps the stores up to date, and says which regions to look at.
pub struct Triggers {
    /// A TurnRegion was applied or deleted.
    pub regions: BoxStream<'static, Result<Guarded, watcher::Error>>,
    /// Something that belongs to a region changed.
    pub children: BoxStream<'static, ObjectRef<Guarded>>,
    /// A machine of its region changed in a way that matters to relays.
    pub machines: BoxStream<'static, ObjectRef<Guarded>>,
}

impl Caches {
    /// Starts nothing: the stores fill while the triggers are polled.
    pub fn new(client: &Client) -> (Self, Triggers) {
        let ours = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
        let filled = Filled::new();
        let everything = watcher::Config::default;
        let (regions, region_events) = watched(client, everything(), slim::<Guarded>, (&filled, 0));
        let (deployments, deployment_events) = watched(client, ours.clone(), packed, (&filled, 1));
        let (pods, pod_events) = watched(client, ours.clone(), slim_pod, (&filled, 2));
        let (config_maps, config_map_events) = watched(client, ours.clone(), slim::<ConfigMap>, (&filled, 3));
        let (budgets, budget_events) = watched(client, ours, slim::<PodDisruptionBudget>, (&filled, 4));
        let (machines, machine_events) = watched(client, everything(), slim_machine, (&filled, 5));
        let caches = Self { regions, deployments, pods, config_maps, budgets, machines, filled };
        let triggers = Triggers {
            regions: changed(region_events, spec_of).map_ok(|touched| touched.object).boxed(),
            children: select_all([
                region_of(deployment_events),
                region_of(pod_events),
                region_of(config_map_events),
                region_of(budget_events),
            ])
            .boxed(),
            machines: regions_with(machine_events, caches.regions.clone()).boxed(),
        };
        (caches, triggers)
    }

    /// Resolves when every store has been filled once: a region looked at before would seem to have no slots.
    pub async fn ready(&self) {
        self.filled.all().await;
    }
}

type Events<K> = BoxStream<'static, Result<Touched<K>, watcher::Error>>;

/// An object as an event brought it.
struct Touched<K> {
    object: K,
    /// It was deleted: this is how it was.
    gone: bool,
}

fn touched<K>(event: watcher::Event<K>) -> Option<Touched<K>> {
    match event {
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => Some(Touched { object, gone: false }),
        watcher::Event::Delete(object) => Some(Touched { object, gone: true }),
        watcher::Event::Init | watcher::Event::InitDone => None,
    }
}

/// A store of what `kept` makes of the objects.
fn watched<K, Kept>(
    client: &Client,
    config: watcher::Config,
    kept: fn(K) -> Kept,
    (filled, store): (&Filled, u8),
) -> (Store<Kept>, Events<Kept>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    Kept: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let filled = filled.clone();
    let (reader, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), config)
        .default_backoff()
        .map_ok(move |event| map(event, kept))
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(watcher::Event::InitDone) = event {
                filled.fill(store);
            }
        })
        .try_filter_map(async |event| Ok(touched(event)))
        .inspect(|event| {
            if let Err(error) = event {
                tracing::warn!(kind = %Kept::kind(&()), %error, "a watch broke off and is begun again");
            }
        });
    (reader, events.boxed())
}

fn map<K, Kept>(event: watcher::Event<K>, kept: fn(K) -> Kept) -> watcher::Event<Kept> {
    match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(kept(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(kept(object)),
        watcher::Event::InitApply(object) => watcher::Event::InitApply(kept(object)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitDone => watcher::Event::InitDone,
    }
}

/// There is one for every node, and all of it is compared with what it should be.
fn packed(deployment: Deployment) -> Packed<Deployment> {
    Packed::of(Deployment { status: None, ..slim(deployment) })
}

/// What is looked at of a pod (see `observed.rs`): there is one for every node.
fn slim_pod(pod: Pod) -> Pod {
    let Pod { mut metadata, spec, status } = slim(pod);
    metadata.owner_references = None;
    let spec = spec.map(|spec| PodSpec { node_name: spec.node_name, ..PodSpec::default() });
    let status = status.unwrap_or_default();
    let mut conditions = status.conditions.unwrap_or_default();
    conditions.retain(|condition| ["Ready", "PodScheduled"].contains(&condition.type_.as_str()));
    let status = PodStatus {
        phase: status.phase,
        host_ip: status.host_ip,
        pod_ips: status.pod_ips,
        conditions: Some(conditions),
        container_statuses: status.container_statuses,
        ..PodStatus::default()
    };
    Pod { metadata, spec, status: Some(status) }
}

/// What is looked at of a machine. The list of its images alone can be 10 kB.
fn slim_machine(machine: Node) -> Node {
    let Node { metadata, spec, status } = slim(machine);
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    let spec = NodeSpec { taints: spec.taints, unschedulable: spec.unschedulable, ..NodeSpec::default() };
    let mut conditions = status.conditions.unwrap_or_default();
    conditions.retain(|condition| condition.type_ == "Ready");
    let status = NodeStatus { addresses: status.addresses, conditions: Some(conditions), ..NodeStatus::default() };
    Node { metadata, spec: Some(spec), status: Some(status) }
}

/// Leaves out events of objects of which nothing that `what` looks at has changed. Bounded: what is gone is forgotten.
fn changed<K>(events: Events<K>, what: fn(&K) -> u64) -> impl Stream<Item = Result<Touched<K>, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let mut seen = HashMap::<String, u64>::new();
    events.filter(move |event| {
        let keep = match event {
            Err(_) => true,
            Ok(Touched { object, gone }) => {
                let key = object.meta().uid.clone().unwrap_or_default();
                let hash = what(object);
                let before = if *gone { seen.remove(&key) } else { seen.insert(key, hash) };
                *gone || before != Some(hash)
            }
        };
        std::future::ready(keep)
    })
}

/// The regions whose machine changed, was added or went. A machine's heartbeat is no change: only labels, addresses and
/// whether it is usable are. Machines of others are none of a region's business: in a fleet of thousands there is always
/// one that changes.
fn regions_with(machines: Events<Node>, regions: Store<Guarded>) -> impl Stream<Item = ObjectRef<Guarded>> {
    let mut was_in = HashMap::<String, String>::new();
    changed(machines, placement_of)
        .filter_map(async |event| event.ok())
        .map(move |Touched { object, gone }| {
            let name = object.name_any();
            let now = object.labels().get(labels::REGION).cloned();
            let before = was_in.remove(&name);
            if let Some(region) = now.clone().filter(|_| !gone) {
                was_in.insert(name, region);
            }
            let concerned = |region: &&Arc<Guarded>| {
                let wanted = region.0.as_ref().ok().map(|region| &region.spec.region);
                wanted.is_some() && [now.as_ref(), before.as_ref()].contains(&wanted)
            };
            let found: Vec<_> =
                regions.state().iter().filter(concerned).map(|region| ObjectRef::from_obj(&**region)).collect();
            stream::iter(found)
        })
        .flatten()
}

fn spec_of(region: &Guarded) -> u64 {
    let meta = region.meta();
    hash(&(meta.generation, meta.deletion_timestamp.is_some()))
}

fn placement_of(machine: &Node) -> u64 {
    let status = machine.status.as_ref();
    let addresses: Vec<_> = status.iter().flat_map(|status| status.addresses.iter().flatten()).collect();
    let addresses: Vec<_> = addresses.into_iter().map(|one| (&one.type_, &one.address)).collect();
    let ready = status.and_then(|status| {
        let ready = status.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")?;
        Some(ready.status == "True")
    });
    let cordoned = machine.spec.as_ref().and_then(|spec| spec.unschedulable);
    hash(&(machine.labels(), machine.annotations(), addresses, ready, cordoned))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The region that an object belongs to, by its label: it holds for pods too, which Deployments own and not we.
fn region_of<K>(events: Events<K>) -> BoxStream<'static, ObjectRef<Guarded>>
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    events
        .filter_map(async |event| {
            let object = event.ok()?.object;
            let name = object.labels().get(labels::TURN_REGION)?.clone();
            Some(ObjectRef::new(&name).within(&object.namespace()?))
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turnregion::observed::{Machine, REVISION, node_pod};
    use crate::turnregion::test_support::managed;

    fn region(name: &str, of: &str) -> Guarded {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "rtcfleet.dev/v1alpha1",
            "kind": "TurnRegion",
            "metadata": {"name": name, "namespace": "media", "uid": name},
            "spec": {
                "region": of,
                "listeners": [{"name": "udp", "protocol": "UDP", "port": 3478}],
                "auth": {"realm": "turn.example.org", "secretRef": {"name": "auth"}},
            },
        }))
        .unwrap()
    }

    fn machine(name: &str, of: &str, status: &serde_json::Value) -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "uid": name, "labels": {labels::REGION: of}}, "status": status,
        }))
        .unwrap()
    }

    /// The regions that are looked at for each of the events.
    async fn looked_at(events: Vec<watcher::Event<Node>>) -> Vec<String> {
        let (regions, mut writer) = reflector::store();
        for (name, of) in [("a", "centralindia"), ("b", "southindia"), ("c", "centralindia")] {
            writer.apply_watcher_event(&watcher::Event::Apply(region(name, of)));
        }
        let events = stream::iter(events).map(Ok).try_filter_map(async |event| Ok(touched(event))).boxed();
        let mut names: Vec<_> = regions_with(events, regions).map(|region| region.name).collect().await;
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_machine_concerns_the_fleets_of_its_region_and_of_the_one_that_it_was_in() {
        let none = serde_json::json!({});
        let apply = |of| watcher::Event::Apply(machine("m1", of, &none));
        assert_eq!(looked_at(vec![apply("southindia")]).await, ["b"]);
        assert_eq!(looked_at(vec![apply("westindia")]).await, [""; 0]);
        assert_eq!(looked_at(vec![apply("southindia"), apply("centralindia")]).await, ["a", "b", "b", "c"]);
        let gone = watcher::Event::Delete(machine("m1", "southindia", &none));
        assert_eq!(looked_at(vec![apply("southindia"), gone]).await, ["b", "b"]);
    }

    #[tokio::test]
    async fn a_heartbeat_of_a_machine_concerns_nobody() {
        let ready = |beat: &str| {
            let condition = serde_json::json!({"type": "Ready", "status": "True", "lastHeartbeatTime": beat});
            watcher::Event::Apply(machine("m1", "southindia", &serde_json::json!({"conditions": [condition]})))
        };
        let beats = vec![ready("2026-02-01T10:00:00Z"), ready("2026-02-01T10:05:00Z")];
        assert_eq!(looked_at(beats).await, ["b"]);
    }

    #[test]
    fn what_is_kept_of_a_machine_is_enough_to_place_relays_there() {
        let status = serde_json::json!({
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.7"}],
            "images": [{"names": ["rtc-fleet/media-node"]}],
        });
        let mut kept = machine("m1", "southindia", &status);
        kept.spec =
            Some(NodeSpec { unschedulable: Some(true), pod_cidr: Some("10.1.0.0/24".into()), ..NodeSpec::default() });
        let whole = kept.clone();
        let kept = slim_machine(kept);
        let region = managed("{}");
        let placed = |node: &Node| {
            let mut node = node.clone();
            node.metadata.labels = Some([(labels::REGION.to_owned(), region.region.clone())].into());
            Machine::of(&node, &region)
        };
        assert!(placed(&kept).is_some());
        assert_eq!(placed(&kept), placed(&whole));
        assert_eq!(kept.status.unwrap().images, None);
    }

    #[test]
    fn what_is_kept_of_a_pod_is_enough_to_know_how_its_node_is() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "a-0", "uid": "u", "creationTimestamp": "2026-02-01T10:00:00Z",
                "labels": {labels::SLOT: "0"}, "annotations": {REVISION: "abc"},
            },
            "spec": {"nodeName": "m1", "containers": [{"name": "turn"}]},
            "status": {
                "phase": "Running", "hostIP": "10.0.0.7", "qosClass": "BestEffort",
                "conditions": [
                    {"type": "Initialized", "status": "True"}, {"type": "PodScheduled", "status": "True"},
                    {"type": "Ready", "status": "True", "lastTransitionTime": "2026-02-01T10:00:04Z"},
                ],
                "containerStatuses": [{
                    "name": "turn", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-02-01T10:00:02Z"}},
                }],
            },
        }))
        .unwrap();
        let kept = slim_pod(pod.clone());
        assert_eq!(node_pod(&kept), node_pod(&pod));
        assert!(node_pod(&kept).ready && node_pod(&kept).start.is_some());
        assert_eq!(kept.status.unwrap().qos_class, None);
    }

    #[tokio::test]
    async fn everybody_who_waits_for_the_stores_is_woken() {
        let filled = Filled::new();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let filled = filled.clone();
                tokio::spawn(async move { filled.all().await })
            })
            .collect();
        tokio::task::yield_now().await; // all of them wait by now
        (0..STORES - 1).for_each(|store| filled.fill(store));
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|task| !task.is_finished()), "one store is still empty");
        filled.fill(STORES - 1);
        for task in waiting {
            tokio::time::timeout(std::time::Duration::from_secs(5), task).await.expect("woken").unwrap();
        }
    }
}
