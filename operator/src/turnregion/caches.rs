//! What is watched: TurnRegions, the objects we made (by label), and machines. One store each, without managedFields.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::stream::{BoxStream, select_all};
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use rtcfleet_crds::{TurnRegion, labels};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::kube_io::slim;

/// A TurnRegion that may be malformed: one that is must not stop the watch of the others.
pub type Guarded = DeserializeGuard<TurnRegion>;

/// The stores. Cheap to clone.
#[derive(Clone)]
pub struct Caches {
    pub regions: Store<Guarded>,
    pub deployments: Store<Deployment>,
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
    /// A machine changed in a way that matters to relays.
    pub machines: BoxStream<'static, ()>,
}

impl Caches {
    /// Starts nothing: the stores fill while the triggers are polled.
    pub fn new(client: &Client) -> (Self, Triggers) {
        let ours = watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
        let filled = Filled::new();
        let (regions, region_events) = watched::<Guarded>(client, watcher::Config::default(), (&filled, 0));
        let (deployments, deployment_events) = watched(client, ours.clone(), (&filled, 1));
        let (pods, pod_events) = watched(client, ours.clone(), (&filled, 2));
        let (config_maps, config_map_events) = watched(client, ours.clone(), (&filled, 3));
        let (budgets, budget_events) = watched(client, ours, (&filled, 4));
        let (machines, machine_events) = watched::<Node>(client, watcher::Config::default(), (&filled, 5));
        let caches = Self { regions, deployments, pods, config_maps, budgets, machines, filled };
        let triggers = Triggers {
            regions: changed(region_events, spec_of).boxed(),
            children: select_all([
                region_of(deployment_events),
                region_of(pod_events),
                region_of(config_map_events),
                region_of(budget_events),
            ])
            .boxed(),
            // A machine's heartbeat is no change: only labels, addresses and whether it is usable are.
            machines: changed(machine_events, placement_of).filter_map(async |event| event.ok().map(drop)).boxed(),
        };
        (caches, triggers)
    }

    /// Resolves when every store has been filled once: a region looked at before would seem to have no slots.
    pub async fn ready(&self) {
        self.filled.all().await;
    }
}

type Events<K> = BoxStream<'static, Result<K, watcher::Error>>;

fn watched<K>(client: &Client, config: watcher::Config, (filled, store): (&Filled, u8)) -> (Store<K>, Events<K>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let filled = filled.clone();
    let (reader, writer) = reflector::store();
    let events = watcher(Api::<K>::all(client.clone()), config)
        .default_backoff()
        .modify(slim)
        .reflect(writer)
        .inspect(move |event| {
            if let Ok(watcher::Event::InitDone) = event {
                filled.fill(store);
            }
        })
        .touched_objects()
        .inspect(|event| {
            if let Err(error) = event {
                tracing::warn!(kind = %K::kind(&()), %error, "a watch broke off and is begun again");
            }
        });
    (reader, events.boxed())
}

/// Leaves out events of objects of which nothing that `what` looks at has changed. Bounded: what is gone is forgotten.
fn changed<K>(events: Events<K>, what: fn(&K) -> u64) -> impl Stream<Item = Result<K, watcher::Error>>
where
    K: Resource<DynamicType = ()> + Send + 'static,
{
    let mut seen = std::collections::HashMap::<String, u64>::new();
    events.filter(move |event| {
        let keep = match event {
            Err(_) => true,
            Ok(object) => {
                let key = object.uid().unwrap_or_default();
                let hash = what(object);
                let ending = object.meta().deletion_timestamp.is_some();
                let before = if ending { seen.remove(&key) } else { seen.insert(key, hash) };
                before != Some(hash)
            }
        };
        std::future::ready(keep)
    })
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
            let object = event.ok()?;
            let name = object.labels().get(labels::TURN_REGION)?.clone();
            Some(ObjectRef::new(&name).within(&object.namespace()?))
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

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
