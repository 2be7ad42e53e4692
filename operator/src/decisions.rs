//! Every decision is a value with its inputs: logged once, counted once, and kept for `operator explain`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;

/// Decisions kept for one object; the oldest leave first.
pub const KEPT_PER_OBJECT: usize = 32;
/// Objects remembered; the one that was decided about longest ago leaves first.
pub const KEPT_OBJECTS: usize = 1024;
/// The same decision within this time is the same one made again (every pass makes it anew); later it is a new one.
const REPEATED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// The object that a decision, an Event or a retry is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// As in YAML: `TurnRegion`.
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

impl ObjectRef {
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    /// The reference of a namespaced object of a kind known at compile time.
    pub fn of<K: kube::Resource<DynamicType = ()>>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What was decided, why, and from what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What is done: `scale`, `create`, `drain`, `delete`, `update`, `refuse`, … A metric label, hence constant.
    pub kind: &'static str,
    /// Why, as a CamelCase constant. A metric label.
    pub reason: &'static str,
    pub object: ObjectRef,
    /// The slot it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<i32>,
    /// One sentence. No times and no moving figures: those are `inputs`.
    pub message: String,
    /// Everything that the deciding function looked at. Never a secret.
    pub inputs: serde_json::Value,
    pub at: Timestamp,
}

/// A decision as it is kept: how often it was made, and when last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Remembered {
    #[serde(flatten)]
    pub decision: Decision,
    pub times: u64,
    pub last: Timestamp,
}

impl Remembered {
    fn is_repeated_by(&self, decision: &Decision) -> bool {
        self.decision.kind == decision.kind
            && self.decision.reason == decision.reason
            && self.decision.slot == decision.slot
            && self.decision.message == decision.message
            && decision.at.duration_since(self.last) <= REPEATED_WITHIN
    }
}

/// The decisions of this process, bounded in both directions. Cheap to clone.
#[derive(Clone)]
pub struct Decisions {
    kept: Arc<Mutex<HashMap<ObjectRef, VecDeque<Remembered>>>>,
    metrics: Metrics,
}

impl Decisions {
    pub fn new(metrics: Metrics) -> Self {
        Self { kept: Arc::default(), metrics }
    }

    /// Keeps a decision. A new one is also logged and counted; one that was made before is only counted as repeated,
    /// with the latest inputs. True if it was new: then it deserves an Event.
    pub fn record(&self, decision: Decision) -> bool {
        if self.count_repeated(&decision) {
            return false;
        }
        let Decision { kind, reason, object, slot, message, inputs, at: _ } = &decision;
        tracing::info!(
            decision = kind,
            reason,
            kind = object.kind,
            namespace = object.namespace,
            name = object.name,
            slot,
            %inputs,
            "{message}"
        );
        self.metrics.decided(kind, reason);
        self.remember(decision);
        true
    }

    fn count_repeated(&self, decision: &Decision) -> bool {
        let mut kept = self.lock();
        let ring = kept.get_mut(&decision.object);
        let same = ring.and_then(|ring| ring.iter_mut().rev().find(|kept| kept.is_repeated_by(decision)));
        let Some(same) = same else { return false };
        same.times += 1;
        same.last = decision.at;
        same.decision.inputs = decision.inputs.clone();
        true
    }

    fn remember(&self, decision: Decision) {
        let mut kept = self.lock();
        if !kept.contains_key(&decision.object)
            && kept.len() >= KEPT_OBJECTS
            && let Some(stalest) = stalest(&kept)
        {
            kept.remove(&stalest);
        }
        let ring = kept.entry(decision.object.clone()).or_default();
        if ring.len() == KEPT_PER_OBJECT {
            ring.pop_front();
        }
        ring.push_back(Remembered { last: decision.at, times: 1, decision });
    }

    /// The decisions about one object, oldest first. The kind may be written in any case (`turnregion`).
    pub fn about(&self, kind: &str, namespace: &str, name: &str) -> Vec<Remembered> {
        self.lock()
            .iter()
            .find(|(object, _)| {
                object.kind.eq_ignore_ascii_case(kind) && object.namespace == namespace && object.name == name
            })
            .map(|(_, ring)| ring.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Drops what is kept about an object that is gone.
    pub fn forget(&self, object: &ObjectRef) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectRef, VecDeque<Remembered>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ties go to the first by name, so that the choice never depends on map order.
fn stalest(kept: &HashMap<ObjectRef, VecDeque<Remembered>>) -> Option<ObjectRef> {
    kept.iter()
        .min_by_key(|(object, ring)| (ring.iter().map(|kept| kept.last).max(), *object))
        .map(|(object, _)| object.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2026-01-01T12:00:00Z";

    fn decisions() -> Decisions {
        Decisions::new(Metrics::new())
    }

    fn decision(name: &str, message: &str, minute: i64) -> Decision {
        let noon: Timestamp = NOON.parse().unwrap();
        Decision {
            kind: "scale",
            reason: "LoadAboveTarget",
            object: ObjectRef::new("TurnRegion", "media", name),
            slot: None,
            message: message.into(),
            inputs: serde_json::json!({"minute": minute}),
            at: noon + SignedDuration::from_mins(minute),
        }
    }

    #[test]
    fn a_decision_made_again_on_every_pass_is_counted_and_keeps_its_latest_inputs() {
        let decisions = decisions();
        assert!(decisions.record(decision("a", "from 2 to 3", 0)));
        assert!(!decisions.record(decision("a", "from 2 to 3", 5)));
        assert!(!decisions.record(decision("a", "from 2 to 3", 15)), "each repetition extends the time");
        let kept = decisions.about("turnregion", "media", "a");
        assert_eq!(kept.len(), 1);
        assert_eq!((kept[0].times, &kept[0].decision.inputs), (3, &serde_json::json!({"minute": 15})));
        assert_eq!(kept[0].decision.at, decision("a", "", 0).at, "since when it holds stays visible");
    }

    #[test]
    fn the_same_decision_after_a_quiet_time_is_a_new_one() {
        let decisions = decisions();
        assert!(decisions.record(decision("a", "from 2 to 3", 0)));
        assert!(decisions.record(decision("a", "from 2 to 3", 11)));
        assert_eq!(decisions.about("TurnRegion", "media", "a").len(), 2);
    }

    #[test]
    fn two_slots_that_are_held_for_the_same_reason_are_two_decisions() {
        let decisions = decisions();
        assert!(decisions.record(Decision { slot: Some(1), ..decision("a", "held", 0) }));
        assert!(decisions.record(Decision { slot: Some(2), ..decision("a", "held", 0) }));
        assert!(!decisions.record(Decision { slot: Some(1), ..decision("a", "held", 1) }));
    }

    #[test]
    fn an_object_keeps_only_its_latest_decisions() {
        let decisions = decisions();
        for n in 0..i64::try_from(KEPT_PER_OBJECT).unwrap() + 3 {
            decisions.record(decision("a", &format!("to {n}"), 0));
        }
        let kept = decisions.about("TurnRegion", "media", "a");
        assert_eq!(kept.len(), KEPT_PER_OBJECT);
        assert_eq!(kept[0].decision.message, "to 3");
    }

    #[test]
    fn the_object_decided_about_longest_ago_makes_room_for_a_new_one() {
        let decisions = decisions();
        for n in 0..KEPT_OBJECTS {
            decisions.record(decision(&format!("r{n}"), "x", i64::from(n != 7)));
        }
        decisions.record(decision("one-more", "x", 2));
        assert!(decisions.about("TurnRegion", "media", "r7").is_empty());
        assert_eq!(decisions.about("TurnRegion", "media", "r8").len(), 1);
        assert_eq!(decisions.about("TurnRegion", "media", "one-more").len(), 1);
    }

    #[test]
    fn a_deleted_object_is_forgotten() {
        let decisions = decisions();
        decisions.record(decision("a", "x", 0));
        decisions.forget(&ObjectRef::new("TurnRegion", "media", "a"));
        assert!(decisions.about("TurnRegion", "media", "a").is_empty());
    }
}
