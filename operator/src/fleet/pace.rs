//! When to look at a fleet again.

use std::time::Duration;

use jiff::Timestamp;

use super::rollout::Rollout;
use super::slot::Slot;

/// A steady fleet is looked at this often: Secrets are not watched, and nodes are asked how they are.
pub const STEADY: Duration = Duration::from_secs(15);
/// A fleet with something under way.
pub const MOVING: Duration = Duration::from_secs(3);

/// `slots` as they were before the last look, and what it came to.
pub fn next_look(slots: &[Slot], desired: u32, rollout: &Rollout, waiting: &[String], now: Timestamp) -> Duration {
    // What was stopped, or is held by somebody, does not go on by itself.
    if matches!(rollout, Rollout::Paused | Rollout::Failed { .. }) {
        return STEADY;
    }
    let settles =
        |slot: &Slot| slot.serves() && slot.intent.is_none() && !slot.is_silent() && !slot.has_just_begun(now);
    let settled = slots.iter().all(settles);
    if settled && slots.len() == desired as usize && waiting.is_empty() { STEADY } else { MOVING }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::test_support::{noon, not_ready, silent, slot, with_load};

    #[test]
    fn a_fleet_is_looked_at_more_often_while_something_moves() {
        let look = |slots: &[Slot], rollout, waiting: &[String]| next_look(slots, 2, &rollout, waiting, noon());
        let serving = |index| with_load(slot(index), 0.1);
        assert_eq!(look(&[serving(0), serving(1)], Rollout::Done, &[]), STEADY);
        assert_eq!(look(&[serving(0)], Rollout::Done, &[]), MOVING, "one is missing");
        assert_eq!(look(&[serving(0), not_ready(slot(1))], Rollout::Done, &[]), MOVING, "one starts");
        assert_eq!(look(&[serving(0), slot(1)], Rollout::Done, &[]), MOVING, "one has no load to tell of yet");
        assert_eq!(look(&[serving(0), silent(slot(1))], Rollout::Done, &[]), MOVING, "one does not answer");
        assert_eq!(look(&[serving(0), serving(1)], Rollout::Next(1), &["its turn".into()]), MOVING, "an upgrade");
        assert_eq!(look(&[slot(0), not_ready(slot(1))], Rollout::Paused, &[]), STEADY, "somebody holds it");
    }
}
