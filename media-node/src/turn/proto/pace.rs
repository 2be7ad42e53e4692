//! How much one allocation may relay: a bucket for each direction (`quotas.bandwidthPerAllocation`).
//!
//! What is above is dropped, not delayed: a queue here would be latency in every call, while senders of media react to
//! losses. Only payload counts, as in the counters, so that the limit means the same with channels and indications.

use std::cell::Cell;
use std::time::Instant;

use super::bucket::{Bucket, nanos};

/// What may pass at once, nanoseconds of the rate: a key frame on top of a stream that has used up its rate.
const BURST: u64 = 250_000_000;
/// No datagram is longer, and each must be able to pass once.
const DATAGRAM: u64 = 65_535;

/// One direction of one allocation. Looked at while the tables are borrowed, hence the cell.
#[derive(Debug, Default)]
struct Direction(Cell<Bucket>);

/// The limit of one allocation and what it has used of it.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    bits_per_second: u64,
    to_peer: Direction,
    to_client: Direction,
}

impl Pace {
    /// With full buckets. `bits_per_second` is of each direction, and not 0.
    fn new(now: Instant, bits_per_second: u64) -> Self {
        Self { start: now, bits_per_second, to_peer: Direction::default(), to_client: Direction::default() }
    }

    /// None: without a limit.
    pub(super) fn within(limit: Option<u64>, now: Instant) -> Option<Box<Self>> {
        limit.map(|bits_per_second| Box::new(Self::new(now, bits_per_second)))
    }

    pub(super) fn bits_per_second(&self) -> u64 {
        self.bits_per_second
    }

    pub(super) fn lets_to_peer(&self, now: Instant, bytes: usize) -> bool {
        self.lets(&self.to_peer, now, bytes)
    }

    pub(super) fn lets_to_client(&self, now: Instant, bytes: usize) -> bool {
        self.lets(&self.to_client, now, bytes)
    }

    fn lets(&self, direction: &Direction, now: Instant, bytes: usize) -> bool {
        let mut bucket = direction.0.get();
        let passes = bucket.take(nanos(self.start, now), self.time(bytes as u64), BURST.max(self.time(DATAGRAM)));
        direction.0.set(bucket);
        passes
    }

    /// Nanoseconds that the rate takes for these bytes.
    fn time(&self, bytes: u64) -> u64 {
        (bytes * 8).saturating_mul(1_000_000_000) / self.bits_per_second.max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Bytes that pass of `packets` with 1000 bytes, evenly over `seconds`.
    fn passed(pace: &Pace, from: Instant, packets: u32, seconds: u32) -> u32 {
        let at = |n: u32| from + Duration::from_secs(seconds.into()) * n / packets;
        (0..packets).map(|n| if pace.lets_to_peer(at(n), 1000) { 1000 } else { 0 }).sum()
    }

    #[test]
    fn what_passes_is_the_rate_and_a_burst() {
        let start = Instant::now();
        // 1 MB/s, of which a quarter at once.
        let pace = Pace::new(start, 8_000_000);
        assert_eq!(passed(&pace, start, 5000, 2), 2_249_000, "the last was sent before the end");
        assert_eq!(passed(&pace, start + Duration::from_secs(10), 900, 1), 900_000, "below the limit nothing is lost");
    }

    #[test]
    fn the_directions_have_a_limit_each() {
        let start = Instant::now();
        let pace = Pace::new(start, 8_000_000);
        assert_eq!(passed(&pace, start, 5000, 2), 2_249_000);
        assert!(pace.lets_to_client(start + Duration::from_secs(2), 65_507));
    }

    #[test]
    fn the_longest_datagram_passes_however_small_the_limit() {
        let start = Instant::now();
        for bits in [1, 1000, 1_000_000, 1_000_000_000_000_000] {
            let pace = Pace::new(start, bits);
            assert!(pace.lets_to_peer(start, 65_507), "{bits}");
        }
        let pace = Pace::new(start, 8000);
        assert!(pace.lets_to_peer(start, 65_507) && !pace.lets_to_peer(start, 1000));
        assert!(pace.lets_to_peer(start + Duration::from_secs(1), 1000));
    }
}
