//! What was wanted before, and where the load is going. Bounded, whatever is asked of it.
//!
//! Lost with the process, and safe without: until a whole window has been seen nothing shrinks.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::rules::{Rule, Wanted};

/// Parts that the window of highest numbers is cut into: so much longer than asked a high number may be remembered.
const PARTS: u32 = 32;
/// Samples of load that a trend is drawn through.
const SAMPLES: usize = 16;
/// What is older says nothing about the next minutes.
const RECENT: Duration = Duration::from_mins(2);
/// A trend needs so many samples over so much time: two samples are noise.
const LEAST_SAMPLES: usize = 4;
const LEAST_SPAN: Duration = Duration::from_secs(10);

/// The past of one fleet.
#[derive(Clone, Debug)]
pub struct History {
    since: Instant,
    /// The highest numbers, a part of the window each, the oldest first.
    highest: VecDeque<Part>,
    loads: VecDeque<(Instant, f64)>,
}

#[derive(Clone, Debug)]
struct Part {
    from: Instant,
    to: Instant,
    wanted: Wanted,
}

impl History {
    pub fn new(now: Instant) -> Self {
        Self { since: now, highest: VecDeque::new(), loads: VecDeque::new() }
    }

    /// The load in whole nodes.
    pub fn loaded(&mut self, now: Instant, whole: f64) {
        self.loads.retain(|(at, _)| now.saturating_duration_since(*at) <= RECENT);
        if self.loads.len() >= SAMPLES {
            // Twice as far apart: the samples go on to span the time, however often somebody looks.
            let mut keep = false;
            self.loads.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.loads.push_back((now, whole));
    }

    /// What the rules want now. `window` is how long it is to be remembered.
    pub fn wanted(&mut self, now: Instant, window: Duration, wanted: Wanted) {
        let part = window / PARTS;
        match self.highest.back_mut() {
            Some(last) if now.saturating_duration_since(last.from) < part => {
                last.to = now;
                if wanted.nodes > last.wanted.nodes {
                    last.wanted = wanted;
                }
            }
            _ => self.highest.push_back(Part { from: now, to: now, wanted }),
        }
        while self.highest.len() > 1
            && self.highest.front().is_some_and(|first| now.saturating_duration_since(first.to) > window)
        {
            self.highest.pop_front();
        }
        while self.highest.len() > PARTS as usize + 2 {
            self.highest.pop_front();
        }
    }

    /// The highest number that is remembered.
    pub fn highest(&self) -> Option<&Wanted> {
        self.highest.iter().map(|part| &part.wanted).rev().max_by_key(|wanted| wanted.nodes)
    }

    /// A whole `window` has been seen.
    pub fn covers(&self, now: Instant, window: Duration) -> bool {
        now.saturating_duration_since(self.since) >= window
    }

    /// What the load comes to in `ahead` if it goes on to grow as it did; never less than the last, at most twice as much.
    pub fn expected(&self, ahead: Duration) -> f64 {
        let last = self.loads.back().map_or(0.0, |(_, load)| *load);
        let growth = self.slope().unwrap_or(0.0).max(0.0) * ahead.as_secs_f64();
        (last + growth).min(2.0 * last)
    }

    /// Whole nodes a second, by least squares.
    fn slope(&self) -> Option<f64> {
        let (first, _) = self.loads.front()?;
        let (last, _) = self.loads.back()?;
        if self.loads.len() < LEAST_SAMPLES || last.saturating_duration_since(*first) < LEAST_SPAN {
            return None;
        }
        let points = || self.loads.iter().map(|(at, load)| (at.saturating_duration_since(*first).as_secs_f64(), *load));
        let count = self.loads.len() as f64;
        let mean = |of: fn((f64, f64)) -> f64| points().map(of).sum::<f64>() / count;
        let (mean_at, mean_load) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points().map(|(at, _)| (at - mean_at).powi(2)).sum();
        let joint: f64 = points().map(|(at, load)| (at - mean_at) * (load - mean_load)).sum();
        (spread > 0.0).then(|| joint / spread)
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Self { rule: Rule::Minimum, nodes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_mins(5);

    fn target(nodes: u32) -> Wanted {
        Wanted { rule: Rule::Target, nodes }
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn the_highest_number_of_the_window_is_remembered_and_then_forgotten() {
        let start = Instant::now();
        let mut history = History::new(start);
        for second in (0..900).step_by(5) {
            let nodes = if second == 100 { 9 } else { 3 };
            history.wanted(at(start, second), WINDOW, target(nodes));
            let highest = history.highest().unwrap().nodes;
            match second {
                100..=400 => assert_eq!(highest, 9, "after {second} s"),
                0..100 | 415.. => assert_eq!(highest, 3, "after {second} s"),
                _ => {}
            }
        }
    }

    #[test]
    fn without_a_window_only_the_present_counts() {
        let start = Instant::now();
        let mut history = History::new(start);
        history.wanted(start, Duration::ZERO, target(9));
        history.wanted(at(start, 1), Duration::ZERO, target(2));
        assert_eq!(history.highest(), Some(&target(2)));
    }

    #[test]
    fn a_rising_load_is_expected_to_go_on_and_a_falling_one_to_stay() {
        let start = Instant::now();
        let expected = |load: fn(u64) -> f64| {
            let mut history = History::new(start);
            (0..=60).step_by(5).for_each(|second| history.loaded(at(start, second), load(second)));
            history.expected(Duration::from_mins(1))
        };
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(expected(|second| 1.0 + second as f64 / 100.0), 2.2), "one more node in 100 s");
        assert!(near(expected(|second| 1.6 - second as f64 / 100.0), 1.0), "it falls");
        assert!(near(expected(|_| 1.3), 1.3), "it stays");
        assert!(near(expected(|second| second as f64 / 60.0), 2.0), "it doubles at the most");
    }

    #[test]
    fn two_samples_are_no_trend() {
        let start = Instant::now();
        let mut history = History::new(start);
        history.loaded(start, 0.1);
        history.loaded(at(start, 30), 0.9);
        assert!((history.expected(Duration::from_mins(1)) - 0.9).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_never_forgets_too_early(
            steps in vec((0_u64..40, 0_u32..20), 1..400), window in 0_u64..2000,
        ) {
            let (start, window) = (Instant::now(), Duration::from_secs(window));
            let mut history = History::new(start);
            let mut all: Vec<(Instant, u32)> = Vec::new();
            let mut now = start;
            for (seconds, nodes) in steps {
                now += Duration::from_secs(seconds);
                history.wanted(now, window, target(nodes));
                history.loaded(now, f64::from(nodes));
                all.push((now, nodes));
                let true_highest = all.iter().filter(|(at, _)| now - *at <= window).map(|(_, n)| *n).max().unwrap();
                prop_assert!(history.highest().unwrap().nodes >= true_highest);
                prop_assert!(history.highest.len() <= PARTS as usize + 2 && history.loads.len() <= SAMPLES);
            }
        }
    }
}
