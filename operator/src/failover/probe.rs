//! Does one vantage point see one relay work, over one transport?
//!
//! The hysteresis of gdnsd: down after so many failures within a window, in a row or not; up after twice as many successes
//! in a row. In between it stays what it was.

use std::collections::VecDeque;
use std::time::Instant;

use super::policy::Health;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    Up,
    Down,
}

/// Bounded: as many instants as failures make a relay down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Of the failures that count, the oldest first.
    failures: VecDeque<Instant>,
    /// Successes since the last failure.
    straight: u32,
    opinion: Option<Opinion>,
    last: Option<Instant>,
}

impl Probe {
    /// A probe that was made at `at`.
    pub fn take(&mut self, ok: bool, at: Instant, health: &Health) {
        self.last = self.last.max(Some(at));
        if ok {
            self.straight = self.straight.saturating_add(1);
            if self.straight >= health.successes {
                self.opinion = Some(Opinion::Up);
            }
            return;
        }
        self.straight = 0;
        self.failures.push_back(at);
        self.failures.retain(|failure| at.saturating_duration_since(*failure) <= health.window);
        while self.failures.len() > health.failures {
            self.failures.pop_front();
        }
        if self.failures.len() >= health.failures {
            self.opinion = Some(Opinion::Down);
        }
    }

    /// None: too little is known, or it was too long ago.
    pub fn opinion(&self, now: Instant, health: &Health) -> Option<Opinion> {
        self.opinion.filter(|_| self.is_fresh(now, health))
    }

    /// It works, and did not fail once within the window.
    pub fn is_clean(&self, now: Instant, health: &Health) -> bool {
        let failed = self.failures.back().is_some_and(|last| now.saturating_duration_since(*last) <= health.window);
        !failed && self.opinion(now, health) == Some(Opinion::Up)
    }

    /// What the last one found. None: it was too long ago.
    pub fn works_now(&self, now: Instant, health: &Health) -> Option<bool> {
        self.is_fresh(now, health).then_some(self.straight > 0)
    }

    /// It is down, and has not begun to work again: half of the successes that would make it up count as that.
    pub fn is_firmly_down(&self, now: Instant, health: &Health) -> bool {
        self.opinion(now, health) == Some(Opinion::Down) && self.straight * 2 < health.successes
    }

    pub fn is_fresh(&self, now: Instant, health: &Health) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) <= health.stale())
    }

    /// When the failures began that count now.
    pub fn first_failure(&self) -> Option<Instant> {
        self.failures.front().copied()
    }

    pub fn last(&self) -> Option<Instant> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_support::policy;
    use super::*;

    /// `+` works, `-` fails, `.` is not told; one a second.
    fn told(story: &str) -> Option<Opinion> {
        let (health, start) = (policy().health, Instant::now());
        let mut probe = Probe::default();
        let mut now = start;
        for (second, told) in (0..).zip(story.chars()) {
            now = start + Duration::from_secs(second);
            match told {
                '+' => probe.take(true, now, &health),
                '-' => probe.take(false, now, &health),
                _ => {}
            }
        }
        probe.opinion(now, &health)
    }

    #[test]
    fn a_relay_is_down_after_three_failures_in_ten_seconds_and_up_after_six_successes_in_a_row() {
        use Opinion::{Down, Up};
        for (case, story, expected) in [
            ("too little is known", "+++++", None),
            ("six work", "++++++", Some(Up)),
            ("three fail", "---", Some(Down)),
            ("two failures are none", "++++++--", Some(Up)),
            ("failures need not be in a row", "++++++-+-++-", Some(Down)),
            ("failures that are far apart are none", "++++++-++++++-++++++-", Some(Up)),
            ("one success is no recovery", "---+", Some(Down)),
            ("five are none", "---+++++", Some(Down)),
            ("six are one", "---++++++", Some(Up)),
            ("a failure in between begins anew", "---+++++-+++++", Some(Down)),
            ("silence is no opinion", "++++++......", None),
            ("a short silence is", "++++++.....", Some(Up)),
        ] {
            assert_eq!(told(story), expected, "{case}: {story}");
        }
    }

    #[test]
    fn a_window_with_one_failure_is_not_clean() {
        let (health, start) = (policy().health, Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let mut probe = Probe::default();
        (0..6).for_each(|second| probe.take(true, at(second), &health));
        assert!(probe.is_clean(at(6), &health));
        probe.take(false, at(6), &health);
        (7..17).for_each(|second| probe.take(true, at(second), &health));
        assert!(!probe.is_clean(at(16), &health), "ten seconds after the failure");
        assert!(probe.is_clean(at(17), &health), "eleven seconds after it");
    }

    #[test]
    fn memory_is_bounded() {
        let (health, start) = (policy().health, Instant::now());
        let mut probe = Probe::default();
        (0..1000).for_each(|milli| probe.take(false, start + Duration::from_millis(milli), &health));
        assert_eq!(probe.failures.len(), health.failures);
    }
}
