//! How long does a region stay out? Doubled each time it fails again, up to a limit; forgiven one failure for each span of
//! that limit that it served in one go.

use std::time::Duration;

use jiff::Timestamp;

use super::policy::Safety;
use super::region::{Phase, Region, seconds};

/// Failures that count for a region that fails now, this one included, and until when it stays out.
pub fn of(region: &Region, safety: &Safety, now: Timestamp) -> (u32, Timestamp) {
    let served = match region.phase {
        Phase::Serving => u64::try_from(now.duration_since(region.since).as_secs()).unwrap_or(0),
        Phase::Withdrawn | Phase::Returning => 0,
    };
    let forgiven = u32::try_from(served / safety.max_hold_down.as_secs().max(1)).unwrap_or(u32::MAX);
    let flaps = region.flaps.saturating_sub(forgiven).saturating_add(1);
    let doubled = 2_u32.checked_pow(flaps - 1).and_then(|times| safety.hold_down.checked_mul(times));
    let span = doubled.unwrap_or(Duration::MAX).min(safety.max_hold_down);
    (flaps, seconds(now.checked_add(span).unwrap_or(Timestamp::MAX)))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::test_support::{noon, policy};
    use super::*;

    /// Minutes that a region with so many failures, which served for so many minutes, stays out.
    fn minutes(flaps: u32, served: i64, phase: Phase) -> (u32, i64) {
        let region = Region { phase, flaps, ..Region::initial("a", noon()) };
        let now = noon() + SignedDuration::from_mins(served);
        let (flaps, until) = of(&region, &policy().safety, now);
        (flaps, until.duration_since(now).as_mins())
    }

    #[test]
    fn each_failure_doubles_it_up_to_an_hour_and_hours_of_service_forgive() {
        for (case, flaps, served, expected) in [
            ("the first", 0, 0, (1, 1)),
            ("the second", 1, 5, (2, 2)),
            ("the third", 2, 59, (3, 4)),
            ("an hour forgives one", 2, 60, (2, 2)),
            ("a day forgives all", 9, 1440, (1, 1)),
            ("an hour is the most", 6, 0, (7, 60)),
            ("also of very many", 200, 0, (201, 60)),
        ] {
            assert_eq!(minutes(flaps, served, Phase::Serving), expected, "{case}");
        }
        assert_eq!(minutes(1, 600, Phase::Returning), (2, 2), "only whole service counts");
    }
}
