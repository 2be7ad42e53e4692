//! Medians, and ratios of what was measured side by side.

use std::collections::BTreeMap;
use std::time::Duration;

/// The middle one, or the mean of the two in the middle. Nothing of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (half, odd) = (values.len() / 2, values.len() % 2 == 1);
    if odd { values.get(half).copied() } else { Some(f64::midpoint(*values.get(half.checked_sub(1)?)?, values[half])) }
}

/// Times from sending to receiving, by when they were sent.
#[derive(Clone, Debug, Default)]
pub struct Latencies(BTreeMap<u128, Vec<Duration>>);

impl Latencies {
    /// Packets whose latencies are ranked together.
    const SLICE: Duration = Duration::from_millis(100);

    pub fn add(&mut self, sent: Duration, latency: Duration) {
        self.0.entry(sent.as_nanos() / Self::SLICE.as_nanos()).or_default().push(latency);
    }

    /// What `percent` of the packets of a tenth of a second do not exceed: the median of all tenths. A single stall of the
    /// whole machine would else be the 99th percentile of a second.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let of_slice = |slice: &Vec<Duration>| {
            let mut sorted = slice.clone();
            sorted.sort_unstable();
            percentile(&sorted, percent).as_secs_f64()
        };
        median(self.0.values().map(of_slice)).map(Duration::from_secs_f64)
    }
}

/// The value that `percent` of them do not exceed. They are sorted.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Ratios of pairs: each pair was measured in the same round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Ratio {
    pub fn of(pairs: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let ratios: Vec<f64> = pairs.filter(|(_, below)| *below > 0.0).map(|(above, below)| above / below).collect();
        let median = median(ratios.iter().copied())?;
        Some(Self {
            median,
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
        })
    }

    /// A cell of a table: how `ours` compare with `theirs`, round by round; nothing for ourselves.
    pub fn cell<S>(ours: &[S], theirs: &[S], value: fn(&S) -> f64) -> String {
        if std::ptr::eq(ours, theirs) {
            return String::new();
        }
        let pairs = ours.iter().map(value).zip(theirs.iter().map(value));
        Self::of(pairs).map_or_else(String::new, |ratio| ratio.to_string())
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2}..{:.2})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&values, 50), Duration::from_micros(100));
        assert_eq!(percentile(&values, 99), Duration::from_micros(198));
        assert_eq!(percentile(&values[..1], 99), Duration::from_micros(1));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn one_stall_does_not_make_a_percentile() {
        let mut latencies = Latencies::default();
        for n in 0..1000_u32 {
            let stalled = (100..130).contains(&n);
            let latency = if stalled { Duration::from_millis(30) } else { Duration::from_micros(u64::from(n % 100)) };
            latencies.add(Duration::from_millis(n.into()), latency);
        }
        assert_eq!(latencies.percentile(99), Some(Duration::from_micros(98)));
        assert_eq!(Latencies::default().percentile(99), None);
    }

    #[test]
    fn a_ratio_compares_within_a_round() {
        let ratio = Ratio::of([(1.0, 2.0), (30.0, 10.0), (1.0, 1.0)].into_iter()).unwrap();
        assert_eq!(ratio, Ratio { median: 1.0, least: 0.5, most: 3.0 });
        assert_eq!(ratio.to_string(), "1.00 (0.50..3.00)");
    }
}
