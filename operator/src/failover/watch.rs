//! What has been told, and by whom: the memory between looks. Lost with the process, and safe without: nobody has an
//! opinion until enough was told anew, and until then nothing changes.
//!
//! Bounded by the vantage points of the policy, and [`MAX_TARGETS`] relays of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtcfleet_crds::turn_region::Protocol;

use super::policy::Policy;
use super::probe::Probe;
use super::verdict::{Report, Verdict};

/// Relays times listeners that one vantage point may tell of.
pub const MAX_TARGETS: usize = 4096;
/// A relay that nobody told of for this long is gone.
const FORGOTTEN: Duration = Duration::from_mins(10);

#[derive(Clone, Debug, Default)]
pub struct Watch {
    points: BTreeMap<String, Point>,
}

/// What one vantage point told.
#[derive(Clone, Debug)]
pub struct Point {
    boot: u64,
    sequence: Option<u64>,
    canary: bool,
    heard: Instant,
    probes: BTreeMap<String, BTreeMap<(SocketAddr, Protocol), Probe>>,
}

impl Point {
    /// It has been heard lately, and its own canary works.
    pub fn is_fine(&self, now: Instant, policy: &Policy) -> bool {
        self.canary && self.is_heard(now, policy)
    }

    /// It has been heard lately, whatever it sees.
    pub fn is_heard(&self, now: Instant, policy: &Policy) -> bool {
        now.saturating_duration_since(self.heard) <= policy.health.stale()
    }

    /// A relay over a transport. None: nothing was told of it.
    pub fn probe(&self, region: &str, target: SocketAddr, transport: Protocol) -> Option<&Probe> {
        self.probes.get(region)?.get(&(target, transport))
    }

    fn take(&mut self, verdict: &Verdict, now: Instant, policy: &Policy) {
        if self.sequence.is_some_and(|known| verdict.sequence <= known) {
            return;
        }
        self.sequence = Some(verdict.sequence);
        let Some(at) = now.checked_sub(verdict.age) else { return };
        let key = (verdict.target, verdict.transport);
        let known = self.probes.get(&verdict.region).is_some_and(|targets| targets.contains_key(&key));
        if !known && self.probes.values().map(BTreeMap::len).sum::<usize>() >= MAX_TARGETS {
            return;
        }
        self.probes.entry(verdict.region.clone()).or_default().entry(key).or_default().take(
            verdict.ok,
            at,
            &policy.health,
        );
    }

    fn forget_gone(&mut self, now: Instant) {
        let is_known = |probe: &Probe| probe.last().is_some_and(|last| now.duration_since(last) < FORGOTTEN);
        self.probes.values_mut().for_each(|targets| targets.retain(|_, probe| is_known(probe)));
        self.probes.retain(|_, targets| !targets.is_empty());
    }
}

impl Watch {
    /// A report that arrived at `now`. One of a vantage point that the policy does not have is left out.
    pub fn take(&mut self, report: &Report, now: Instant, policy: &Policy) {
        let is_ours = |name: &str| policy.vantage_points.iter().any(|point| point.name == name);
        self.points.retain(|name, _| is_ours(name));
        if !is_ours(&report.vantage_point) {
            return;
        }
        let point = self.points.entry(report.vantage_point.clone()).or_insert_with(|| Point {
            boot: report.boot,
            sequence: None,
            canary: report.canary,
            heard: now,
            probes: BTreeMap::new(),
        });
        if point.boot != report.boot {
            point.boot = report.boot;
            point.sequence = None;
        }
        point.heard = now;
        point.canary = report.canary;
        if !report.canary {
            // Failures are noticed before the canary is asked: what came just before is worth nothing either.
            point.probes.clear();
            point.sequence = report.verdicts.last().map(|last| last.sequence).max(point.sequence);
            return;
        }
        report.verdicts.iter().for_each(|verdict| point.take(verdict, now, policy));
        point.forget_gone(now);
    }

    pub fn point(&self, name: &str) -> Option<&Point> {
        self.points.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::probe::Opinion;
    use super::super::test_support::{policy, report};
    use super::*;

    const UDP: Protocol = Protocol::Udp;

    fn target() -> SocketAddr {
        ([192, 0, 2, 1], 3478).into()
    }

    fn opinion(watch: &Watch, now: Instant) -> Option<Opinion> {
        watch.point("p0")?.probe("a", target(), UDP)?.opinion(now, &policy().health)
    }

    #[test]
    fn a_verdict_that_is_told_again_counts_once() {
        let (mut watch, now) = (Watch::default(), Instant::now() + Duration::from_mins(1));
        for _ in 0..5 {
            watch.take(&report("p0", 1, "a", target(), false), now, &policy());
        }
        assert_eq!(opinion(&watch, now), None);
        (2..4).for_each(|n| watch.take(&report("p0", n, "a", target(), false), now, &policy()));
        assert_eq!(opinion(&watch, now), Some(Opinion::Down));
    }

    #[test]
    fn a_prober_that_starts_anew_is_heard_although_its_sequence_begins_anew() {
        let (mut watch, now) = (Watch::default(), Instant::now() + Duration::from_mins(1));
        (1..=6).for_each(|n| watch.take(&report("p0", n, "a", target(), true), now, &policy()));
        for n in 1..=3 {
            let again = Report { boot: 2, ..report("p0", n, "a", target(), false) };
            watch.take(&again, now, &policy());
        }
        assert_eq!(opinion(&watch, now), Some(Opinion::Down));
    }

    #[test]
    fn what_was_seen_before_the_canary_failed_is_forgotten() {
        let (mut watch, now) = (Watch::default(), Instant::now() + Duration::from_mins(1));
        (1..=3).for_each(|n| watch.take(&report("p0", n, "a", target(), false), now, &policy()));
        let blind = Report { canary: false, ..report("p0", 4, "a", target(), false) };
        watch.take(&blind, now, &policy());
        assert!(!watch.point("p0").unwrap().is_fine(now, &policy()));
        watch.take(&report("p0", 5, "a", target(), false), now, &policy());
        assert!(watch.point("p0").unwrap().is_fine(now, &policy()));
        assert_eq!(opinion(&watch, now), None);
    }

    #[test]
    fn failures_that_arrive_late_count_for_when_they_were_made() {
        let (mut watch, now) = (Watch::default(), Instant::now() + Duration::from_mins(10));
        for (n, age) in [(1, 60), (2, 40), (3, 0)] {
            let mut late = report("p0", n, "a", target(), false);
            late.verdicts[0].age = Duration::from_secs(age);
            watch.take(&late, now, &policy());
        }
        assert_eq!(opinion(&watch, now), None, "they are a minute apart");
    }

    #[test]
    fn strangers_and_relays_beyond_the_bound_are_left_out() {
        let (mut watch, now) = (Watch::default(), Instant::now() + Duration::from_mins(1));
        watch.take(&report("nobody", 1, "a", target(), true), now, &policy());
        assert!(watch.point("nobody").is_none());
        for n in 0..MAX_TARGETS as u64 + 10 {
            let address = (std::net::Ipv6Addr::from_bits(u128::from(n)), 3478).into();
            watch.take(&report("p0", n, "a", address, true), now, &policy());
        }
        assert_eq!(watch.points["p0"].probes["a"].len(), MAX_TARGETS);
    }
}
