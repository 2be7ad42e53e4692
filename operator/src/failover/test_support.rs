//! Regions, probers and a clock for tests. Policies pass through `validate`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rtcfleet_crds::turn_region::Protocol;

use super::answer::Answer;
use super::decide::{Decision, Situation, decide};
use super::policy::Policy;
use super::region::Region;
use super::seen::{Node, NodeState, Seen};
use super::validate::validate;
use super::verdict::{Report, Verdict};
use super::watch::Watch;
use crate::listener::ListenerPort;

pub fn noon() -> Timestamp {
    "2026-02-02T12:00:00Z".parse().unwrap()
}

/// With three vantage points outside of every region, and `besides`.
pub fn policy_with(besides: &str) -> Policy {
    let points: Vec<String> = (0..3).map(|n| format!("{{name: p{n}, url: 'https://p{n}:9443'}}")).collect();
    let group = if besides.contains("regions: [{") { "" } else { "failoverGroup: all, " };
    let points = if besides.contains("vantagePoints") {
        String::new()
    } else {
        format!("vantagePoints: [{}], ", points.join(", "))
    };
    let text = format!("{{hostname: turn.example.org, provider: {{externalDns: {{}}}}, {group}{points}{besides}}}");
    validate(&serde_yaml::from_str(&text).unwrap()).unwrap()
}

pub fn policy() -> Policy {
    policy_with("")
}

/// On the standard port.
pub fn listener(protocol: Protocol) -> ListenerPort {
    ListenerPort { protocol, port: if protocol == Protocol::Tls { 5349 } else { 3478 } }
}

/// A region with so many relays, 192.0.<index>.<n>.
pub fn seen(name: &str, index: u8, relays: usize) -> Seen {
    let node = |n: u8| Node {
        name: format!("{name}-{n}"),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(192, 0, index, n + 1))],
        listeners: vec![listener(Protocol::Udp)],
        state: NodeState::Ready,
    };
    let nodes = (0..u8::try_from(relays).unwrap()).map(node).collect();
    Seen { name: name.to_owned(), transports: vec![Protocol::Udp], nodes, capacity: None, load: None }
}

/// Of one probe, just made.
pub fn report(point: &str, sequence: u64, region: &str, target: SocketAddr, ok: bool) -> Report {
    let verdict =
        Verdict { sequence, region: region.to_owned(), target, transport: Protocol::Udp, ok, age: Duration::ZERO };
    Report { vantage_point: point.to_owned(), boot: 1, canary: true, verdicts: vec![verdict] }
}

/// What can go wrong, by name.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Regions that nobody reaches, over some transports.
    pub dead: BTreeMap<String, BTreeSet<Protocol>>,
    /// Ports that nobody reaches.
    pub closed: BTreeSet<u16>,
    /// Relays that nobody reaches.
    pub dead_nodes: BTreeSet<String>,
    /// Probers of which nothing is heard.
    pub silent: BTreeSet<String>,
    /// Probers that reach nothing, and notice.
    pub cut_off: BTreeSet<String>,
    /// Probers that tell the opposite.
    pub lying: BTreeSet<String>,
}

/// Regions a, b, … with two relays each, one look a second.
pub struct World {
    pub policy: Policy,
    pub seen: Vec<Seen>,
    pub faults: Faults,
    pub watch: Watch,
    pub before: Vec<Region>,
    pub published: Answer,
    pub now: Timestamp,
    pub instant: Instant,
    sequence: u64,
}

impl World {
    pub fn of(regions: u8, policy: Policy) -> Self {
        let name = |index: u8| char::from(b'a' + index).to_string();
        Self {
            policy,
            seen: (0..regions).map(|index| seen(&name(index), index, 2)).collect(),
            faults: Faults::default(),
            watch: Watch::default(),
            before: Vec::new(),
            published: Answer::default(),
            now: noon(),
            instant: Instant::now() + Duration::from_hours(1),
            sequence: 0,
        }
    }

    /// Has lived for twenty seconds without a fault.
    pub fn settled(regions: u8, policy: Policy) -> Self {
        let mut world = Self::of(regions, policy);
        world.run(20);
        world
    }

    /// Every region is to offer these, and its relays do.
    pub fn offer(&mut self, transports: &[Protocol]) {
        for seen in &mut self.seen {
            seen.transports = transports.to_vec();
            let all: Vec<ListenerPort> = transports.iter().map(|one| listener(*one)).collect();
            seen.nodes.iter_mut().for_each(|node| node.listeners.clone_from(&all));
        }
    }

    pub fn kill(&mut self, region: &str) {
        let all = self.seen.iter().find(|seen| seen.name == region).unwrap().transports.iter().copied().collect();
        self.faults.dead.insert(region.to_owned(), all);
    }

    pub fn heal(&mut self, region: &str) {
        self.faults.dead.remove(region);
    }

    /// Another leader: only what stands in the status is left.
    pub fn change_leader(&mut self) {
        self.watch = Watch::default();
        let written: Vec<_> = self.before.iter().map(|region| region.written(super::votes::Votes::default())).collect();
        self.before = written.iter().map(|region| Region::read(region, self.now)).collect();
        self.published = Answer::read(&self.published.written());
    }

    /// A second passes, every prober tells, and it is decided.
    pub fn look(&mut self) -> Decision {
        self.now += SignedDuration::from_secs(1);
        self.instant += Duration::from_secs(1);
        for report in self.reports() {
            self.watch.take(&report, self.instant, &self.policy);
        }
        self.decide()
    }

    pub fn decide(&mut self) -> Decision {
        let decision = decide(&Situation {
            policy: &self.policy,
            seen: &self.seen,
            watch: &self.watch,
            before: &self.before,
            published: &self.published,
            now: self.now,
            instant: self.instant,
        });
        self.before.clone_from(&decision.regions);
        self.published.clone_from(&decision.answer);
        decision
    }

    fn reports(&mut self) -> Vec<Report> {
        let Faults { dead, closed, dead_nodes, silent, cut_off, lying } = &self.faults;
        let mut reports = Vec::new();
        for point in self.policy.vantage_points.iter().filter(|point| !silent.contains(&point.name)) {
            let mut verdicts = Vec::new();
            for (seen, node) in self.seen.iter().flat_map(|seen| seen.nodes.iter().map(move |node| (seen, node))) {
                let of = |one: &ListenerPort| {
                    node.targets(one.protocol).map(|target| (target, one.protocol)).collect::<Vec<_>>()
                };
                for (target, transport) in node.listeners.iter().flat_map(of) {
                    let is_dead = closed.contains(&target.port())
                        || dead_nodes.contains(&node.name)
                        || dead.get(&seen.name).is_some_and(|dead| dead.contains(&transport));
                    let ok = (is_dead == lying.contains(&point.name)) && !cut_off.contains(&point.name);
                    self.sequence += 1;
                    let (region, sequence, age) = (seen.name.clone(), self.sequence, Duration::ZERO);
                    verdicts.push(Verdict { sequence, region, target, transport, ok, age });
                }
            }
            let canary = !cut_off.contains(&point.name);
            reports.push(Report { vantage_point: point.name.clone(), boot: 1, canary, verdicts });
        }
        reports
    }

    /// The last of so many looks.
    pub fn run(&mut self, seconds: u32) -> Decision {
        (1..seconds).for_each(|_| drop(self.look()));
        self.look()
    }

    /// Looks until the active regions are these; how many it took.
    pub fn until_active(&mut self, active: &[&str], at_most: u32) -> u32 {
        (1..=at_most).find(|_| self.look().active == active).unwrap_or_else(|| panic!("{:?}", self.before))
    }
}
