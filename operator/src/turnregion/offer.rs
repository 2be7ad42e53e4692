//! What a region offers to names that answer with it: the relays that passes saw last, and how a prober reaches them. In
//! memory, for the controllers beside this one; lost with the process, and there again after the first pass.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Toleration;
use rtcfleet_crds::turn_region::Protocol;
use rtcfleet_node_api::NodeState as Said;

use super::build;
use super::observed::{Observed, told};
use super::validate::{ManagedRegion, SecretKeys};
use crate::failover::seen::{Node, NodeState, Seen};
use crate::fleet::slot::Slot;
use crate::identity::Identity;
use crate::listener::ListenerPort;

/// One region.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Of the TurnRegion: one that is made again under its name is another one.
    pub uid: String,
    pub seen: Seen,
    /// What credentials are made from.
    pub secret: SecretKeys,
    /// The Secret with the certificate of TLS listeners.
    pub certificate: Option<String>,
    /// Where its machines are, and what it takes to run a pod on one of them.
    pub region: String,
    pub tolerations: Vec<Toleration>,
    pub image_pull_secrets: Vec<String>,
}

impl Offer {
    /// `load` is how busy its relays are, in whole nodes, where that is known.
    pub fn of(region: &ManagedRegion, observed: &Observed, load: Option<f64>) -> Self {
        let transports: BTreeSet<Protocol> = region.listeners.ports().iter().map(|one| one.protocol).collect();
        let serving = observed.slots.iter().filter(|slot| slot.serves()).count();
        Self {
            uid: region.identity.uid.clone(),
            seen: Seen {
                name: region.identity.name.clone(),
                transports: transports.into_iter().collect(),
                nodes: observed.slots.iter().filter_map(|slot| node(slot, region, observed)).collect(),
                capacity: Some(f64::from(u32::try_from(serving).unwrap_or(u32::MAX))),
                load,
            },
            secret: region.secret.clone(),
            certificate: region.listeners.certificate().map(str::to_owned),
            region: region.region.clone(),
            tolerations: region.placement.tolerations.clone(),
            image_pull_secrets: region.template.image_pull_secrets.clone(),
        }
    }
}

/// None without an address, or while it is deleted.
fn node(slot: &Slot, region: &ManagedRegion, observed: &Observed) -> Option<Node> {
    let addresses = told(slot, &observed.machines);
    let is_there = !slot.is_being_deleted && !addresses.is_empty();
    is_there.then(|| Node {
        name: slot.name.clone(),
        addresses,
        listeners: listeners(slot, region, observed),
        state: state(slot),
    })
}

/// As the pod of the slot was made. What cannot be found out is likely as it is wanted now.
fn listeners(slot: &Slot, region: &ManagedRegion, observed: &Observed) -> Vec<ListenerPort> {
    let revision = slot.pod.as_ref().and_then(|pod| pod.revision.as_deref());
    let found = revision.and_then(|revision| build::listeners(&region.identity, revision, &observed.config_maps));
    found.unwrap_or_else(|| region.listeners.ports().to_vec())
}

fn state(slot: &Slot) -> NodeState {
    let is_ending = slot.pod.as_ref().is_some_and(|pod| pod.terminating);
    match slot.state() {
        _ if slot.intent.is_some() || is_ending => NodeState::Draining,
        Some(Said::Draining | Said::Drained) => NodeState::Draining,
        _ if slot.serves() => NodeState::Ready,
        _ => NodeState::NotReady,
    }
}

/// The last offers of all regions.
#[derive(Default)]
pub struct Offers(Mutex<HashMap<(String, String), Arc<Offer>>>);

impl Offers {
    pub fn put(&self, region: &Identity, offer: Offer) {
        let key = (region.namespace.clone(), region.name.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(offer));
    }

    /// None before the first pass over it.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Offer>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// These are left, by namespace and name.
    pub fn keep(&self, left: &BTreeSet<(String, String)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| left.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::slot::{Intent, NodePod};
    use crate::fleet::test_support::{noon, silent, slot, stopped};
    use crate::turnregion::test_support::managed;

    #[test]
    fn a_relay_is_offered_as_long_as_it_takes_new_calls() {
        let going = Slot { intent: Some(Intent::Exchange { deadline: noon() }), ..slot(1) };
        let mut ending = slot(2);
        ending.pod.as_mut().unwrap().terminating = true;
        for (case, slot, expected) in [
            ("serving", slot(0), NodeState::Ready),
            ("about to be exchanged", going, NodeState::Draining),
            ("evicted", ending, NodeState::Draining),
            ("silent towards us, and ready to its kubelet", silent(slot(3)), NodeState::Ready),
            ("without a pod that runs", stopped(slot(4)), NodeState::NotReady),
        ] {
            assert_eq!(state(&slot), expected, "{case}");
        }
    }

    #[test]
    fn a_relay_is_offered_where_it_is_open_until_it_is_exchanged() {
        let [before, region] =
            [3478, 443].map(|port| managed(&format!("{{listeners: [{{name: udp, protocol: UDP, port: {port}}}]}}")));
        let objects = build::Objects::build(&before, &[], "media-node:1");
        let made_with = |slot: Slot, revision: &str| {
            let pod = slot.pod.map(|pod| NodePod { revision: Some(revision.to_owned()), ..pod });
            Slot { pod, ..slot }
        };
        let observed = Observed { config_maps: vec![objects.turn], ..Observed::default() };
        for (case, revision, port) in [("not exchanged", objects.revision.as_str(), 3478), ("exchanged", "new", 443)] {
            let found = listeners(&made_with(slot(0), revision), &region, &observed);
            assert_eq!(found, [ListenerPort { protocol: Protocol::Udp, port }], "{case}");
        }
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let offers = Offers::default();
        let identity =
            |name: &str| Identity { name: name.into(), namespace: "rtc".into(), uid: name.into(), generation: 1 };
        let offer = |name: &str| Offer {
            uid: name.into(),
            seen: Seen { name: name.into(), transports: vec![], nodes: vec![], capacity: None, load: None },
            secret: SecretKeys { name: "auth".into(), current: "current".into(), previous: None },
            certificate: None,
            region: name.into(),
            tolerations: vec![],
            image_pull_secrets: vec![],
        };
        for name in ["a", "b"] {
            offers.put(&identity(name), offer(name));
        }
        offers.keep(&[("rtc".to_owned(), "b".to_owned())].into());
        assert!(offers.get("rtc", "a").is_none());
        assert!(offers.get("rtc", "b").is_some());
    }
}
