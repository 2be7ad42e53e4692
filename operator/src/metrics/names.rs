//! What names are, a few series each. One that is gone takes its series along.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use rtcfleet_crds::dns_failover::VantagePointState;
use rtcfleet_crds::{ConditionsExt, DnsFailoverStatus, condition};

use crate::decisions::ObjectRef;
use crate::publish::RecordSet;

/// The aims are 2 and 5 s.
const BUCKETS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct NameLabels {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RegionLabels {
    namespace: String,
    name: String,
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VoteLabels {
    namespace: String,
    name: String,
    region: String,
    vote: Vote,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PointLabels {
    namespace: String,
    name: String,
    state: PointState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variant's name is the label's value")]
enum Vote {
    up,
    down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variant's name is the label's value")]
enum PointState {
    fine,
    cut_off,
    silent,
}

const POINT_STATES: [(PointState, VantagePointState); 3] = [
    (PointState::fine, VantagePointState::Fine),
    (PointState::cut_off, VantagePointState::CutOff),
    (PointState::silent, VantagePointState::Silent),
];

/// See the module.
pub(super) struct Names {
    ready: Family<NameLabels, Gauge>,
    frozen: Family<NameLabels, Gauge>,
    degraded: Family<NameLabels, Gauge>,
    weight: Family<RegionLabels, Gauge>,
    votes: Family<VoteLabels, Gauge>,
    points: Family<PointLabels, Gauge>,
    flips: Counter,
    detection: Histogram,
    publication: Histogram,
    /// Regions of each name, and the publication that was observed last.
    known: Mutex<BTreeMap<NameLabels, Known>>,
}

#[derive(Default)]
struct Known {
    regions: Vec<String>,
    published: Vec<RecordSet>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            ready: Family::default(),
            frozen: Family::default(),
            degraded: Family::default(),
            weight: Family::default(),
            votes: Family::default(),
            points: Family::default(),
            flips: Counter::default(),
            detection: Histogram::new(BUCKETS),
            publication: Histogram::new(BUCKETS),
            known: Mutex::default(),
        }
    }
}

impl Names {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("dns_ready", "1 if the answer of a name is published, else 0", self.ready.clone());
        registry.register("dns_frozen", "1 while the answer of a name cannot change, else 0", self.frozen.clone());
        registry.register(
            "dns_degraded",
            "1 while callers are sent to a region that fails, else 0",
            self.degraded.clone(),
        );
        registry.register("dns_region_weight_percent", "Callers that a region is to get", self.weight.clone());
        registry.register("dns_region_votes", "Vantage points by what they see of a region", self.votes.clone());
        registry.register("dns_vantage_points", "Vantage points of a name, by state", self.points.clone());
        registry.register("dns_flips", "Changes of the regions that get callers", self.flips.clone());
        registry.register(
            "dns_detection_seconds",
            "From the first failed probe to the decision",
            self.detection.clone(),
        );
        registry.register(
            "dns_publication_seconds",
            "From a decision until every authoritative server tells it",
            self.publication.clone(),
        );
    }

    pub(super) fn seen(&self, object: &ObjectRef, status: &DnsFailoverStatus) {
        let labels = labels(object);
        let is = |kind: &str| i64::from(status.conditions.is_true(kind));
        self.ready.get_or_create(&labels).set(is(condition::READY));
        self.frozen.get_or_create(&labels).set(is(condition::FROZEN));
        self.degraded.get_or_create(&labels).set(is(condition::DEGRADED));
        for (state, of) in POINT_STATES {
            let count = status.vantage_points.iter().filter(|point| point.state == of).count();
            self.points.get_or_create(&of_state(&labels, state)).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for region in &status.regions {
            self.weight.get_or_create(&of_region(&labels, &region.name)).set(region.weight_percent.into());
            self.votes.get_or_create(&of_vote(&labels, &region.name, Vote::up)).set(region.votes.up.into());
            self.votes.get_or_create(&of_vote(&labels, &region.name, Vote::down)).set(region.votes.down.into());
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(labels.clone()).or_default();
        let regions: Vec<String> = status.regions.iter().map(|region| region.name.clone()).collect();
        known.regions.iter().filter(|region| !regions.contains(region)).for_each(|region| self.forget(&labels, region));
        known.regions = regions;
    }

    pub(super) fn flipped(&self, detection: Option<Duration>) {
        self.flips.inc();
        if let Some(time) = detection {
            self.detection.observe(time.as_secs_f64());
        }
    }

    /// Once for each answer.
    pub(super) fn published(&self, object: &ObjectRef, sets: &[RecordSet], took: Duration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(labels(object)).or_default();
        if known.published != sets {
            known.published = sets.to_vec();
            self.publication.observe(took.as_secs_f64());
        }
    }

    pub(super) fn gone(&self, object: &ObjectRef) {
        let labels = labels(object);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&labels);
        known.into_iter().flat_map(|known| known.regions).for_each(|region| self.forget(&labels, &region));
        self.ready.remove(&labels);
        self.frozen.remove(&labels);
        self.degraded.remove(&labels);
        for (state, _) in POINT_STATES {
            self.points.remove(&of_state(&labels, state));
        }
    }

    fn forget(&self, labels: &NameLabels, region: &str) {
        self.weight.remove(&of_region(labels, region));
        self.votes.remove(&of_vote(labels, region, Vote::up));
        self.votes.remove(&of_vote(labels, region, Vote::down));
    }
}

fn labels(object: &ObjectRef) -> NameLabels {
    NameLabels { namespace: object.namespace.clone(), name: object.name.clone() }
}

fn of_region(labels: &NameLabels, region: &str) -> RegionLabels {
    let NameLabels { namespace, name } = labels.clone();
    RegionLabels { namespace, name, region: region.to_owned() }
}

fn of_vote(labels: &NameLabels, region: &str, vote: Vote) -> VoteLabels {
    let RegionLabels { namespace, name, region } = of_region(labels, region);
    VoteLabels { namespace, name, region, vote }
}

fn of_state(labels: &NameLabels, state: PointState) -> PointLabels {
    let NameLabels { namespace, name } = labels.clone();
    PointLabels { namespace, name, state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_name_has_its_series_until_it_is_gone() {
        let region = |name: &str| {
            serde_json::json!({
                "name": name, "state": "Serving", "health": "Healthy", "givenPercent": 100, "weightPercent": 50,
                "votes": {"up": 2, "down": 1, "needed": 2, "asked": 3}, "since": "", "reason": "Initial",
            })
        };
        let status = |regions: &[&str]| -> DnsFailoverStatus {
            serde_json::from_value(serde_json::json!({
                "regions": regions.iter().map(|name| region(name)).collect::<Vec<_>>(),
                "vantagePoints": [{"name": "a", "state": "Fine"}],
            }))
            .unwrap()
        };
        let (metrics, object) = (Metrics::new(), ObjectRef::new("DnsFailover", "rtc", "india"));
        metrics.name(&object, &status(&["central", "south"]));
        let text = metrics.encode();
        for line in [
            "rtcfleet_operator_dns_ready{namespace=\"rtc\",name=\"india\"} 0",
            "rtcfleet_operator_dns_region_weight_percent{namespace=\"rtc\",name=\"india\",region=\"central\"} 50",
            "region=\"central\",vote=\"down\"} 1",
            "rtcfleet_operator_dns_vantage_points{namespace=\"rtc\",name=\"india\",state=\"fine\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        metrics.name(&object, &status(&["south"]));
        assert!(!metrics.encode().contains("central"));
        metrics.name_gone(&object);
        assert!(!metrics.encode().contains("india"));
    }
}
