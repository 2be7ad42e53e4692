//! Callers, each behind a cache that keeps an answer for a minute, as browsers do whatever the TTL.

use super::faults::REGIONS;

/// Caches; one asks each second, in turn, and each has one new call a second.
pub const CACHES: usize = 60;

/// Which region a cache sends its callers to. None: the answer was empty.
pub struct Callers([Option<usize>; CACHES]);

impl Callers {
    pub fn new() -> Self {
        Self([None; CACHES])
    }

    /// The second `at` passes. `answer` are the regions of its addresses, `pick` is 0 to 1 and picks one. Gives the part of
    /// this second's calls that fail.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the answer")]
    pub fn call(&mut self, at: u32, answer: &[usize], pick: f64, loss: [f64; REGIONS]) -> f64 {
        let picked = answer.get((pick * answer.len() as f64) as usize).copied();
        for (number, cache) in self.0.iter_mut().enumerate() {
            // An empty answer is asked for again at once.
            if cache.is_none() || number == at as usize % CACHES {
                *cache = picked;
            }
        }
        self.0.iter().map(|region| region.map_or(1.0, |region| loss[region])).sum::<f64>() / CACHES as f64
    }
}
