//! May anything change? Not while too little is seen, and not while so much fails at once that the view, or something that
//! no answer mends, is the likelier cause. The answer then stays as it is: failing open.

use super::policy::{Pinned, Policy};
use super::region::{Health, Region};

/// Why nothing changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Freeze {
    /// Too few vantage points are heard with a canary that works.
    QuorumLost { fine: u32, needed: u32 },
    /// Too few weights are healthy.
    TooFewHealthy { percent: u32, least: u32 },
    /// A person decides.
    Overridden(Pinned),
}

impl Freeze {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::QuorumLost { .. } => "QuorumLost",
            Self::TooFewHealthy { .. } => "TooFewHealthy",
            Self::Overridden(_) => "Overridden",
        }
    }

    /// In a sentence, without figures that move.
    pub fn message(&self) -> String {
        match self {
            Self::QuorumLost { needed, .. } => format!(
                "the answer stays as it is: fewer than {needed} vantage points are heard with a canary that works"
            ),
            Self::TooFewHealthy { least, .. } => format!(
                "the answer stays as it is: less than {least} % of the weights are healthy (safety.minHealthyCapacityPercent)"
            ),
            Self::Overridden(Pinned { regions, reason, expires_at }) => {
                format!("pinned to {} until {expires_at}: {reason}", regions.join(", "))
            }
        }
    }
}

/// `sighted` are the vantage points that see anything, and as many as must.
pub fn frozen(policy: &Policy, regions: &[Region], (fine, needed): (u32, u32)) -> Option<Freeze> {
    if fine < needed {
        return Some(Freeze::QuorumLost { fine, needed });
    }
    let percent = healthy_percent(policy, regions);
    let least = policy.safety.min_healthy_percent;
    (percent < least).then_some(Freeze::TooFewHealthy { percent, least })
}

/// Of all weights; what is not known to be unhealthy is healthy. 100 where there is nothing.
fn healthy_percent(policy: &Policy, regions: &[Region]) -> u32 {
    let weight = |region: &Region| policy.order.place(&region.name).map_or(0.0, |(_, weight)| weight);
    let all: f64 = regions.iter().map(weight).sum();
    let healthy: f64 = regions.iter().filter(|region| region.health != Health::Unhealthy).map(weight).sum();
    if all > 0.0 { floor(healthy / all * 100.0) } else { 100 }
}

/// The slack is for sums that should be whole and are not.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
fn floor(percent: f64) -> u32 {
    (percent + 1e-9).floor().clamp(0.0, 100.0) as u32
}

#[cfg(test)]
mod tests {
    use super::super::policy::Order;
    use super::super::test_support::{noon, policy};
    use super::*;

    fn regions(healths: &[Health]) -> Vec<Region> {
        let named = ('a'..).map(String::from).zip(healths);
        named.map(|(name, health)| Region { health: *health, ..Region::initial(&name, noon()) }).collect()
    }

    #[test]
    fn half_of_the_weights_healthy_is_enough_and_less_is_not() {
        use Health::{Healthy, Impaired, Unhealthy, Unknown};
        for (case, healths, expected) in [
            ("one of two is dead", &[Unhealthy, Healthy][..], None),
            ("what is impaired works", &[Unhealthy, Impaired], None),
            ("what is not known is not dead", &[Unhealthy, Unknown], None),
            ("both are dead", &[Unhealthy, Unhealthy], Some(0)),
            ("two of three", &[Unhealthy, Unhealthy, Healthy], Some(33)),
        ] {
            let found = frozen(&policy(), &regions(healths), (3, 2));
            assert_eq!(found, expected.map(|percent| Freeze::TooFewHealthy { percent, least: 50 }), "{case}");
        }
    }

    #[test]
    fn weights_count_not_regions() {
        let order = Order::Weighted(vec![("a".into(), 70), ("b".into(), 30)]);
        let heavy = frozen(&Policy { order, ..policy() }, &regions(&[Health::Unhealthy, Health::Healthy]), (3, 2));
        assert_eq!(heavy, Some(Freeze::TooFewHealthy { percent: 30, least: 50 }));
    }

    #[test]
    fn nothing_changes_while_too_few_see_anything() {
        let found = frozen(&policy(), &regions(&[Health::Healthy]), (1, 2));
        assert_eq!(found, Some(Freeze::QuorumLost { fine: 1, needed: 2 }));
    }
}
