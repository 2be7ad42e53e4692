//! Ends the nodes of regions that were deleted, by themselves or with their namespace, and their metrics.
//!
//! Kubernetes deletes a region's objects by their owner references, in order: region, Deployments, pods. A pod that is
//! told to end drains first, as long as `upgrade.evictionDeadline` says, because that is right for an eviction; when the region itself is gone nobody
//! waits for it. So its nodes are told to end soon. There is no finalizer for this: without an operator the same happens,
//! only at the nodes' own pace.
//!
//! When a namespace is deleted, Kubernetes waits for its pods before it deletes anything else in it, so there the region
//! outlives its nodes: the namespace has to be asked.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{Api, Resource, ResourceExt};
use rtcfleet_crds::labels;
use rtcfleet_node_api::SetState;

use super::KIND;
use super::build::{REGION_UID, admin_server_name};
use super::caches::{Caches, Guarded};
use super::observed::node_pod;
use super::validate::Identity;
use crate::context::Ctx;
use crate::error::with_causes;
use crate::fleet::slot::NodePod;
use crate::kube_io;
use crate::node_client::NodeTarget;
use crate::pod::ADMIN_PORT;

/// How long sessions of a deleted region may go on: time for clients to be told and to move.
const SESSIONS_MAY_STAY: SignedDuration = SignedDuration::from_secs(10);
const LOOK: Duration = Duration::from_secs(2);

/// Looks for such nodes until it is aborted. The stores are its only input, so a missed event costs one interval.
pub async fn run(caches: Caches, ctx: Arc<Ctx>) {
    caches.ready().await;
    // By pod: the deadline stays the same however often it is told.
    let mut deadlines: HashMap<String, Timestamp> = HashMap::new();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let regions = caches.regions.state();
        let left = regions.iter().map(|region| (region.namespace().unwrap_or_default(), region.name_any())).collect();
        ctx.metrics.fleets_left(KIND, &left);
        ctx.offers.keep(&left);
        let pods = caches.pods.state();
        let namespaces = ending_namespaces(&pods, &ctx).await;
        let targets = to_end(&pods, &regions, &namespaces);
        deadlines.retain(|uid, _| targets.iter().any(|(known, _)| known == uid));
        for (uid, node) in targets {
            let deadline = *deadlines.entry(uid).or_insert_with(|| {
                tracing::info!(node = %node.address, "a node of a deleted region ends in {SESSIONS_MAY_STAY:#}");
                ctx.clock.now() + SESSIONS_MAY_STAY
            });
            let state = SetState::Draining { deadline, alternates: Vec::new() };
            if let Err(error) = ctx.node_api.set_state(&node, state).await {
                tracing::debug!(node = %node.address, error = with_causes(&error), "a node of a deleted region was not told yet");
            }
        }
    }
}

/// Of the namespaces with pods that are told to end, those that are themselves being deleted. One that cannot be read
/// counts as staying: its nodes go on at their own pace.
async fn ending_namespaces(pods: &[Arc<Pod>], ctx: &Ctx) -> HashSet<String> {
    let ending = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
    let asked: BTreeSet<String> = ending.filter_map(|pod| pod.namespace()).collect();
    let api = Api::<Namespace>::all(ctx.client.clone());
    let mut found = HashSet::new();
    for name in asked {
        if let Ok(Some(namespace)) = kube_io::get(&api, &name).await
            && namespace.metadata.deletion_timestamp.is_some()
        {
            found.insert(name);
        }
    }
    found
}

/// Running pods that are told to end, and whose region or namespace is gone or going.
fn to_end(pods: &[Arc<Pod>], regions: &[Arc<Guarded>], namespaces: &HashSet<String>) -> Vec<(String, NodeTarget)> {
    let staying: HashSet<String> = regions
        .iter()
        .filter(|region| region.meta().deletion_timestamp.is_none())
        .filter_map(|region| region.uid())
        .collect();
    let ending = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
    ending
        .filter(|pod| {
            let goes = pod.namespace().is_some_and(|namespace| namespaces.contains(&namespace));
            pod.annotations().get(REGION_UID).is_some_and(|uid| goes || !staying.contains(uid))
        })
        .filter_map(|pod| {
            let NodePod { uid, host_ip, running, .. } = node_pod(pod);
            let identity = Identity {
                name: pod.labels().get(labels::TURN_REGION)?.clone(),
                namespace: pod.namespace()?,
                uid: String::new(),
                generation: 0,
            };
            let address = SocketAddr::new(host_ip.filter(|_| running)?, ADMIN_PORT);
            Some((uid, NodeTarget { address, server_name: admin_server_name(&identity) }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turnregion::test_support::region;
    use kube::core::DeserializeGuard;
    use serde_json::json;

    fn pod(region_uid: &str, ending: bool, phase: &str) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {
                "name": "centralindia-0-x", "namespace": "rtc", "uid": "p",
                "labels": {labels::TURN_REGION: "centralindia"}, "annotations": {REGION_UID: region_uid},
            },
            "status": {
                "phase": phase, "hostIP": "10.0.0.7",
                "containerStatuses": [{"name": "turn", "state": if phase == "Running" { json!({"running": {}}) } else { json!({}) }}],
            },
        });
        if ending {
            pod["metadata"]["deletionTimestamp"] = "2026-02-01T10:00:00Z".into();
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn only_running_and_ending_nodes_of_a_region_that_is_gone_are_ended() {
        let regions = [Arc::new(DeserializeGuard(Ok(region())))]; // uid 0c1f
        for (case, pod, ended) in [
            ("of a region that stays", pod("0c1f", true, "Running"), false),
            ("of a region that is gone", pod("old", true, "Running"), true),
            ("not told to end by Kubernetes", pod("old", false, "Running"), false),
            ("not running", pod("old", true, "Pending"), false),
        ] {
            assert_eq!(to_end(&[pod], &regions, &HashSet::new()).len(), usize::from(ended), "{case}");
        }
        let ending = HashSet::from(["rtc".to_owned()]);
        assert_eq!(to_end(&[pod("0c1f", true, "Running")], &regions, &ending).len(), 1, "in a namespace that goes");
        assert_eq!(to_end(&[pod("0c1f", false, "Running")], &regions, &ending).len(), 0, "not told to end yet");
        let mut going = region();
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-02-01T10:00:00Z")).unwrap();
        let going = [Arc::new(DeserializeGuard(Ok(going)))];
        let [(_, node)] = to_end(&[pod("0c1f", true, "Running")], &going, &HashSet::new()).try_into().unwrap();
        assert_eq!(node.server_name, "centralindia.rtc.turn.rtcfleet.dev");
    }
}
