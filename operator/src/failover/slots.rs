//! How many addresses of each region does the answer of this moment hold?
//!
//! Plain records have no weights. A region's weight is its part of the addresses: of the records of one answer as far as
//! that comes out even, and over time beyond. Time is cut into slots; with 4 addresses an answer, 5 % is one address in one
//! of five slots. After [`PERIOD`] slots the sum is exact, and on the way nobody is more than one address ahead.

use std::time::Duration;

use jiff::Timestamp;

/// Slots after which it begins anew.
pub const PERIOD: u64 = 100;
/// Shorter ones would be cached away: browsers keep an answer for a minute.
const SHORTEST: Duration = Duration::from_mins(1);

/// How long a slot lasts: caches have forgotten the one before when it ends.
pub fn length(ttl: Duration) -> Duration {
    (ttl * 2).max(SHORTEST)
}

/// The number of the present slot, the same for every leader.
pub fn number(now: Timestamp, ttl: Duration) -> u64 {
    u64::try_from(now.as_second()).unwrap_or(0) / length(ttl).as_secs().max(1)
}

/// Until the next slot begins.
pub fn remaining(now: Timestamp, ttl: Duration) -> Duration {
    let length = length(ttl).as_secs().max(1);
    Duration::from_secs(length - u64::try_from(now.as_second()).unwrap_or(0) % length)
}

/// Addresses of an answer, so that each region has as many relays as its part asks for: at most `most`, at least 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
pub fn size(parts: &[f64], relays: &[usize], most: usize) -> usize {
    let fits = |(part, relays): (&f64, &usize)| (*relays as f64 / part + 1e-9).floor() as usize;
    let bound = parts.iter().zip(relays).filter(|(part, _)| **part > 0.0).map(fits).min().unwrap_or(most);
    bound.clamp(1, most)
}

/// Addresses of each region in `slot`. Their sum is `size`, if the sum of `parts` is 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
pub fn counts(parts: &[f64], size: usize, slot: u64) -> Vec<usize> {
    let wanted: Vec<f64> = parts.iter().map(|part| part * size as f64).collect();
    let mut counts: Vec<usize> = wanted.iter().map(|number| (number + 1e-9).floor() as usize).collect();
    let over: Vec<f64> = wanted.iter().zip(&counts).map(|(number, whole)| (number - *whole as f64).max(0.0)).collect();
    let open = size.saturating_sub(counts.iter().sum());
    if open == 0 {
        return counts;
    }
    // Who is owed most is next; of equals the first. From the beginning of the period, so that nothing is remembered.
    let mut owed = vec![0.0; parts.len()];
    let mut picked = Vec::new();
    for _ in 0..=slot % PERIOD {
        owed.iter_mut().zip(&over).for_each(|(owed, over)| *owed += over);
        let mut by_debt: Vec<usize> = (0..parts.len()).filter(|at| over[*at] > 1e-9).collect();
        by_debt.sort_by(|a, b| (owed[*b] - 1e-9 * *b as f64).total_cmp(&(owed[*a] - 1e-9 * *a as f64)));
        by_debt.truncate(open);
        for at in &by_debt {
            owed[*at] -= 1.0;
        }
        picked = by_debt;
    }
    for at in picked {
        counts[at] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(parts: &[f64], size: usize, slots: std::ops::Range<u64>) -> Vec<usize> {
        slots.fold(vec![0; parts.len()], |mut sum, slot| {
            sum.iter_mut().zip(counts(parts, size, slot)).for_each(|(sum, count)| *sum += count);
            sum
        })
    }

    #[test]
    fn five_percent_of_four_addresses_is_one_in_every_fifth_slot() {
        let with: Vec<u64> = (0..20).filter(|slot| counts(&[0.05, 0.95], 4, *slot)[0] > 0).collect();
        assert_eq!(with.len(), 4, "{with:?}");
        assert!(with.windows(2).all(|pair| pair[1] - pair[0] == 5), "{with:?}");
    }

    #[test]
    fn what_comes_out_even_never_moves() {
        assert!((0..200).all(|slot| counts(&[0.5, 0.5], 4, slot) == [2, 2]));
        assert!((0..200).all(|slot| counts(&[0.25, 0.75], 4, slot) == [1, 3]));
        assert!((0..200).all(|slot| counts(&[0.0, 1.0], 3, slot) == [0, 3]));
    }

    #[test]
    fn a_region_with_few_relays_makes_the_answer_smaller_and_not_its_part() {
        assert_eq!(size(&[0.5, 0.5], &[9, 9], 4), 4);
        assert_eq!(size(&[0.5, 0.5], &[1, 9], 4), 2);
        assert_eq!(size(&[0.05, 0.95], &[1, 2], 4), 2);
        assert_eq!(size(&[0.0, 1.0], &[0, 9], 4), 4);
        assert_eq!(size(&[0.9, 0.1], &[1, 1], 4), 1);
    }

    #[test]
    fn a_slot_outlives_the_caches() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!((length(Duration::from_secs(5)).as_secs(), length(Duration::from_mins(5)).as_secs()), (60, 600));
        let ttl = Duration::from_secs(30);
        assert_eq!((number(at(119), ttl), number(at(120), ttl)), (1, 2));
        assert_eq!((remaining(at(119), ttl).as_secs(), remaining(at(120), ttl).as_secs()), (1, 60));
    }

    proptest! {
        #[test]
        fn over_a_period_everybody_has_its_part_and_every_answer_is_full(
            weights in proptest::collection::vec(0_u32..=100, 1..6), size in 1_usize..=16,
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let parts: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) / f64::from(total)).collect();
            for slot in 0..PERIOD {
                let counts = counts(&parts, size, slot);
                prop_assert_eq!(counts.iter().sum::<usize>(), size);
                prop_assert!(counts.iter().zip(&parts).all(|(count, part)| *part > 0.0 || *count == 0));
            }
            for (sum, part) in sums(&parts, size, 0..PERIOD).into_iter().zip(parts) {
                prop_assert!((sum as f64 - part * size as f64 * PERIOD as f64).abs() < 1.0 + 1e-6, "{sum} {part}");
            }
        }
    }
}
