//! Which part of the callers does each region get?
//!
//! By rank: the first rank shares all callers by weight, each region taking its given percent of its share; what is left goes
//! to regions of that rank that have all of theirs, or else to the next rank.

/// A region that can be given callers.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim<'a> {
    pub name: &'a str,
    pub rank: u32,
    pub weight: f64,
    /// Of its share, in percent.
    pub given: u32,
}

/// Parts of all callers, in the order of the claims; their sum is 1 unless nobody is given anything.
pub fn shares(claims: &[Claim<'_>]) -> Vec<f64> {
    let mut parts = vec![0.0; claims.len()];
    let mut left = 1.0;
    let mut ranks: Vec<u32> = claims.iter().map(|claim| claim.rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    for rank in ranks {
        let members: Vec<usize> = (0..claims.len()).filter(|at| claims[*at].rank == rank).collect();
        let total: f64 = members.iter().map(|at| claims[*at].weight).sum();
        if total <= 0.0 || left <= 0.0 {
            continue;
        }
        let before = left;
        for at in &members {
            parts[*at] = before * claims[*at].weight / total * f64::from(claims[*at].given) / 100.0;
        }
        left = before - members.iter().map(|at| parts[*at]).sum::<f64>();
        let whole: Vec<usize> = members.into_iter().filter(|at| claims[*at].given == 100).collect();
        let weight: f64 = whole.iter().map(|at| claims[*at].weight).sum();
        if weight > 0.0 {
            for at in whole {
                parts[at] += left * claims[at].weight / weight;
            }
            left = 0.0;
        }
    }
    let sum: f64 = parts.iter().sum();
    if sum > 0.0 { parts.into_iter().map(|part| part / sum).collect() } else { parts }
}

/// Whole percents, for people. What is given something has at least 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
pub fn percent(part: f64) -> u32 {
    if part > 0.0 { ((part * 100.0).round() as u32).clamp(1, 100) } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn percents(claims: &[(u32, f64, u32)]) -> Vec<u32> {
        let claims: Vec<Claim<'_>> = claims
            .iter()
            .map(|(rank, weight, given)| Claim { name: "", rank: *rank, weight: *weight, given: *given })
            .collect();
        shares(&claims).into_iter().map(percent).collect()
    }

    #[test]
    fn what_a_region_is_not_given_goes_to_those_that_have_their_whole_share() {
        for (case, claims, expected) in [
            ("alike", &[(0, 1.0, 100), (0, 1.0, 100)][..], &[50, 50][..]),
            ("by weight", &[(0, 30.0, 100), (0, 10.0, 100)], &[75, 25]),
            ("one is out", &[(0, 1.0, 0), (0, 1.0, 100)], &[0, 100]),
            ("a step of the failback", &[(0, 1.0, 50), (0, 1.0, 100)], &[25, 75]),
            ("the others share by weight", &[(0, 2.0, 0), (0, 1.0, 100), (0, 3.0, 100)], &[0, 25, 75]),
            ("the first in order has all", &[(0, 1.0, 100), (1, 1.0, 100)], &[100, 0]),
            ("the next one takes over", &[(0, 1.0, 0), (1, 1.0, 100)], &[0, 100]),
            ("and gives back by steps", &[(0, 1.0, 25), (1, 1.0, 100)], &[25, 75]),
            ("nobody has all of it", &[(0, 1.0, 5), (0, 1.0, 0)], &[100, 0]),
            ("nobody is given anything", &[(0, 1.0, 0)], &[0]),
        ] {
            assert_eq!(percents(claims), expected, "{case}");
        }
    }

    proptest! {
        #[test]
        fn the_parts_are_a_whole_and_nobody_gets_something_who_is_given_nothing(
            claims in vec((0_u32..3, 1_u32..1000, 0_u32..=100), 1..8),
        ) {
            let claims: Vec<Claim<'_>> = claims
                .iter()
                .map(|(rank, weight, given)| Claim { name: "", rank: *rank, weight: f64::from(*weight), given: *given })
                .collect();
            let parts = shares(&claims);
            let given = claims.iter().any(|claim| claim.given > 0);
            prop_assert!((parts.iter().sum::<f64>() - f64::from(u8::from(given))).abs() < 1e-9);
            for (claim, part) in claims.iter().zip(parts) {
                prop_assert!(part >= 0.0 && (claim.given > 0 || part == 0.0));
            }
        }
    }
}
