//! What a region offers to names that answer with it: the relays that passes saw last, and how a prober reaches them. In
//! memory, for the controllers beside this one; lost with the process, and there again after the first pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;
use rtcfleet_crds::turn_region::Protocol;
use rtcfleet_node_api::NodeState as Said;

use super::build;
use super::observed::{Observed, told};
use super::validate::{ManagedRegion, SecretKeys};
use crate::failover::seen::{Node, NodeState, Seen};
use crate::fleet::load::Load;
use crate::fleet::slot::Slot;
use crate::identity::Identity;
use crate::listener::ListenerPort;

/// One region.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Of the TurnRegion: one that is made again under its name is another one.
    pub uid: String,
    pub failover_group: Option<String>,
    /// The object had no mistake when it was read.
    pub is_valid: bool,
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
    pub fn of(region: &ManagedRegion, observed: &Observed, now: Timestamp) -> Self {
        let transports: BTreeSet<Protocol> = region.listeners.ports().iter().map(|one| one.protocol).collect();
        let open = Open::of(region, observed);
        let serving = observed.slots.iter().filter(|slot| slot.serves()).count();
        Self {
            uid: region.identity.uid.clone(),
            failover_group: region.failover_group.clone(),
            is_valid: true,
            seen: Seen {
                name: region.identity.name.clone(),
                transports: transports.into_iter().collect(),
                nodes: observed.slots.iter().filter_map(|slot| node(slot, &open, observed)).collect(),
                capacity: Some(f64::from(u32::try_from(serving).unwrap_or(u32::MAX))),
                load: Load::whole(&observed.slots, now),
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
fn node(slot: &Slot, open: &Open, observed: &Observed) -> Option<Node> {
    let addresses = told(slot, &observed.machines);
    let is_there = !slot.is_being_deleted && !addresses.is_empty();
    is_there.then(|| Node {
        name: slot.name.clone(),
        addresses,
        listeners: open.listeners(slot).to_vec(),
        state: state(slot),
    })
}

/// Where relays are open.
struct Open {
    /// Of each revision that runs, if its configuration is there.
    revisions: BTreeMap<String, Vec<ListenerPort>>,
    wanted: Vec<ListenerPort>,
}

impl Open {
    fn of(region: &ManagedRegion, observed: &Observed) -> Self {
        let running: BTreeSet<&str> = observed.slots.iter().filter_map(revision).collect();
        let found = |revision: &str| {
            let listeners = build::listeners(&region.identity, revision, &observed.config_maps)?;
            Some((revision.to_owned(), listeners))
        };
        Self { revisions: running.into_iter().filter_map(found).collect(), wanted: region.listeners.ports().to_vec() }
    }

    /// As the pod of the slot was made. What cannot be found out is likely as it is wanted now.
    fn listeners(&self, slot: &Slot) -> &[ListenerPort] {
        revision(slot).and_then(|revision| self.revisions.get(revision)).unwrap_or(&self.wanted)
    }
}

fn revision(slot: &Slot) -> Option<&str> {
    slot.pod.as_ref()?.revision.as_deref()
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

    /// The same of a region with mistakes, as far as it can be read. Its relays are as they are now; what was told of them when
    /// it was last without mistakes, if that is known, is what they were made by.
    pub fn put_what_runs(&self, region: &Identity, offer: Offer) {
        let known = self.get(&region.namespace, &region.name).filter(|known| known.uid == offer.uid && known.is_valid);
        let offer = match known {
            None => Offer { is_valid: false, ..offer },
            Some(known) => {
                let transports = known.seen.transports.clone();
                Offer { seen: Seen { transports, ..offer.seen }, ..Arc::unwrap_or_clone(known) }
            }
        };
        self.put(region, offer);
    }

    /// Its relays run elsewhere from now on.
    pub fn withdraw(&self, region: &Identity) {
        let key = (region.namespace.clone(), region.name.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
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
    use crate::turnregion::test_support::{managed, offer};

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
        let maps = vec![objects.turn];
        for (case, revision, port) in [("not exchanged", objects.revision.as_str(), 3478), ("exchanged", "new", 443)] {
            let slot = made_with(slot(0), revision);
            let observed = Observed { config_maps: maps.clone(), slots: vec![slot.clone()], ..Observed::default() };
            let open = Open::of(&region, &observed);
            assert_eq!(open.listeners(&slot), [ListenerPort { protocol: Protocol::Udp, port }], "{case}");
        }
    }

    #[test]
    fn a_region_with_a_mistake_offers_its_relays_of_now_as_they_were_made_before_it() {
        let offers = Offers::default();
        let before = Offer { seen: Seen { transports: vec![Protocol::Udp], ..offer("a").seen }, ..offer("a") };
        let mistaken = Offer {
            seen: Seen { transports: vec![Protocol::Tls], load: Some(0.4), ..offer("a").seen },
            secret: SecretKeys { name: "another".into(), ..offer("a").secret },
            ..offer("a")
        };
        let mistaken_as_it_is = Offer { is_valid: false, ..mistaken.clone() };
        for earlier in [before.clone(), mistaken.clone()] {
            offers.put_what_runs(&identity("a"), earlier);
        }
        assert_eq!(offers.get("rtc", "a").as_deref(), Some(&mistaken_as_it_is), "what is written is all that is known");
        offers.put(&identity("a"), before.clone());
        offers.put_what_runs(&identity("a"), mistaken.clone());
        let found = offers.get("rtc", "a").unwrap();
        assert_eq!((&found.secret, found.seen.transports.as_slice()), (&before.secret, &[Protocol::Udp][..]));
        assert_eq!(found.seen.load, Some(0.4));
        let again = Offer { uid: "made again".into(), ..mistaken_as_it_is };
        offers.put_what_runs(&identity("a"), again.clone());
        assert_eq!(offers.get("rtc", "a").as_deref(), Some(&again));
        offers.withdraw(&identity("a"));
        assert!(offers.get("rtc", "a").is_none());
    }

    fn identity(name: &str) -> Identity {
        Identity { name: name.into(), namespace: "rtc".into(), uid: name.into(), generation: 1 }
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let offers = Offers::default();
        for name in ["a", "b"] {
            offers.put(&identity(name), offer(name));
        }
        offers.keep(&[("rtc".to_owned(), "b".to_owned())].into());
        assert!(offers.get("rtc", "a").is_none());
        assert!(offers.get("rtc", "b").is_some());
    }
}
