//! Calls: when they begin, and how long they last. The same for every policy.

use super::random::Random;
use super::time::{Millis, SECOND, millis};

/// How long calls last, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    Exponential {
        mean: f64,
    },
    /// `spread` is the standard deviation of the logarithm.
    Lognormal {
        median: f64,
        spread: f64,
    },
}

impl Length {
    fn draw(self, random: &mut Random) -> Millis {
        millis(match self {
            Self::Exponential { mean } => random.exponential(mean),
            Self::Lognormal { median, spread } => random.lognormal(median, spread),
        })
    }

    /// Calls that began earlier than this before the trace are over when it begins.
    fn longest(self) -> f64 {
        match self {
            Self::Exponential { mean } => 12.0 * mean,
            Self::Lognormal { median, spread } => median * (4.0 * spread).exp(),
        }
    }
}

/// Calls that begin in a second, by straight lines between points (seconds since the trace began, calls a second). Before
/// the first point and after the last one it is as there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve(pub Vec<(f64, f64)>);

impl Curve {
    pub fn flat(rate: f64) -> Self {
        Self(vec![(0.0, rate)])
    }

    fn at(&self, second: f64) -> f64 {
        let points = &self.0;
        let after = points.partition_point(|(at, _)| *at <= second);
        match (after.checked_sub(1).and_then(|before| points.get(before)), points.get(after)) {
            (Some((from, low)), Some((to, high))) => low + (high - low) * (second - from) / (to - from),
            (Some((_, rate)), None) | (None, Some((_, rate))) => *rate,
            (None, None) => 0.0,
        }
    }

    fn highest(&self) -> f64 {
        self.0.iter().map(|(_, rate)| *rate).fold(0.0, f64::max)
    }
}

/// One call of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub region: usize,
    pub begins: Millis,
    pub ends: Millis,
}

/// The calls of `region` that are live at some time of a trace of `length`: a Poisson process that follows the curve, by
/// thinning. Calls that began before it begin at 0.
pub fn of(region: usize, curve: &Curve, length: Length, until: Millis, random: &mut Random) -> Vec<Call> {
    let highest = curve.highest();
    let mut calls = Vec::new();
    if highest <= 0.0 {
        return calls;
    }
    let mut second = -length.longest();
    loop {
        second += random.exponential(1.0 / highest);
        if millis(second) >= until {
            return calls;
        }
        let lasts = length.draw(random);
        if random.part() * highest >= curve.at(second) {
            continue;
        }
        let begins = millis(second);
        let before = millis(-second);
        if lasts > before {
            calls.push(Call { region, begins, ends: begins + (lasts - before).max(SECOND) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600 * SECOND;

    fn live(calls: &[Call], at: Millis) -> usize {
        calls.iter().filter(|call| (call.begins..call.ends).contains(&at)).count()
    }

    #[test]
    fn a_steady_curve_has_its_calls_from_the_first_second() {
        for length in [Length::Exponential { mean: 600.0 }, Length::Lognormal { median: 600.0, spread: 0.1 }] {
            let calls = of(0, &Curve::flat(1.0), length, HOUR, &mut Random::new(1, 0));
            for at in [SECOND, HOUR / 2, HOUR - 1] {
                assert!((500..700).contains(&live(&calls, at)), "{length:?}: {} at {at}", live(&calls, at));
            }
            assert!(calls.is_sorted_by_key(|call| call.begins));
        }
    }

    #[test]
    fn calls_follow_the_curve() {
        let curve = Curve(vec![(0.0, 0.0), (1000.0, 0.0), (1100.0, 2.0), (1200.0, 0.0)]);
        let calls = of(0, &curve, Length::Exponential { mean: 60.0 }, HOUR, &mut Random::new(1, 0));
        assert!((150..250).contains(&calls.len()), "{}", calls.len());
        assert!(calls.iter().all(|call| (1_000 * SECOND..1_200 * SECOND).contains(&call.begins)));
        assert_eq!(of(0, &Curve::default(), Length::Exponential { mean: 60.0 }, HOUR, &mut Random::new(1, 0)), []);
    }
}
