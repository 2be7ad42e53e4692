//! Reads everything that a region's plan looks at: from the stores, the API server and the nodes. Writes nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use rtcfleet_crds::labels;

use super::build::{admin_secret_name, admin_server_name};
use super::caches::Caches;
use super::observed::{Machine, Observed, by_slot, is_ready, slots};
use super::secrets::{AuthSecret, TlsSecret};
use super::validate::{Identity, ManagedRegion};
use crate::context::Ctx;
use crate::error::with_causes;
use crate::fleet::slot::{NodeReport, Slot};
use crate::kube_io::{self, IoError, Packed};
use crate::node_client::NodeTarget;
use crate::pod::ADMIN_PORT;

/// Where kubelets say that they are alive, in a Lease that has their machine's name.
const NODE_LEASES: &str = "kube-node-lease";
/// Machines asked about in a pass. Where more nodes do not answer, it is likely our way to them that is closed.
const MISSED_AT_A_TIME: usize = 8;
/// Kubelets renew every 10 s.
const KUBELET_SILENCE: SignedDuration = SignedDuration::from_secs(20);
/// Nodes asked at a time; each answers in milliseconds or times out in seconds.
const ASKED_AT_A_TIME: usize = 32;

pub async fn dereference(region: &ManagedRegion, caches: &Caches, ctx: &Ctx) -> Result<Observed, IoError> {
    let identity = &region.identity;
    let secrets = Api::<Secret>::namespaced(ctx.client.clone(), &identity.namespace);
    let auth = kube_io::get(&secrets, &region.secret.name).await?;
    let tls = match region.listeners.certificate() {
        Some(name) => Some(TlsSecret::of(kube_io::get(&secrets, name).await?.as_ref())),
        None => None,
    };
    let admin = kube_io::get(&secrets, &admin_secret_name(identity)).await?;
    let nodes = caches.machines.state();
    let mut machines: Vec<Machine> = nodes.iter().filter_map(|node| Machine::of(node, region)).collect();
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    let packed = of_region(identity, &caches.deployments.state());
    let deployments = by_slot(&identity.name, packed.iter().filter_map(Packed::unpacked).collect());
    let is_reachable = |name: &str| caches.machines.get(&ObjectRef::new(name)).is_some_and(|node| is_ready(&node));
    let found = slots(&deployments, &of_region(identity, &caches.pods.state()), is_reachable);
    let mut slots: Vec<Slot> =
        stream::iter(found).map(|slot| asked(slot, identity, ctx)).buffered(ASKED_AT_A_TIME).collect().await;
    for slot in slots.iter_mut().filter(|slot| slot.is_silent() && !slot.is_lost).take(MISSED_AT_A_TIME) {
        slot.is_lost = is_cut_off(slot, ctx).await;
    }
    Ok(Observed {
        machines,
        deployments,
        slots,
        auth: AuthSecret::of(auth.as_ref()),
        tls,
        admin,
        config_maps: of_region(identity, &caches.config_maps.state()),
        budget: of_region(identity, &caches.budgets.state()).into_iter().find(|one| one.name_any() == identity.name),
    })
}

fn of_region<K: Resource + Clone>(identity: &Identity, all: &[Arc<K>]) -> Vec<K> {
    let ours = |object: &&Arc<K>| {
        object.namespace().as_deref() == Some(&identity.namespace)
            && object.labels().get(labels::TURN_REGION) == Some(&identity.name)
    };
    all.iter().filter(ours).map(|object| object.as_ref().clone()).collect()
}

async fn asked(mut slot: Slot, identity: &Identity, ctx: &Ctx) -> Slot {
    let Some(target) = target(&slot, identity) else { return slot };
    let mut answer = ctx.node_api.status(&target).await;
    // One that is ready to its kubelet is asked once more: a lost packet or a busy moment is nothing to tell people about.
    if answer.is_err() && slot.pod.as_ref().is_some_and(|pod| pod.ready) {
        answer = ctx.node_api.status(&target).await;
    }
    slot.node = match answer {
        Ok(status) => NodeReport::Says(Box::new(status)),
        Err(error) => NodeReport::Silent { why: with_causes(&error) },
    };
    slot
}

/// Kubernetes waits 50 s before it calls a machine not ready. That of a node which does not answer is asked about sooner:
/// two who see nothing of it are enough to make a node elsewhere, which ends nothing.
async fn is_cut_off(slot: &Slot, ctx: &Ctx) -> bool {
    let Some(machine) = slot.pod.as_ref().and_then(|pod| pod.machine.as_deref()) else { return false };
    let leases = Api::<Lease>::namespaced(ctx.client.clone(), NODE_LEASES);
    match kube_io::get(&leases, machine).await {
        Ok(lease) => is_stale(lease.as_ref(), ctx.clock.now()),
        Err(_) => false, // The API server does not answer: nothing is known of the machine.
    }
}

/// The kubelet has not renewed it for two of its intervals.
fn is_stale(lease: Option<&Lease>, now: Timestamp) -> bool {
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
    renewed.is_none_or(|renewed| now.duration_since(renewed.0) > KUBELET_SILENCE)
}

/// Where the node of a running slot listens for us.
pub fn target(slot: &Slot, identity: &Identity) -> Option<NodeTarget> {
    let pod = slot.pod.as_ref().filter(|pod| pod.running)?;
    Some(NodeTarget { address: SocketAddr::new(pod.host_ip?, ADMIN_PORT), server_name: admin_server_name(identity) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::test_support::noon;

    #[test]
    fn a_machine_is_cut_off_when_its_kubelet_has_missed_two_renewals() {
        let lease = |seconds: i64| -> Lease {
            let renewed = noon() - SignedDuration::from_secs(seconds);
            serde_json::from_value(serde_json::json!({"spec": {"renewTime": format!("{renewed:.6}")}}))
                .expect("a lease")
        };
        assert!(!is_stale(Some(&lease(20)), noon()));
        assert!(is_stale(Some(&lease(21)), noon()));
        assert!(!is_stale(Some(&lease(-5)), noon()), "its clock is ahead of ours");
        assert!(is_stale(None, noon()), "a machine that is gone has none");
    }
}
