//! Randomness that a seed decides, whatever the release of the library: xoshiro256++ is one algorithm for good.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

/// One stream of numbers. What must not influence each other draws from streams of its own.
#[derive(Clone, Debug)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// Streams of one seed are independent.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stream)))
    }

    /// 0 to 1, 1 excluded.
    pub fn part(&mut self) -> f64 {
        self.0.random::<f64>()
    }

    /// One of `0..count`; 0 where there is none.
    pub fn below(&mut self, count: usize) -> usize {
        if count == 0 { 0 } else { self.0.random_range(0..count) }
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.part()).ln()
    }

    /// `spread` is the standard deviation of the logarithm: at 0.3, two of three lie within a third of the median.
    pub fn lognormal(&mut self, median: f64, spread: f64) -> f64 {
        median * (spread * self.normal()).exp()
    }

    /// Of mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.part()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.part()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(mut draw: impl FnMut() -> f64) -> f64 {
        (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0
    }

    #[test]
    fn a_seed_and_a_stream_decide_every_number() {
        let drawn = |seed, stream| (0..5).map(|_| Random::new(seed, stream).below(1_000_000)).collect::<Vec<_>>();
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert!(drawn(1, 2) != drawn(1, 3) && drawn(1, 2) != drawn(2, 2));
    }

    #[test]
    fn draws_have_the_means_that_are_asked_for() {
        let mut random = Random::new(1, 0);
        assert!((mean(|| random.exponential(30.0)) - 30.0).abs() < 1.0);
        assert!((mean(|| random.lognormal(30.0, 0.0)) - 30.0).abs() < 1e-9);
        assert!((mean(|| random.lognormal(30.0, 0.5)) - 30.0 * 0.125_f64.exp()).abs() < 1.0);
        assert!(mean(|| random.normal()).abs() < 0.05);
    }
}
