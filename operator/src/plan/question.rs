//! The question that somebody asks, and its answer, from the code that decides in the cluster. Pure.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rtcfleet_node_api::{NodeState, Sessions};
use serde_json::{Value, json};

use crate::fleet::history::History;
use crate::fleet::imagined;
use crate::fleet::machine::Machine;
use crate::fleet::plan::{Situation, Step, plan};
use crate::fleet::policy::Count;
use crate::fleet::rules;
use crate::fleet::scale::{self, OtherRegion, Scale, Seen};
use crate::fleet::slot::{Intent, Slot};
use crate::turnregion::file::FileRegion;

/// Machines where nobody says how many there are: more than a region may have nodes.
const MANY: u32 = 1000;
/// Sessions of a full node. Which node goes is asked of sessions, and nobody gave us any: they are as its load is.
const SESSIONS: f64 = 1000.0;
const REVISION: &str = "as-written";

/// Why a question makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    #[error(
        "--machines {machines}: {nodes} relays are loaded, and each runs on a machine of its own: write at least {nodes}, or fewer numbers in --load"
    )]
    TooFewMachines { machines: u32, nodes: usize },
    #[error(
        "--other {other}: TurnRegion {name} has no spec.failoverGroup, so it keeps no reserve for others: write one in the file, or leave --other out"
    )]
    NoGroup { name: String, other: String },
}

/// What somebody asks.
pub struct Question<'a> {
    region: &'a FileRegion,
    loads: Vec<f64>,
    others: Vec<OtherRegion>,
    machines: u32,
}

impl<'a> Question<'a> {
    /// `loads` in parts of a node, a number for each that serves; `others` in whole nodes.
    pub fn new(
        region: &'a FileRegion,
        loads: Vec<f64>,
        others: &[(String, f64)],
        machines: Option<u32>,
    ) -> Result<Self, NotAsked> {
        if let (Some((other, _)), None) = (others.first(), &region.failover_group) {
            return Err(NotAsked::NoGroup { name: region.name.clone(), other: other.clone() });
        }
        if let Some(machines) = machines.filter(|machines| (*machines as usize) < loads.len()) {
            return Err(NotAsked::TooFewMachines { machines, nodes: loads.len() });
        }
        let other = |(name, load): &(String, f64)| OtherRegion { name: name.clone(), up: *load, down: *load };
        Ok(Self { region, loads, others: others.iter().map(other).collect(), machines: machines.unwrap_or(MANY) })
    }

    /// As the operator would look at it at `now`, and when the load was like this for a whole window.
    pub fn answer(&self, now: Timestamp, instant: Instant) -> Answer<'a> {
        let region = self.region;
        let slots: Vec<Slot> = (0..).zip(&self.loads).map(|(index, load)| slot(index, *load, now)).collect();
        let machines: Vec<Machine> = (0..self.machines).map(|number| imagined::machine(&name(number))).collect();
        let mut history = History::new(instant);
        let mut look = |instant| {
            let seen = Seen {
                slots: &slots,
                machines: &machines,
                others: &self.others,
                all_known: true,
                before: u32::try_from(slots.len()).ok(),
                now,
                instant,
            };
            let scale = scale::decide(&region.fleet.count, &seen, &mut history);
            let situation = Situation {
                policy: &region.fleet,
                scale: &scale,
                slots: &slots,
                machines: &machines,
                revision: REVISION,
                now,
            };
            let steps = plan(situation).steps;
            Wish::of(scale, &steps, slots.len())
        };
        let window = match &region.fleet.count {
            Count::Follow(scaling) => scaling.stabilization,
            Count::External(_) | Count::Default(_) => Duration::ZERO,
        };
        let at_once = look(instant);
        let later = look(instant + window);
        Answer { region, serving: slots.len(), at_once, window, later }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "parts of a node lie between 0 and 1")]
fn slot(index: u32, load: f64, now: Timestamp) -> Slot {
    let mut status = imagined::status(NodeState::Active, now);
    status.load = Some(imagined::load(load));
    status.sessions = Sessions { allocations: (load * SESSIONS).ceil() as u64 };
    imagined::serving(index, REVISION, &name(index), status)
}

fn name(machine: u32) -> String {
    format!("machine-{machine}")
}

/// What the operator would want.
#[derive(Debug, PartialEq)]
pub struct Answer<'a> {
    pub region: &'a FileRegion,
    pub serving: usize,
    pub at_once: Wish,
    pub window: Duration,
    /// When the load was the same for `window`.
    pub later: Wish,
}

/// A number, and what would be done at once for it.
#[derive(Debug, PartialEq)]
pub struct Wish {
    pub scale: Scale,
    /// Slots.
    pub make: Vec<u32>,
    /// Slots.
    pub drain: Vec<u32>,
    /// Nodes that are too many, and wait until those have drained.
    pub drain_later: usize,
}

impl Wish {
    fn of(scale: Scale, steps: &[Step], present: usize) -> Self {
        let make = steps.iter().filter(|step| matches!(step, Step::Create { .. })).map(Step::slot).collect();
        let retires = |step: &&Step| matches!(step, Step::Mark { intent: Some(Intent::Retire { .. }), .. });
        let drain: Vec<u32> = steps.iter().filter(retires).map(Step::slot).collect();
        let surplus = present.saturating_sub(scale.desired as usize);
        Self { drain_later: surplus.saturating_sub(drain.len()), scale, make, drain }
    }

    fn json(&self) -> Value {
        let Self { scale, make, drain, drain_later } = self;
        let limits: Vec<&str> = scale.limited_by.iter().map(|limit| limit.text()).collect();
        json!({
            "desired": scale.desired, "least": scale.least, "reason": scale.reason, "limitedBy": limits,
            "make": make, "drain": drain, "drainLater": drain_later,
        })
    }
}

impl Answer<'_> {
    pub fn json(&self) -> Value {
        let Self { region, serving, at_once, window, later } = self;
        let scale = &at_once.scale;
        let decides = rules::highest(&scale.rules).map(|wanted| wanted.rule.to_string());
        let rules: Vec<Value> =
            scale.rules.iter().map(|wanted| json!({"rule": wanted.rule.to_string(), "relays": wanted.nodes})).collect();
        json!({
            "region": region.name, "serving": serving, "load": scale.load.up.whole, "rules": rules, "decides": decides,
            "now": at_once.json(), "windowSeconds": window.as_secs(), "afterWindow": later.json(),
            "notInEffect": region.not_in_effect,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::test_support::{noon, policy, scaling};

    fn region(count: Count) -> FileRegion {
        FileRegion {
            name: "a".into(),
            failover_group: Some("g".into()),
            fleet: policy(count),
            not_in_effect: Vec::new(),
        }
    }

    fn follow() -> FileRegion {
        region(Count::Follow(Box::new(scaling())))
    }

    fn answer<'a>(region: &'a FileRegion, loads: &[f64], others: &[(&str, f64)], machines: Option<u32>) -> Answer<'a> {
        let others: Vec<(String, f64)> = others.iter().map(|(name, load)| ((*name).to_owned(), *load)).collect();
        Question::new(region, loads.to_vec(), &others, machines).unwrap().answer(noon(), Instant::now())
    }

    #[test]
    fn more_load_makes_nodes_at_once_and_less_drains_them_after_the_window() {
        let region = follow();
        let more = answer(&region, &[0.9, 0.9], &[], None);
        assert_eq!((more.at_once.scale.desired, more.at_once.scale.reason), (4, "Headroom"));
        assert_eq!((more.at_once.make.as_slice(), &more.at_once), (&[2, 3][..], &more.later));
        let less = answer(&region, &[0.1, 0.3, 0.2, 0.4], &[], None);
        assert_eq!((less.at_once.scale.desired, less.at_once.scale.reason), (4, "Stabilization"));
        let later = &less.later;
        assert_eq!(
            (later.scale.desired, later.drain.as_slice(), later.drain_later),
            (2, &[0][..], 1),
            "the least busy"
        );
    }

    #[test]
    fn other_regions_and_machines_count() {
        let region = follow();
        let reserve = answer(&region, &[0.4, 0.4], &[("b", 3.0)], None).at_once.scale;
        assert_eq!((reserve.desired, reserve.reason), (5, "RegionLoss"));
        let few = answer(&region, &[0.9, 0.9], &[], Some(2)).at_once.scale;
        assert_eq!(few.limited_by, [scale::Limit::NoMachine]);
    }

    #[test]
    fn a_number_that_somebody_else_decides_is_told_as_such() {
        let region = region(Count::External(3));
        let fixed = answer(&region, &[0.9], &[], None);
        assert_eq!((fixed.at_once.scale.desired, fixed.at_once.scale.reason), (3, "ExternalScaler"));
        assert_eq!(fixed.at_once.make, [1, 2]);
        assert!(fixed.json()["rules"].as_array().unwrap().is_empty());
    }

    #[test]
    fn a_question_that_makes_no_sense_is_refused_with_what_to_write() {
        let alone = FileRegion { failover_group: None, ..follow() };
        let refused = |region: &FileRegion, others: &[(String, f64)], machines| {
            Question::new(region, vec![0.1, 0.1], others, machines).err().expect("refused").to_string()
        };
        let no_group = refused(&alone, &[("b".into(), 1.0)], None);
        assert!(no_group.starts_with("--other b: TurnRegion a has no spec.failoverGroup"), "{no_group}");
        let few = refused(&alone, &[], Some(1));
        assert!(few.starts_with("--machines 1: 2 relays are loaded") && few.contains("write at least 2"), "{few}");
    }
}
