//! A token bucket in one number: the generic cell rate algorithm in the form of virtual scheduling (ITU-T I.371).
//!
//! The number is the moment up to which what was let through has used up the rate. So zero is a full bucket, nothing
//! has to be refilled, and nothing is rounded however often it is asked.

use std::time::{Duration, Instant};

/// What [`Bucket`] measures with: from `start` to `now`, and zero before.
pub(super) fn nanos(start: Instant, now: Instant) -> u64 {
    whole_nanos(now.saturating_duration_since(start))
}

/// 584 years at the most.
pub(super) fn whole_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// One rate's bucket. All its numbers are nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket(u64);

impl Bucket {
    /// Whether nothing of it is in use.
    pub(super) fn is_full(self, now: u64) -> bool {
        self.0 <= now
    }

    /// Whether something may pass that the rate takes `cost` for. `burst` is what may pass at once, as the time that
    /// the rate takes for it: what costs more never passes.
    pub(super) fn take(&mut self, now: u64, cost: u64, burst: u64) -> bool {
        let full = now.saturating_add(burst);
        // Above `full` is what a clock leaves behind that was set back: without the bound nothing would pass until it
        // has caught up.
        self.0 = self.0.clamp(now, full);
        let after = self.0.saturating_add(cost);
        let passes = after <= full;
        if passes {
            self.0 = after;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn passed(bucket: &mut Bucket, now: u64, asked: usize) -> usize {
        (0..asked).filter(|_| bucket.take(now, MS, 10 * MS)).count()
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(passed(&mut bucket, 0, 100), 10);
        assert_eq!(passed(&mut bucket, 3 * MS, 100), 3);
        assert_eq!(passed(&mut bucket, 3 * MS + MS / 2, 100), 0, "half of one is none");
        assert_eq!(passed(&mut bucket, 1000 * MS, 100), 10, "it holds no more than a burst");
    }

    #[test]
    fn a_clock_that_stands_still_or_is_set_back_does_no_more_than_empty_the_bucket() {
        let mut bucket = Bucket::default();
        let late = 3600 * 1000 * MS;
        assert_eq!(passed(&mut bucket, late, 100), 10);
        assert_eq!(passed(&mut bucket, late, 100), 0);
        assert_eq!(passed(&mut bucket, 0, 100), 0);
        assert_eq!(passed(&mut bucket, 4 * MS, 100), 4, "the rate goes on from where the clock is");
        // Nothing overflows: this is 584 years ahead.
        assert!(bucket.take(u64::MAX, MS, 10 * MS));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_no_more_passes_than_the_rate_and_one_burst(
            steps in proptest::collection::vec((0..20 * MS, 0..4 * MS), 1..200)
        ) {
            let (mut bucket, mut now, mut cost_passed) = (Bucket::default(), 0, 0);
            for (step, cost) in steps {
                now += step;
                cost_passed += if bucket.take(now, cost, 10 * MS) { cost } else { 0 };
                prop_assert!(cost_passed <= now + 10 * MS);
            }
        }
    }
}
