//! What does a quorum of vantage points agree on?
//!
//! A region is judged from outside of itself: a vantage point that stands in it is asked only where there is no other. A
//! vote needs a prober that was heard lately and whose own canary works; silence is no vote. A verdict needs as many
//! equal votes as the quorum, of all who are asked, so that losing vantage points makes it harder to withdraw a region,
//! not easier. Without a verdict a region stays what it was.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rtcfleet_crds::turn_region::Protocol;

use super::policy::{Policy, VantagePoint};
use super::probe::{Opinion, Probe};
use super::region::{Health, Region};
use super::seen::{Node, Seen};
use super::watch::{Point, Watch};

/// How vantage points vote about one transport of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    pub up: u32,
    pub down: u32,
    /// Of those, they saw no failure within the window.
    pub clean: u32,
    /// Of those that see it fail, they do not see it begin to work again.
    pub firm: u32,
    /// Their last probes worked, and did not.
    pub working: u32,
    pub silent: u32,
    pub needed: u32,
    pub asked: u32,
}

/// What is known of a region's health now.
#[allow(clippy::struct_excessive_bools, reason = "independent answers to different questions")]
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub health: Health,
    /// Transports that a quorum sees fail, or saw fail when there last was one.
    pub failing: Vec<Protocol>,
    /// Over the transport that looks worst.
    pub votes: Votes,
    /// A quorum sees each of `failing` fail now, and not begin to work again.
    pub is_confirmed: bool,
    /// Callers who are sent there are served now: over every transport, the last probes worked for half at least of those who
    /// are heard. No quorum, and no majority: of two who are asked, one may stand in the region that fails.
    pub answers: bool,
    /// As many vote as must agree, over every transport.
    pub has_quorum: bool,
    /// A quorum saw no failure within the window, over every transport that is not failing.
    pub is_clean: bool,
    /// From the first failure that counts until now.
    pub failing_for: Option<Duration>,
    /// Relays that a quorum sees fail while the region works.
    pub failing_nodes: Vec<String>,
}

/// Vantage points that have a say about `region`.
fn asked<'a>(policy: &'a Policy, region: &str) -> Vec<&'a VantagePoint> {
    let outside = |point: &&VantagePoint| point.region.as_deref() != Some(region);
    let all = || policy.vantage_points.iter();
    if all().any(|point| outside(&point)) { all().filter(outside).collect() } else { all().collect() }
}

/// Vantage points that see anything, and as many as must.
pub fn sighted(policy: &Policy, watch: &Watch, now: Instant) -> (u32, u32) {
    let is_fine = |one: &&VantagePoint| watch.point(&one.name).is_some_and(|point| point.is_fine(now, policy));
    let fine = policy.vantage_points.iter().filter(is_fine).count();
    (count(fine), policy.health.needed(count(policy.vantage_points.len())))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Judges a region that was `before`.
pub fn judge(policy: &Policy, watch: &Watch, seen: &Seen, before: &Region, now: Instant) -> Judgement {
    let asked = asked(policy, &seen.name);
    let fine: Vec<&Point> =
        asked.iter().filter_map(|one| watch.point(&one.name)).filter(|point| point.is_fine(now, policy)).collect();
    let court = Court { policy, seen, ports: seen.judged_ports(), fine, now, asked: count(asked.len()) };
    let all: Vec<(Protocol, Votes)> = court.ports.keys().map(|one| (*one, court.votes(*one))).collect();
    let is_failing = |transport: Protocol, votes: &Votes| match (votes.down, votes.up) {
        (down, _) if down >= votes.needed => true,
        (_, up) if up >= votes.needed => false,
        _ => before.failing.contains(&transport),
    };
    let failing: Vec<Protocol> =
        all.iter().filter(|(one, votes)| is_failing(*one, votes)).map(|(transport, _)| *transport).collect();
    let is_known = before.health != Health::Unknown || all.iter().all(|(_, votes)| votes.up >= votes.needed);
    let health = match failing.len() {
        0 if is_known && !all.is_empty() => Health::Healthy,
        0 => Health::Unknown,
        some if some == all.len() => Health::Unhealthy,
        _ => Health::Impaired,
    };
    let worst = all.iter().map(|(_, votes)| *votes).max_by_key(|votes| (votes.down, u32::MAX - votes.up));
    let every = |enough: fn(&Votes) -> bool| !all.is_empty() && all.iter().all(|(_, votes)| enough(votes));
    let every_failing = |enough: fn(&Votes) -> bool, is_failing: bool| {
        all.iter().filter(|(one, _)| failing.contains(one) == is_failing).all(|(_, votes)| enough(votes))
    };
    let is_confirmed = every_failing(|votes| votes.firm >= votes.needed, true);
    let is_clean = health != Health::Unhealthy && every_failing(|votes| votes.clean >= votes.needed, false);
    Judgement {
        failing_for: if failing.is_empty() { None } else { court.failing_for(&failing) },
        failing_nodes: if health == Health::Unhealthy { Vec::new() } else { court.failing_nodes() },
        health,
        failing,
        votes: worst.unwrap_or(Votes {
            needed: policy.health.needed(court.asked),
            asked: court.asked,
            ..Votes::default()
        }),
        has_quorum: every(|votes| votes.up + votes.down >= votes.needed),
        is_clean,
        is_confirmed,
        answers: every(|votes| votes.working > 0 && votes.working >= votes.silent),
    }
}

/// Those who vote about a region.
struct Court<'a> {
    policy: &'a Policy,
    seen: &'a Seen,
    /// By which transports and ports.
    ports: BTreeMap<Protocol, BTreeSet<u16>>,
    fine: Vec<&'a Point>,
    now: Instant,
    asked: u32,
}

impl<'a> Court<'a> {
    fn needed(&self) -> u32 {
        self.policy.health.needed(self.asked)
    }

    fn votes(&self, transport: Protocol) -> Votes {
        let mut votes = Votes { needed: self.needed(), asked: self.asked, ..Votes::default() };
        for point in &self.fine {
            let (mut up, mut down, mut spotted) = (0_u32, 0_u32, 0_u32);
            let (mut firm, mut working, mut silent) = (0_u32, 0_u32, 0_u32);
            for probe in self.relays(point, transport) {
                match probe.opinion(self.now, &self.policy.health) {
                    Some(Opinion::Up) => up += 1,
                    Some(Opinion::Down) => down += 1,
                    None => {}
                }
                spotted += u32::from(!probe.is_clean(self.now, &self.policy.health));
                firm += u32::from(probe.is_firmly_down(self.now, &self.policy.health));
                match probe.works_now(self.now, &self.policy.health) {
                    Some(true) => working += 1,
                    Some(false) => silent += 1,
                    None => {}
                }
            }
            match working.cmp(&silent) {
                Ordering::Greater => votes.working += 1,
                Ordering::Less => votes.silent += 1,
                // As with votes below: half of its relays serve.
                Ordering::Equal => votes.working += u32::from(working > 0),
            }
            match (up, down) {
                (0, 0) => {}
                // More than half of its relays: one of them is a broken node, not a broken region.
                _ if down > up => {
                    votes.down += 1;
                    votes.firm += u32::from(firm > up + down - firm);
                }
                _ => {
                    votes.up += 1;
                    // As above: one relay of three may be broken for long.
                    votes.clean += u32::from(spotted * 2 < up + down);
                }
            }
        }
        votes
    }

    /// Of each relay that takes calls, at each of its addresses. Of several listeners the one that looks worst: a caller has
    /// the port of one of them.
    fn relays(&self, point: &'a Point, transport: Protocol) -> impl Iterator<Item = &'a Probe> {
        let standing = move |probe: &&Probe| {
            let opinion = match probe.opinion(self.now, &self.policy.health) {
                Some(Opinion::Down) => 2,
                Some(Opinion::Up) => 1,
                None => 0,
            };
            let fails = probe.works_now(self.now, &self.policy.health) == Some(false);
            (opinion, fails, !probe.is_clean(self.now, &self.policy.health))
        };
        let takers = self.seen.takers().into_iter();
        let addresses = takers.flat_map(|node| node.addresses.iter().map(move |address| (node, *address)));
        addresses.filter_map(move |(node, address)| {
            let heard = self.targets(node, address, transport).filter_map(|at| self.probe(point, at, transport));
            heard.max_by_key(standing)
        })
    }

    /// Where the relay counts, at one of its addresses.
    fn targets(&self, node: &'a Node, address: IpAddr, transport: Protocol) -> impl Iterator<Item = SocketAddr> {
        let ports = self.ports.get(&transport);
        let counts = move |port: &u16| ports.is_none_or(|ports| ports.is_empty() || ports.contains(port));
        node.ports(transport).filter(counts).map(move |port| SocketAddr::new(address, port))
    }

    fn probe(&self, point: &'a Point, target: SocketAddr, transport: Protocol) -> Option<&'a Probe> {
        point.probe(&self.seen.name, target, transport)
    }

    fn failing_for(&self, failing: &[Protocol]) -> Option<Duration> {
        let probes =
            self.fine.iter().flat_map(|point| failing.iter().flat_map(move |transport| self.relays(point, *transport)));
        let down = probes.filter(|probe| probe.opinion(self.now, &self.policy.health) == Some(Opinion::Down));
        down.filter_map(Probe::first_failure).min().map(|first| self.now.saturating_duration_since(first))
    }

    /// By name. None where they are half of the region or more.
    fn failing_nodes(&self) -> Vec<String> {
        let takers = self.seen.takers();
        let fails = |target: SocketAddr, transport: Protocol| {
            let down = |point: &&&'a Point| {
                self.probe(point, target, transport).and_then(|probe| probe.opinion(self.now, &self.policy.health))
                    == Some(Opinion::Down)
            };
            count(self.fine.iter().filter(down).count()) >= self.needed()
        };
        let fails_at = |node: &'a Node, address: IpAddr, transport: Protocol| {
            self.targets(node, address, transport).any(|target| fails(target, transport))
        };
        let is_failing = |node: &'a Node| {
            let addresses = node.addresses.iter();
            addresses.copied().any(|address| self.ports.keys().any(|transport| fails_at(node, address, *transport)))
        };
        let failing: Vec<String> =
            takers.iter().filter(|node| is_failing(node)).map(|node| node.name.clone()).collect();
        if failing.len() * 2 < takers.len() { failing } else { Vec::new() }
    }
}
