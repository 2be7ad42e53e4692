//! A DnsFailover as written → a policy that cannot be wrong. Touches nothing. The API server has checked the schema and
//! its rules; what is left is what an object stored under an older one may hold, and defaults. Every mistake is reported.

use std::time::Duration;

use rtcfleet_crds::DnsFailoverSpec;
use rtcfleet_crds::dns_failover::{self as crd, Mode, Transports};
use rtcfleet_crds::duration::NotADuration;

use super::policy::{Failback, Health, Order, Pinned, Policy, Safety, VantagePoint};
use crate::error::{Categorised, Category};

const TTL: Duration = Duration::from_secs(30);
const MAX_ADDRESSES: usize = 4;
const INTERVAL: Duration = Duration::from_secs(1);
/// What probers can do.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(250);
const FAILURES: u32 = 3;
/// Intervals that a window has unless it is written.
const WINDOW: u32 = 10;
const HOLD_DOWN: Duration = Duration::from_mins(1);
const MAX_HOLD_DOWN: Duration = Duration::from_hours(1);
const STEPS: [i32; 4] = [5, 25, 50, 100];
const STEP_DURATION: Duration = Duration::from_mins(5);
const WEIGHT: i32 = 100;

/// One mistake in a DnsFailover.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    #[error("spec.{path}: {source}")]
    Duration { path: &'static str, source: NotADuration },
    #[error("spec.{path}: {found} is out of range: write {least} to {most}")]
    OutOfRange { path: &'static str, found: i32, least: i32, most: i32 },
    #[error(
        "spec.health.window: {window:?} has no room for {failures} probes every {interval:?}: write at least {least:?}, or fewer failures"
    )]
    WindowTooShort { window: Duration, failures: u32, interval: Duration, least: Duration },
    #[error("spec.safety.holdDown: {hold_down:?} is longer than maxHoldDown {max:?}: write the shorter one first")]
    HoldDownAboveMax { hold_down: Duration, max: Duration },
    #[error("spec.failback.steps: {steps:?} do not rise to 100: write [5, 25, 50, 100]")]
    Steps { steps: Vec<i32> },
    #[error("spec: write either failoverGroup, for all TurnRegions of a group, or regions, a list of {{name}}")]
    NoRegions,
    #[error("spec.regions[{name}]: it is listed twice: keep one of them")]
    RegionTwice { name: String },
    #[error("spec.regions[{name}].priority: missing: write one for each region, the first one's being the lowest")]
    NoPriority { name: String },
}

impl Categorised for ValidateError {
    fn reason(&self) -> &'static str {
        "InvalidSpec"
    }

    fn category(&self) -> Category {
        match self {
            Self::Duration { .. }
            | Self::OutOfRange { .. }
            | Self::WindowTooShort { .. }
            | Self::HoldDownAboveMax { .. }
            | Self::Steps { .. }
            | Self::NoRegions
            | Self::RegionTwice { .. }
            | Self::NoPriority { .. } => Category::UserMustAct,
        }
    }
}

/// Every mistake, or none.
pub fn validate(spec: &DnsFailoverSpec) -> Result<Policy, Vec<ValidateError>> {
    // Without `..`: a new field does not compile until it is said what becomes of it.
    let DnsFailoverSpec {
        hostname: _,
        ttl,
        policy,
        failover_group,
        regions,
        region_names: _,
        health,
        safety,
        failback,
        max_addresses,
        mode,
        pinned,
        probers: _,
        vantage_points,
        provider: _,
    } = spec;
    let mut check = Check::default();
    let policy = Policy {
        order: check.order(*policy, failover_group.is_some(), regions.as_deref()),
        ttl: check.duration("ttl", ttl.as_ref(), TTL),
        max_addresses: max_addresses.map_or(MAX_ADDRESSES, |found| check.count("maxAddresses", found, 1, 16)),
        health: check.health(health.as_ref().unwrap_or(&crd::Health::default())),
        safety: check.safety(safety.as_ref().unwrap_or(&crd::Safety::default())),
        failback: check.failback(failback.as_ref().unwrap_or(&crd::Failback::default())),
        vantage_points: vantage_points.iter().flatten().map(vantage_point).collect(),
        pinned: pinned.as_ref().map(pin),
        enforce: mode.is_none_or(|mode| mode == Mode::Enforce),
    };
    if check.mistakes.is_empty() { Ok(policy) } else { Err(check.mistakes) }
}

fn vantage_point(one: &crd::VantagePoint) -> VantagePoint {
    VantagePoint { name: one.name.clone(), region: one.region.clone() }
}

fn pin(one: &crd::Override) -> Pinned {
    Pinned { regions: one.regions.clone(), reason: one.reason.clone(), expires_at: one.expires_at.0 }
}

#[derive(Default)]
struct Check {
    mistakes: Vec<ValidateError>,
}

impl Check {
    fn duration(&mut self, path: &'static str, found: Option<&rtcfleet_crds::Duration>, default: Duration) -> Duration {
        match found.map(rtcfleet_crds::Duration::parse) {
            None => default,
            Some(Ok(duration)) => duration,
            Some(Err(source)) => {
                self.mistakes.push(ValidateError::Duration { path, source });
                default
            }
        }
    }

    fn interval(&mut self, found: Option<&rtcfleet_crds::Interval>) -> Duration {
        let parsed = found.map_or(Ok(INTERVAL), rtcfleet_crds::Interval::parse);
        parsed.unwrap_or_else(|source| {
            self.mistakes.push(ValidateError::Duration { path: "health.interval", source });
            INTERVAL
        })
    }

    fn number(&mut self, path: &'static str, found: i32, least: i32, most: i32) -> u32 {
        if !(least..=most).contains(&found) {
            self.mistakes.push(ValidateError::OutOfRange { path, found, least, most });
        }
        found.clamp(least, most).unsigned_abs()
    }

    fn count(&mut self, path: &'static str, found: i32, least: i32, most: i32) -> usize {
        self.number(path, found, least, most) as usize
    }

    fn order(&mut self, policy: Option<crd::Policy>, group: bool, regions: Option<&[crd::Member]>) -> Order {
        let listed = regions.unwrap_or_default();
        if group == regions.is_some() || (regions.is_some() && listed.is_empty()) {
            self.mistakes.push(ValidateError::NoRegions);
        }
        let mut sorted: Vec<&crd::Member> = listed.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in sorted.windows(2).filter(|pair| pair[0].name == pair[1].name) {
            self.mistakes.push(ValidateError::RegionTwice { name: pair[0].name.clone() });
        }
        if group {
            return Order::Group;
        }
        match policy.unwrap_or(crd::Policy::Weighted) {
            crd::Policy::Weighted => {
                let mut weight = |one: &crd::Member| {
                    (one.name.clone(), self.number("regions[].weight", one.weight.unwrap_or(WEIGHT), 1, 1000))
                };
                Order::Weighted(sorted.into_iter().map(&mut weight).collect())
            }
            crd::Policy::Priority => Order::Priority(sorted.into_iter().map(|one| self.rank(one)).collect()),
        }
    }

    fn rank(&mut self, one: &crd::Member) -> (String, u32) {
        let rank = one.priority.map(|found| self.number("regions[].priority", found, 0, 100));
        if rank.is_none() {
            self.mistakes.push(ValidateError::NoPriority { name: one.name.clone() });
        }
        (one.name.clone(), rank.unwrap_or_default())
    }

    fn health(&mut self, written: &crd::Health) -> Health {
        let crd::Health { interval, failures, window, successes, quorum, transports } = written;
        let interval = self.interval(interval.as_ref()).max(SHORTEST_INTERVAL);
        let failures = failures.map_or(FAILURES, |found| self.number("health.failures", found, 1, 20));
        let default = interval * WINDOW.max(failures * 2);
        let window = self.duration("health.window", window.as_ref(), default);
        let least = interval * failures;
        if window < least {
            self.mistakes.push(ValidateError::WindowTooShort { window, failures, interval, least });
        }
        Health {
            interval,
            failures: failures as usize,
            window,
            successes: successes.map_or(failures * 2, |found| self.number("health.successes", found, 1, 100)),
            quorum: quorum.map(|found| self.number("health.quorum", found, 1, 16)),
            all_transports: transports.is_none_or(|which| which == Transports::All),
        }
    }

    fn safety(&mut self, written: &crd::Safety) -> Safety {
        let crd::Safety { max_withdrawn, min_healthy_capacity_percent, survivor_percent, hold_down, max_hold_down } =
            written;
        let hold_down = self.duration("safety.holdDown", hold_down.as_ref(), HOLD_DOWN);
        let max = self.duration("safety.maxHoldDown", max_hold_down.as_ref(), MAX_HOLD_DOWN);
        if hold_down > max {
            self.mistakes.push(ValidateError::HoldDownAboveMax { hold_down, max });
        }
        let least = min_healthy_capacity_percent.unwrap_or(50);
        Safety {
            max_withdrawn: self.count("safety.maxWithdrawn", max_withdrawn.unwrap_or(1), 0, 15),
            min_healthy_percent: self.number("safety.minHealthyCapacityPercent", least, 0, 100),
            survivor_percent: self.number("safety.survivorPercent", survivor_percent.unwrap_or(85), 10, 100),
            hold_down,
            max_hold_down: max.max(Duration::from_secs(1)),
        }
    }

    fn failback(&mut self, written: &crd::Failback) -> Failback {
        let crd::Failback { steps, step_duration } = written;
        let steps = steps.clone().unwrap_or_else(|| STEPS.to_vec());
        let rises = steps.is_sorted() && steps.first().is_some_and(|first| *first > 0) && steps.last() == Some(&100);
        let step_duration = self.duration("failback.stepDuration", step_duration.as_ref(), STEP_DURATION);
        let percents = steps.iter().map(|step| step.unsigned_abs()).collect();
        if !rises {
            self.mistakes.push(ValidateError::Steps { steps });
        }
        Failback { steps: percents, step_duration }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(besides: &str) -> Result<Policy, Vec<ValidateError>> {
        let text = format!("{{hostname: turn.example.org, provider: {{externalDns: {{}}}}, {besides}}}");
        validate(&serde_yaml::from_str(&text).unwrap())
    }

    fn mistake(besides: &str) -> String {
        read(besides).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_left_out_has_its_documented_value() {
        let policy = read("failoverGroup: india").unwrap();
        let Health { interval, failures, window, successes, quorum, all_transports } = &policy.health;
        assert_eq!((interval.as_secs(), *failures, window.as_secs(), *successes), (1, 3, 10, 6));
        assert_eq!((*quorum, *all_transports, policy.enforce), (None, true, true));
        assert_eq!(policy.failback, Failback { steps: vec![5, 25, 50, 100], step_duration: Duration::from_mins(5) });
        assert_eq!((policy.safety.max_withdrawn, policy.safety.min_healthy_percent), (1, 50));
        assert_eq!((policy.ttl.as_secs(), policy.max_addresses, policy.order), (30, 4, Order::Group));
    }

    #[test]
    fn regions_are_weighted_unless_they_have_an_order() {
        let weighted = read("regions: [{name: b, weight: 30}, {name: a}]").unwrap().order;
        assert_eq!(weighted, Order::Weighted(vec![("a".into(), 100), ("b".into(), 30)]));
        let ordered =
            read("policy: Priority, regions: [{name: b, priority: 0}, {name: a, priority: 1}]").unwrap().order;
        assert_eq!((ordered.place("b"), ordered.place("a")), (Some((0, 1.0)), Some((1, 1.0))));
        assert_eq!(ordered.place("c"), None);
    }

    #[test]
    fn every_mistake_says_what_to_write() {
        for (besides, message) in [
            ("failoverGroup: a, ttl: '5'", "spec.ttl: \"5\" is not a duration: write hours, minutes and seconds"),
            ("ttl: 30s", "spec: write either failoverGroup"),
            ("failoverGroup: a, regions: [{name: a}]", "spec: write either failoverGroup"),
            ("regions: [{name: a}, {name: a}]", "spec.regions[a]: it is listed twice"),
            ("policy: Priority, regions: [{name: a}]", "spec.regions[a].priority: missing"),
            ("failoverGroup: a, health: {failures: 3, window: 2s}", "write at least 3s, or fewer failures"),
            ("failoverGroup: a, health: {quorum: 0}", "spec.health.quorum: 0 is out of range: write 1 to 16"),
            (
                "failoverGroup: a, safety: {holdDown: 2h}",
                "spec.safety.holdDown: 7200s is longer than maxHoldDown 3600s",
            ),
            ("failoverGroup: a, failback: {steps: [50, 25, 100]}", "write [5, 25, 50, 100]"),
        ] {
            let said = mistake(besides);
            assert!(said.contains(message), "{besides}: {said}");
        }
        assert_eq!(mistake("ttl: x, failback: {steps: [1]}").lines().count(), 3);
    }

    #[test]
    fn a_majority_is_needed_and_never_a_single_one_unless_written() {
        let health = read("failoverGroup: a").unwrap().health;
        assert_eq!([0, 1, 2, 3, 4, 5].map(|asked| health.needed(asked)), [2, 2, 2, 2, 3, 3]);
        assert_eq!(Health { quorum: Some(1), ..health }.needed(5), 1);
    }
}
