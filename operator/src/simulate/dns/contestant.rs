//! Who decides what the answer is, from the same probes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rtcfleet_crds::turn_region::Protocol;

use super::faults::{PROBERS, REGIONS};
use crate::failover::answer::Answer;
use crate::failover::decide::{Situation, decide};
use crate::failover::policy::{Failback, Health, Order, Policy, Safety, VantagePoint};
use crate::failover::region::Region;
use crate::failover::seen::{Node, NodeState, Seen};
use crate::failover::verdict::{Report, Verdict};
use crate::failover::watch::Watch;
use crate::listener::ListenerPort;

/// Of each region.
pub const RELAYS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The code that decides in the cluster, with its defaults.
    RtcFleet,
    /// Out at the first failure that any prober tells, back when all tell success.
    AnyFailure,
    /// One prober; out after three failures in a row, back after three successes.
    ThreeInARow,
    Never,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::RtcFleet, Self::AnyFailure, Self::ThreeInARow, Self::Never];

    pub fn name(self) -> &'static str {
        match self {
            Self::RtcFleet => "rtc-fleet",
            Self::AnyFailure => "out when a probe fails",
            Self::ThreeInARow => "one prober, 3 in a row",
            Self::Never => "never changed",
        }
    }
}

/// What a prober told of every relay in one second. None: nothing was heard.
pub type Told = Option<ToldBy>;

#[derive(Clone, Copy, Debug)]
pub struct ToldBy {
    pub canary: bool,
    pub ok: [[bool; RELAYS]; REGIONS],
}

/// The regions of the answer's addresses; empty where the answer is.
pub enum Contestant {
    RtcFleet(Box<Ours>),
    AnyFailure { last: [[bool; REGIONS]; PROBERS] },
    ThreeInARow { out: [bool; REGIONS], row: [u32; REGIONS] },
    Never,
}

impl Contestant {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::RtcFleet => Self::RtcFleet(Box::new(Ours::new())),
            Kind::AnyFailure => Self::AnyFailure { last: [[true; REGIONS]; PROBERS] },
            Kind::ThreeInARow => Self::ThreeInARow { out: [false; REGIONS], row: [0; REGIONS] },
            Kind::Never => Self::Never,
        }
    }

    /// What was in memory is gone.
    pub fn restart(&mut self) {
        match self {
            Self::RtcFleet(ours) => ours.watch = Watch::default(),
            Self::AnyFailure { last } => *last = [[true; REGIONS]; PROBERS],
            Self::ThreeInARow { row, .. } => *row = [0; REGIONS],
            Self::Never => {}
        }
    }

    pub fn decide(&mut self, told: &[Told; PROBERS], now: Timestamp, instant: Instant) -> Vec<usize> {
        match self {
            Self::RtcFleet(ours) => ours.decide(told, now, instant),
            Self::AnyFailure { last } => {
                for (last, told) in last.iter_mut().zip(told) {
                    if let Some(told) = told {
                        *last = told.ok.map(|relays| relays.iter().all(|ok| *ok));
                    }
                }
                addresses(|region| last.iter().all(|last| last[region]))
            }
            Self::ThreeInARow { out, row } => {
                for region in 0..REGIONS {
                    let Some(told) = &told[0] else { continue };
                    let ok = told.ok[region].iter().any(|ok| *ok);
                    row[region] = if ok == out[region] { row[region] + 1 } else { 0 };
                    if row[region] >= 3 {
                        (out[region], row[region]) = (!ok, 0);
                    }
                }
                addresses(|region| !out[region])
            }
            Self::Never => addresses(|_| true),
        }
    }
}

fn addresses(is_in: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..REGIONS).filter(|region| is_in(*region)).flat_map(|region| [region; RELAYS]).collect()
}

/// The code that decides in the cluster.
pub struct Ours {
    policy: Policy,
    seen: Vec<Seen>,
    watch: Watch,
    before: Vec<Region>,
    published: Answer,
    sequence: u64,
}

impl Ours {
    fn new() -> Self {
        Self {
            policy: defaults(),
            seen: (0..REGIONS).map(region).collect(),
            watch: Watch::default(),
            before: Vec::new(),
            published: Answer::default(),
            sequence: 0,
        }
    }

    fn decide(&mut self, told: &[Told; PROBERS], now: Timestamp, instant: Instant) -> Vec<usize> {
        for (point, told) in self.policy.vantage_points.clone().iter().zip(told) {
            if let Some(told) = told {
                let report = self.report(&point.name, *told);
                self.watch.take(&report, instant, &self.policy);
            }
        }
        let decision = decide(&Situation {
            policy: &self.policy,
            seen: &self.seen,
            watch: &self.watch,
            before: &self.before,
            published: &self.published,
            now,
            instant,
        });
        self.before = decision.regions;
        self.published = decision.answer;
        self.published.ipv4.iter().map(|address| usize::from(address.octets()[2])).collect()
    }

    fn report(&mut self, point: &str, told: ToldBy) -> Report {
        let mut verdicts = Vec::with_capacity(REGIONS * RELAYS);
        for (seen, relays) in self.seen.iter().zip(told.ok) {
            for (node, ok) in seen.nodes.iter().zip(relays) {
                self.sequence += 1;
                verdicts.extend(node.targets(Protocol::Udp).map(|target| Verdict {
                    sequence: self.sequence,
                    region: seen.name.clone(),
                    target,
                    transport: Protocol::Udp,
                    ok,
                    age: Duration::ZERO,
                }));
            }
        }
        Report { vantage_point: point.to_owned(), boot: 1, canary: told.canary, verdicts }
    }
}

fn region(index: usize) -> Seen {
    let number = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    let node = |relay: usize| Node {
        name: format!("{index}-{relay}"),
        addresses: vec![IpAddr::V4(Ipv4Addr::new(192, 0, number(index), number(relay)))],
        listeners: vec![ListenerPort { protocol: Protocol::Udp, port: 3478 }],
        state: NodeState::Ready,
    };
    Seen {
        name: format!("region-{index}"),
        transports: vec![Protocol::Udp],
        nodes: (0..RELAYS).map(node).collect(),
        capacity: None,
        load: None,
    }
}

/// What an object without a further word has; `tests` hold it to that.
pub fn defaults() -> Policy {
    let points: BTreeSet<String> = (0..PROBERS).map(|number| format!("p{number}")).collect();
    Policy {
        order: Order::Group,
        ttl: Duration::from_secs(30),
        max_addresses: 4,
        health: Health {
            interval: Duration::from_secs(1),
            failures: 3,
            window: Duration::from_secs(10),
            successes: 6,
            quorum: None,
            all_transports: true,
        },
        safety: Safety {
            max_withdrawn: 1,
            min_healthy_percent: 50,
            survivor_percent: 85,
            hold_down: Duration::from_mins(1),
            max_hold_down: Duration::from_hours(1),
        },
        failback: Failback { steps: vec![5, 25, 50, 100], step_duration: Duration::from_mins(5) },
        vantage_points: points.into_iter().map(|name| VantagePoint { name, region: None }).collect(),
        pinned: None,
        enforce: true,
    }
}
