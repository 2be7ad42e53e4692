//! What fleets are and want, a series a fleet. One that is gone takes its series along.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::decisions::ObjectRef;
use crate::fleet::scale::Scale;
use crate::fleet::slot::{NodeReport, Slot};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct FleetLabels {
    kind: String,
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    kind: String,
    namespace: String,
    name: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variant's name is the label's value")]
enum State {
    serving,
    draining,
    silent,
    other,
}

const STATES: [State; 4] = [State::serving, State::draining, State::silent, State::other];

impl State {
    fn of(slot: &Slot) -> Self {
        match &slot.node {
            NodeReport::Silent { .. } => Self::silent,
            _ if slot.is_going() || slot.intent.is_some() => Self::draining,
            _ if slot.serves() => Self::serving,
            NodeReport::Absent | NodeReport::Says(_) => Self::other,
        }
    }
}

/// See the module. Cheap to clone.
#[derive(Default)]
pub(super) struct Fleets {
    desired: Family<FleetLabels, Gauge>,
    load: Family<FleetLabels, Gauge<f64, AtomicU64>>,
    nodes: Family<NodeLabels, Gauge>,
    draining_sessions: Family<FleetLabels, Gauge>,
    known: Mutex<BTreeSet<FleetLabels>>,
}

impl Fleets {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("fleet_desired_nodes", "Nodes that there should be", self.desired.clone());
        registry.register("fleet_load_nodes", "Load of a fleet in whole nodes", self.load.clone());
        registry.register("fleet_nodes", "Nodes that there are, by state", self.nodes.clone());
        registry.register(
            "fleet_draining_sessions",
            "Sessions on nodes that drain, which move or end before these nodes go",
            self.draining_sessions.clone(),
        );
    }

    pub(super) fn seen(&self, fleet: &ObjectRef, scale: &Scale, slots: &[Slot]) {
        let ObjectRef { kind, namespace, name } = fleet.clone();
        let labels = FleetLabels { kind, namespace, name };
        self.desired.get_or_create(&labels).set(scale.desired.into());
        self.load.get_or_create(&labels).set(scale.load.up.whole);
        for state in STATES {
            let count = slots.iter().filter(|slot| State::of(slot) == state).count();
            self.nodes.get_or_create(&of_state(&labels, state)).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let draining = slots.iter().filter(|slot| slot.intent.is_some()).filter_map(Slot::sessions).sum::<u64>();
        self.draining_sessions.get_or_create(&labels).set(i64::try_from(draining).unwrap_or(i64::MAX));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(labels);
    }

    /// Of `kind`, these are left.
    pub(super) fn left(&self, kind: &str, fleets: &BTreeSet<(String, String)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|labels| {
            let stays = labels.kind != kind || fleets.contains(&(labels.namespace.clone(), labels.name.clone()));
            if !stays {
                self.desired.remove(labels);
                self.load.remove(labels);
                self.draining_sessions.remove(labels);
                for state in STATES {
                    self.nodes.remove(&of_state(labels, state));
                }
            }
            stays
        });
    }
}

fn of_state(labels: &FleetLabels, state: State) -> NodeLabels {
    let FleetLabels { kind, namespace, name } = labels.clone();
    NodeLabels { kind, namespace, name, state }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fleet::history::History;
    use crate::fleet::scale::{self, Seen};
    use crate::fleet::slot::Intent;
    use crate::fleet::test_support::{external, noon, silent, slot, stopped, with_load, with_sessions};
    use crate::metrics::Metrics;

    #[test]
    fn a_fleet_has_its_series_until_it_is_gone() {
        let draining = Slot {
            intent: Some(Intent::Retire { deadline: noon() + Duration::from_mins(1) }),
            ..with_sessions(slot(1), 7)
        };
        let slots = [with_load(slot(0), 0.5), draining, silent(slot(2)), stopped(slot(3))];
        let instant = Instant::now();
        let seen =
            Seen { slots: &slots, machines: &[], others: &[], all_known: true, before: None, now: noon(), instant };
        let scale = scale::decide(&external(3).count, &seen, &mut History::new(instant));
        let metrics = Metrics::new();
        metrics.fleet(&ObjectRef::new("TurnRegion", "rtc", "centralindia"), &scale, &slots);
        let text = metrics.encode();
        for line in [
            "rtcfleet_operator_fleet_desired_nodes{kind=\"TurnRegion\",namespace=\"rtc\",name=\"centralindia\"} 3",
            "rtcfleet_operator_fleet_draining_sessions{kind=\"TurnRegion\",namespace=\"rtc\",name=\"centralindia\"} 7",
            "name=\"centralindia\",state=\"serving\"} 1",
            "name=\"centralindia\",state=\"draining\"} 1",
            "name=\"centralindia\",state=\"silent\"} 1",
            "name=\"centralindia\",state=\"other\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        let left = |names: &[&str]| {
            let names = names.iter().map(|name| ("rtc".to_owned(), (*name).to_owned())).collect();
            metrics.fleets_left("TurnRegion", &names);
            metrics.encode().contains("centralindia")
        };
        assert!(left(&["centralindia", "southindia"]));
        assert!(!left(&["southindia"]));
    }
}
