//! How long to wait before the next try, per object: exponential, with jitter, forgotten on success.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{decisions::ObjectRef, error::Category};

/// First wait of an error that passes by itself.
pub const FIRST: Duration = Duration::from_secs(1);
/// Longest wait. Also the first wait when a person must act: their edit wakes us, this only covers what we do not watch.
pub const LONGEST: Duration = Duration::from_mins(5);
/// Objects whose failures are counted at the same time. Past it, an object that has failed least often is forgotten,
/// which costs one early retry.
const REMEMBERED: usize = 4096;

/// Failures in a row, per object.
pub struct Backoff {
    state: Mutex<State>,
}

struct State {
    failures: HashMap<ObjectRef, u32>,
    rng: StdRng,
}

impl Backoff {
    /// `seed` makes the jitter, so that a test can repeat it.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(State { failures: HashMap::new(), rng: StdRng::seed_from_u64(seed) }) }
    }

    /// The wait before `object` is tried again. Between 1 s and 5 min, doubled with each failure in a row; up to a
    /// quarter is taken off at random so that objects that failed together do not come back together.
    pub fn next(&self, object: &ObjectRef, category: Category) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let jitter: f64 = state.rng.random_range(0.75..=1.0);
        let failures = state.count(object);
        let full = match category {
            Category::UserMustAct => LONGEST,
            Category::Retry | Category::Bug => FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST),
        };
        full.mul_f64(jitter).max(FIRST)
    }

    /// The object succeeded, or is gone.
    pub fn forget(&self, object: &ObjectRef) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failures.remove(object);
    }
}

impl State {
    /// Failures before this one.
    fn count(&mut self, object: &ObjectRef) -> u32 {
        if !self.failures.contains_key(object)
            && self.failures.len() >= REMEMBERED
            && let Some(least) =
                self.failures.iter().min_by_key(|(object, failures)| (**failures, *object)).map(|(o, _)| o.clone())
        {
            self.failures.remove(&least);
        }
        let failures = self.failures.entry(object.clone()).or_insert(0);
        let before = *failures;
        *failures = failures.saturating_add(1);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region(name: &str) -> ObjectRef {
        ObjectRef::new("TurnRegion", "media", name)
    }

    #[test]
    fn waits_double_from_one_second_to_five_minutes() {
        let backoff = Backoff::new(7);
        let mut expected = FIRST;
        for _ in 0..12 {
            let wait = backoff.next(&region("a"), Category::Retry);
            assert!(wait <= expected && wait >= expected.mul_f64(0.75).max(FIRST), "{wait:?} for {expected:?}");
            expected = (expected * 2).min(LONGEST);
        }
    }

    #[test]
    fn a_success_starts_again_at_one_second_and_other_objects_do_not_count() {
        let backoff = Backoff::new(7);
        for _ in 0..9 {
            backoff.next(&region("a"), Category::Retry);
        }
        assert_eq!(backoff.next(&region("b"), Category::Retry), FIRST);
        backoff.forget(&region("a"));
        assert_eq!(backoff.next(&region("a"), Category::Retry), FIRST);
    }

    #[test]
    fn an_error_that_a_person_must_end_is_looked_at_again_rarely() {
        assert!(Backoff::new(1).next(&region("a"), Category::UserMustAct) >= LONGEST.mul_f64(0.75));
    }

    #[test]
    fn the_memory_of_failures_is_bounded_and_keeps_who_fails_most() {
        let backoff = Backoff::new(7);
        for _ in 0..5 {
            backoff.next(&region("always"), Category::Retry);
        }
        for n in 0..REMEMBERED + 10 {
            backoff.next(&region(&format!("r{n}")), Category::Retry);
        }
        assert_eq!(backoff.state.lock().unwrap().failures.len(), REMEMBERED);
        assert!(backoff.next(&region("always"), Category::Retry) > Duration::from_secs(20));
    }

    proptest! {
        #[test]
        fn no_order_of_failures_and_successes_leaves_the_bounds(
            seed: u64,
            events in proptest::collection::vec((0..4u8, any::<bool>()), 0..200),
        ) {
            let backoff = Backoff::new(seed);
            for (object, fails) in events {
                let object = region(&object.to_string());
                if fails {
                    let wait = backoff.next(&object, Category::Retry);
                    prop_assert!((FIRST..=LONGEST).contains(&wait), "{wait:?}");
                } else {
                    backoff.forget(&object);
                }
            }
        }
    }
}
