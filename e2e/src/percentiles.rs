//! What many durations come to.

use std::{fmt, time::Duration};

/// By nearest rank: each is one of the durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    pub count: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Percentiles {
    /// Nothing of nothing.
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some(Self { count: sorted.len(), p50: at(50)?, p99: at(99)?, max: at(100)? })
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(|duration| duration.as_secs_f64() * 1000.0);
        write!(f, "p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms of {}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_durations() {
        let all = Percentiles::of((1..=200).rev().map(Duration::from_millis)).unwrap();
        assert_eq!(all.to_string(), "p50 100.0 ms, p99 198.0 ms, max 200.0 ms of 200");
        let one = Percentiles::of([Duration::from_micros(1250)]).unwrap();
        assert_eq!(one.to_string(), "p50 1.2 ms, p99 1.2 ms, max 1.2 ms of 1");
        assert_eq!(Percentiles::of([]), None);
    }
}
