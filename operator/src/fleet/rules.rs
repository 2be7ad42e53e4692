//! How many nodes each rule wants. R6.3, R8.4.
//!
//! Letters: L is the load of this region in whole nodes, `L_j` that of another region of its failover group, K the number
//! of regions in the group.

use std::fmt;

use super::load::{Sum, share};
use super::policy::Scaling;

/// Why as many nodes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Never fewer.
    Minimum,
    /// The minimum that the timetable asks for.
    Schedule,
    /// Nodes are loaded to their target: ceil(L / target).
    Target,
    /// Twice the load can be carried: ceil(L × headroom).
    Headroom,
    /// The number there was while nobody could tell the load.
    Unseen,
    /// Without `other`, whose load the survivors share, nodes stay below the cap: ceil((L + `L_j` / (K − 1)) / cap).
    RegionLoss { other: String },
}

impl Rule {
    /// As status, Events and metrics call it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Minimum => "Minimum",
            Self::Schedule => "Schedule",
            Self::Target => "Target",
            Self::Headroom => "Headroom",
            Self::Unseen => "MetricsMissing",
            Self::RegionLoss { .. } => "RegionLoss",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegionLoss { other } => write!(f, "RegionLoss of {other}"),
            rule => f.write_str(rule.reason()),
        }
    }
}

/// A rule and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub rule: Rule,
    pub nodes: u32,
}

/// Another region of the failover group and its load in whole nodes, measured at the same time. The nodes of a group are
/// taken to be alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    pub name: String,
    pub whole: f64,
}

/// Every rule's number, in the order in which ties are told. Never empty.
pub fn wanted(scaling: &Scaling, scheduled: u32, load: Sum, others: &[Other]) -> Vec<Wanted> {
    let mut all = vec![
        Wanted { rule: Rule::Minimum, nodes: scaling.min },
        Wanted { rule: Rule::Target, nodes: nodes(load.at_target) },
        Wanted { rule: Rule::Headroom, nodes: nodes(load.whole * share(scaling.headroom_percent)) },
    ];
    if scheduled > 0 {
        all.insert(1, Wanted { rule: Rule::Schedule, nodes: scheduled });
    }
    if let Some(cap) = scaling.survivor_percent {
        // Losing one of K regions leaves K − 1 to share its load: as many as there are others.
        let survivors = others.len() as f64;
        all.extend(others.iter().map(|other| Wanted {
            rule: Rule::RegionLoss { other: other.name.clone() },
            nodes: nodes((load.whole + other.whole / survivors) / share(cap)),
        }));
    }
    all
}

/// The rule with the highest number; of equals the first.
pub fn highest(all: &[Wanted]) -> Option<&Wanted> {
    all.iter().rev().max_by_key(|wanted| wanted.nodes)
}

/// Whole nodes. The slack is for sums that should be whole and are not, such as 1.3 / 0.65: no dead band.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // not negative, and saturating
fn nodes(load: f64) -> u32 {
    const SLACK: f64 = 1e-6;
    (load - SLACK).ceil().max(0.0) as u32
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::test_support::scaling;

    fn at(load: f64) -> Sum {
        Sum { whole: load, at_target: load / 0.65 }
    }

    fn winner(load: f64, others: &[f64], scheduled: u32) -> (String, u32) {
        let others: Vec<Other> = (1..).zip(others).map(|(n, &whole)| Other { name: format!("r{n}"), whole }).collect();
        let all = wanted(&scaling(), scheduled, at(load), &others);
        let first = highest(&all).unwrap();
        (first.rule.to_string(), first.nodes)
    }

    #[test]
    fn the_rule_with_the_highest_number_wins() {
        for (case, load, others, scheduled, expected) in [
            ("idle", 0.0, &[][..], 0, ("Minimum", 2)),
            ("a timetable", 0.0, &[], 5, ("Schedule", 5)),
            ("twice the load of one node", 1.0, &[], 0, ("Minimum", 2)),
            ("a little more", 1.01, &[], 0, ("Headroom", 3)),
            ("two equal regions at 42.5 % of 10 nodes", 4.25, &[4.25], 0, ("RegionLoss of r1", 10)),
            ("a little more load elsewhere", 4.25, &[4.26], 0, ("RegionLoss of r1", 11)),
            ("three equal regions at 56.7 % of 10 nodes", 5.66, &[5.66, 5.66], 0, ("Headroom", 12)),
            ("the worst of several losses", 1.0, &[1.0, 9.0], 0, ("RegionLoss of r2", 7)),
        ] {
            let (rule, nodes) = winner(load, others, scheduled);
            assert_eq!((rule.as_str(), nodes), expected, "{case}");
        }
    }

    #[test]
    fn there_is_no_dead_band_above_the_target() {
        let mut bare = scaling();
        (bare.headroom_percent, bare.survivor_percent) = (100, None);
        for (percent, expected) in [(65.0, 2), (65.1, 3), (66.0, 3), (64.9, 2)] {
            let all = wanted(&bare, 0, at(2.0 * percent / 100.0), &[]);
            assert_eq!(highest(&all).unwrap().nodes, expected, "two nodes at {percent} %");
        }
    }

    proptest! {
        #[test]
        fn one_more_call_never_lowers_the_number(
            load in 0.0_f64..500.0, call in 0.0_f64..5.0, others in vec(0.0_f64..500.0, 0..5),
        ) {
            prop_assert!(winner(load + call, &others, 0).1 >= winner(load, &others, 0).1);
        }

        #[test]
        fn whichever_region_is_lost_the_survivors_stay_below_the_cap(loads in vec(0.0_f64..100.0, 2..6)) {
            let nodes_of = |k: usize| {
                let others: Vec<f64> = loads.iter().enumerate().filter(|(j, _)| *j != k).map(|(_, load)| *load).collect();
                winner(loads[k], &others, 0).1
            };
            for lost in 0..loads.len() {
                for k in (0..loads.len()).filter(|k| *k != lost) {
                    let after = loads[k] + loads[lost] / (loads.len() - 1) as f64;
                    prop_assert!(after <= f64::from(nodes_of(k)) * 0.85 + 1e-5, "{k} after the loss of {lost}");
                }
            }
        }
    }
}
