//! May the next node get the new revision?
//!
//! The first node of a revision is a canary: it must serve a session of its own before another node is touched. A revision
//! whose nodes do not get there stops where it is.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rtcfleet_node_api::NodeState;

use super::policy::Policy;
use super::slot::{NodeReport, Slot};

/// A node that Kubernetes cannot start may be a registry that is away for a moment.
const BROKEN_FOR: SignedDuration = SignedDuration::from_mins(1);

/// How far a new revision is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// Every node has it.
    Done,
    /// So many further nodes may be out of service for it.
    Next(u32),
    /// A node that has it is not proven yet.
    Canary { slot: u32 },
    /// Somebody holds it: `upgrade.paused`.
    Paused,
    /// A node that has it does not serve. Nothing else is touched until somebody changes the object.
    Failed { slot: u32, why: Failure },
}

/// Why a node of a new revision is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Kubernetes does not get it started, in its own words.
    NotStarted(String),
    /// It runs, and is not ready.
    NotReady,
    /// It is ready, and no session of its own went through it; in its own words.
    NotProven(String),
    /// It is ready, and does not answer on its admin port.
    NoAnswer,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(why) => f.write_str(why),
            Self::NotReady => f.write_str("its pod does not get ready"),
            Self::NotProven(why) => write!(f, "it is ready, but relays no session of its own: {why}"),
            Self::NoAnswer => f.write_str("it is ready, but does not answer on its admin port"),
        }
    }
}

impl Rollout {
    /// The slot that does not serve, and a sentence for people. None while nothing has failed.
    pub fn failure(&self) -> Option<(u32, String)> {
        let Self::Failed { slot, why } = self else { return None };
        let message = format!(
            "slot {slot} does not serve with the new template ({why}), and no other slot gets it: correct what was changed, or change it back"
        );
        Some((*slot, message))
    }
}

/// `slots` are those that stay.
pub fn judge(policy: &Policy, slots: &[&Slot], revision: &str, now: Timestamp) -> Rollout {
    let (new, old): (Vec<&Slot>, Vec<&Slot>) =
        slots.iter().partition(|slot| slot.revision.as_deref() == Some(revision));
    if old.is_empty() {
        return Rollout::Done;
    }
    let proven = new.iter().filter(|slot| slot.is_proven(revision, now)).count();
    // One that was there for long and does not answer holds nobody up, if others have shown that the revision is good.
    let counts = |slot: &&&Slot| {
        let forgotten = proven > 0 && slot.is_silent() && is_due(slot, policy, now);
        !slot.is_lost && !is_leaving(slot) && !forgotten
    };
    let mut unproven = new.iter().filter(|slot| !slot.is_proven(revision, now)).filter(counts);
    let failed = |slot: &&Slot| Some((slot.index, failure(slot, policy, proven == 0, now)?));
    if let Some((slot, why)) = unproven.clone().find_map(failed) {
        return Rollout::Failed { slot, why };
    }
    if let Some(slot) = unproven.next() {
        return Rollout::Canary { slot: slot.index };
    }
    if policy.paused {
        return Rollout::Paused;
    }
    Rollout::Next(if new.is_empty() { 1 } else { policy.max_unavailable })
}

/// `is_first`: no node is proven yet. Once one is, a node that is not ready may be one that was started again, or whose
/// kubelet is away: the upgrade waits for it, and blames nobody.
fn failure(slot: &Slot, policy: &Policy, is_first: bool, now: Timestamp) -> Option<Failure> {
    let pod = slot.pod.as_ref()?;
    if slot.is_broken() && (slot.age(now)? >= BROKEN_FOR || is_due(slot, policy, now)) {
        return Some(Failure::NotStarted(pod.waiting_for.clone().unwrap_or_default()));
    }
    let why = if !pod.ready {
        Failure::NotReady
    } else if slot.is_silent() {
        Failure::NoAnswer
    } else {
        Failure::NotProven(problem(slot).to_owned())
    };
    (is_first && is_due(slot, policy, now)).then_some(why)
}

fn problem(slot: &Slot) -> &str {
    match &slot.node {
        NodeReport::Says(status) => status.relaying.as_ref().and_then(|relaying| relaying.problem.as_deref()),
        NodeReport::Silent { .. } | NodeReport::Absent => None,
    }
    .unwrap_or("it has not tried")
}

/// Kubernetes ends it, or somebody drains it: that says nothing of the revision.
fn is_leaving(slot: &Slot) -> bool {
    let terminating = slot.pod.as_ref().is_some_and(|pod| pod.terminating);
    terminating || matches!(slot.state(), Some(NodeState::Draining | NodeState::Drained))
}

/// It was made so long ago that it should be proven.
fn is_due(slot: &Slot, policy: &Policy, now: Timestamp) -> bool {
    let deadline = SignedDuration::try_from(policy.progress_deadline).unwrap_or(SignedDuration::MAX);
    slot.age(now).is_some_and(|age| age >= deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::test_support::{
        aged, draining, external, noon, not_ready, old, on, silent, slot, unproven, waiting_for,
    };

    fn judged(slots: &[Slot]) -> Rollout {
        let all: Vec<&Slot> = slots.iter().collect();
        judge(&Policy { max_unavailable: 3, ..external(4) }, &all, "a", noon())
    }

    #[test]
    fn the_first_node_is_a_canary_and_the_others_wait_for_its_proof() {
        let outdated = |index| old(slot(index));
        for (case, slots, expected) in [
            ("nothing to do", vec![slot(0), slot(1)], Rollout::Done),
            ("a fleet that starts has no canary", vec![unproven(slot(0)), unproven(slot(1))], Rollout::Done),
            ("the canary comes alone", vec![outdated(0), outdated(1)], Rollout::Next(1)),
            ("it is not proven yet", vec![aged(unproven(slot(0)), 30), outdated(1)], Rollout::Canary { slot: 0 }),
            ("it starts", vec![aged(not_ready(slot(0)), 30), outdated(1)], Rollout::Canary { slot: 0 }),
            ("it is proven: the others follow", vec![slot(0), outdated(1)], Rollout::Next(3)),
            (
                "its image is not there",
                vec![aged(waiting_for(slot(0), "ErrImagePull"), 61), outdated(1)],
                Rollout::Failed { slot: 0, why: Failure::NotStarted("ErrImagePull".into()) },
            ),
            (
                "a registry that is away for a moment",
                vec![aged(waiting_for(slot(0), "ErrImagePull"), 59), outdated(1)],
                Rollout::Canary { slot: 0 },
            ),
            (
                "it never gets ready",
                vec![aged(not_ready(slot(0)), 600), outdated(1)],
                Rollout::Failed { slot: 0, why: Failure::NotReady },
            ),
            (
                "it is ready and relays nothing",
                vec![aged(unproven(slot(0)), 600), outdated(1)],
                Rollout::Failed { slot: 0, why: Failure::NotProven("no answer to a Binding".into()) },
            ),
            (
                "it does not answer",
                vec![aged(silent(slot(0)), 600), outdated(1)],
                Rollout::Failed { slot: 0, why: Failure::NoAnswer },
            ),
            (
                "one of many does not answer, long after",
                vec![aged(silent(slot(0)), 6000), slot(2), outdated(1)],
                Rollout::Next(3),
            ),
            (
                "one that served is started again",
                vec![aged(not_ready(slot(0)), 6000), slot(2), outdated(1)],
                Rollout::Canary { slot: 0 },
            ),
            ("one is drained by hand", vec![draining(slot(0)), slot(2), outdated(1)], Rollout::Next(3)),
            (
                "its machine was lost",
                vec![Slot { is_lost: true, ..on(silent(slot(0)), "m9") }, slot(1), outdated(2)],
                Rollout::Next(3),
            ),
        ] {
            assert_eq!(judged(&slots), expected, "{case}");
        }
    }

    #[test]
    fn a_paused_upgrade_goes_no_further_and_still_tells_of_a_failure() {
        let judged = |slots: &[Slot]| {
            let all: Vec<&Slot> = slots.iter().collect();
            judge(&Policy { paused: true, ..external(2) }, &all, "a", noon())
        };
        assert_eq!(judged(&[old(slot(0)), old(slot(1))]), Rollout::Paused);
        assert_eq!(judged(&[slot(0), old(slot(1))]), Rollout::Paused);
        assert!(matches!(judged(&[aged(not_ready(slot(0)), 600), old(slot(1))]), Rollout::Failed { .. }));
    }
}
