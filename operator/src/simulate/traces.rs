//! The traces there are: what happens to the world, and who is compared.

use jiff::Timestamp;

use super::calls::{Curve, Length};
use super::hpa::Autoscaler;
use super::node::Readings;
use super::random::Random;
use super::region::{Happening, Start};
use super::time::{MINUTE, Millis, SECOND, millis};
use crate::fleet::policy::Policy;
use crate::turnregion::file::{self, FileError};

/// What happens, whoever decides.
#[derive(Clone, Debug)]
pub struct Trace {
    pub start: Timestamp,
    pub length: Millis,
    pub sites: Vec<Site>,
    pub faults: Vec<(Millis, Fault)>,
    /// Mean time to the failure of a machine, and of its repair, in seconds.
    pub machines_fail: Option<(f64, f64)>,
    pub start_up: Start,
    /// Load that comes from no call, in parts of a node a minute since a node serves.
    pub leak: f64,
    pub contestants: Vec<Contestant>,
}

/// A region of a trace.
#[derive(Clone, Debug)]
pub struct Site {
    pub name: &'static str,
    pub curve: Curve,
    pub calls_last: Length,
    pub machines: usize,
    /// Nodes that serve when it begins.
    pub begin: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    LoseRegion(usize),
    RegionIsBack(usize),
    NewRevision,
    Readings(Readings),
}

/// Who decides the number of nodes.
#[derive(Clone, Debug)]
pub enum Contestant {
    RtcFleet { name: String, policy: Box<Policy> },
    Hpa { name: String, autoscaler: Autoscaler },
}

impl Contestant {
    pub fn name(&self) -> &str {
        match self {
            Self::RtcFleet { name, .. } | Self::Hpa { name, .. } => name,
        }
    }
}

impl Trace {
    /// When machines of a region fail and are there again.
    pub fn machine_failures(&self, region: usize, random: &mut Random) -> Vec<(Millis, Happening)> {
        let Some((between, repair)) = self.machines_fail else { return Vec::new() };
        let mut failures = Vec::new();
        for machine in 0..self.sites[region].machines {
            let mut at = millis(random.exponential(between));
            while at < self.length {
                let back = at + millis(random.exponential(repair)).max(MINUTE);
                failures.extend([(at, Happening::Lost { machine }), (back, Happening::Back { machine })]);
                at = back + millis(random.exponential(between));
            }
        }
        failures
    }
}

/// A trace that can be asked for by its name.
pub struct Known {
    pub name: &'static str,
    /// In a line.
    pub about: &'static str,
    make: fn() -> Result<Trace, FileError>,
}

impl Known {
    pub fn trace(&self) -> Result<Trace, FileError> {
        (self.make)()
    }
}

/// In the order in which they are told.
pub const ALL: [Known; 8] = [
    Known {
        name: "school-day",
        about: "lessons begin on the hour from 8 to 16, and within 5 minutes everybody calls; with a timetable and without",
        make: school_day,
    },
    Known { name: "flash-crowd", about: "six times the load within 60 s, for 40 minutes", make: flash_crowd },
    Known {
        name: "region-loss",
        about: "two regions; one is lost at the peak for 20 minutes, and its callers call again in the other one",
        make: region_loss,
    },
    Known { name: "slow-leak", about: "every node gets busier by 1 % a minute, without a call more", make: slow_leak },
    Known {
        name: "flapping-metrics",
        about: "of all readings of load 30 % are missing, and the others are wrong by 10 %",
        make: flapping_metrics,
    },
    Known {
        name: "dead-metrics",
        about: "nobody can tell the load for 30 minutes around the peak",
        make: dead_metrics,
    },
    Known { name: "rolling-upgrade", about: "a new revision at the peak", make: rolling_upgrade },
    Known {
        name: "machine-failures",
        about: "machines fail, each every 4 hours on average, for 15 minutes",
        make: machine_failures,
    },
];

pub fn named(name: &str) -> Option<&'static Known> {
    ALL.iter().find(|known| known.name == name)
}

/// Machines of a region.
const MACHINES: usize = 60;
const MIN: u32 = 2;
const MAX: u32 = 40;
/// Calls of a full node.
const FULL: f64 = 400.0;
const START_UP: Start = Start { median: 40.0, spread: 0.3 };
const CALL_SECONDS: f64 = 600.0;
const CALLS_LAST: Length = Length::Exponential { mean: CALL_SECONDS };

/// Calls a second that come to the load of so many nodes, if calls last for `mean` seconds.
fn rate(nodes: f64, mean: f64) -> f64 {
    nodes * FULL / mean
}

fn points(minutes: &[(f64, f64)], mean: f64) -> Curve {
    Curve(minutes.iter().map(|(minute, nodes)| (minute * 60.0, rate(*nodes, mean))).collect())
}

/// The operator with its defaults, and the autoscaler of Kubernetes at the same target.
pub fn both(min: u32, max: u32) -> Result<Vec<Contestant>, FileError> {
    let hpa = Contestant::Hpa { name: "HPA at 65 %".to_owned(), autoscaler: Autoscaler { min, max, target: 0.65 } };
    Ok(vec![policy_of("rtc-fleet", min, max, "")?, hpa])
}

/// As somebody would write it; `more` are further lines of `spec.scaling`.
pub fn policy_of(name: &str, min: u32, max: u32, more: &str) -> Result<Contestant, FileError> {
    let text = format!(
        "apiVersion: rtcfleet.dev/v1alpha1
kind: TurnRegion
metadata: {{name: simulated}}
spec:
  region: simulated
  failoverGroup: all
  auth: {{realm: turn.example.org, secretRef: {{name: turn-auth}}}}
  scaling:
    min: {min}
    max: {max}
{more}"
    );
    Ok(Contestant::RtcFleet { name: name.to_owned(), policy: Box::new(file::read(&text, None)?.fleet) })
}

/// One region with this curve, and nothing goes wrong.
fn quiet(minutes: u64, curve: Curve, begin: u32) -> Result<Trace, FileError> {
    Ok(Trace {
        start: monday_at_7(),
        length: minutes * MINUTE,
        sites: vec![Site { name: "centralindia", curve, calls_last: CALLS_LAST, machines: MACHINES, begin }],
        faults: Vec::new(),
        machines_fail: None,
        start_up: START_UP,
        leak: 0.0,
        contestants: both(MIN, MAX)?,
    })
}

/// Monday, 2 February 2026, 7:00 in India.
fn monday_at_7() -> Timestamp {
    Timestamp::from_second(1_769_995_800).unwrap_or_default()
}

/// Pupils are there from two minutes before the bell to three after, and go after 50 minutes.
fn school_day() -> Result<Trace, FileError> {
    let lessons = [0.6, 1.0, 1.0, 0.9, 0.4, 0.9, 1.0, 0.7, 0.4];
    let calls = 7.0 * FULL;
    let mut points = vec![(0.0, 0.05)];
    for (hour, part) in (1..).zip(lessons) {
        let bell = f64::from(hour) * 3600.0;
        let highest = calls * part / 150.0;
        points.extend([(bell - 120.0, 0.05), (bell, highest), (bell + 180.0, 0.05)]);
    }
    let timetable = "    schedule:
      - {cron: \"50 7 * * 1-5\", timeZone: Asia/Kolkata, min: 14}
      - {cron: \"0 17 * * 1-5\", timeZone: Asia/Kolkata, min: 2}
";
    let mut trace = quiet(11 * 60, Curve(points), 2)?;
    trace.sites[0].calls_last = Length::Lognormal { median: 3000.0, spread: 0.03 };
    trace.contestants.insert(1, policy_of("rtc-fleet, timetable", MIN, MAX, timetable)?);
    Ok(trace)
}

/// The crowd comes in one minute, and goes on to come.
fn flash_crowd() -> Result<Trace, FileError> {
    let base = rate(2.0, CALL_SECONDS);
    let (burst, crowd) = (5.0 * 2.0 * FULL / 60.0, rate(12.0, CALL_SECONDS));
    let at = 30.0 * 60.0;
    let curve = Curve(vec![
        (0.0, base),
        (at, base),
        (at, base + burst),
        (at + 60.0, base + burst),
        (at + 60.0, crowd),
        (at + 2400.0, crowd),
        (at + 2400.0, base),
    ]);
    quiet(2 * 60, curve, 4)
}

fn region_loss() -> Result<Trace, FileError> {
    let day = points(&[(0.0, 2.0), (20.0, 2.0), (70.0, 6.0), (100.0, 6.0), (140.0, 2.0)], CALL_SECONDS);
    let mut trace = quiet(3 * 60, day, 5)?;
    trace.sites.push(Site { name: "southindia", ..trace.sites[0].clone() });
    trace.faults = vec![(90 * MINUTE, Fault::LoseRegion(0)), (110 * MINUTE, Fault::RegionIsBack(0))];
    Ok(trace)
}

fn slow_leak() -> Result<Trace, FileError> {
    let mut trace = quiet(90, Curve::flat(rate(0.5, CALL_SECONDS)), 2)?;
    trace.leak = 0.01;
    Ok(trace)
}

/// The load of two nodes, of six, and of two again.
fn hill() -> Curve {
    points(&[(0.0, 2.0), (20.0, 2.0), (60.0, 6.0), (80.0, 6.0), (120.0, 2.0)], CALL_SECONDS)
}

fn flapping_metrics() -> Result<Trace, FileError> {
    let mut trace = quiet(3 * 60, hill(), 4)?;
    trace.faults = vec![(0, Fault::Readings(Readings { dead: false, missing: 0.3, noise: 0.1 }))];
    Ok(trace)
}

fn dead_metrics() -> Result<Trace, FileError> {
    let mut trace = quiet(3 * 60, hill(), 4)?;
    trace.faults = vec![
        (55 * MINUTE, Fault::Readings(Readings { dead: true, ..Readings::default() })),
        (85 * MINUTE, Fault::Readings(Readings::default())),
    ];
    Ok(trace)
}

fn rolling_upgrade() -> Result<Trace, FileError> {
    let curve = points(&[(0.0, 3.0), (30.0, 3.0), (60.0, 6.0), (240.0, 6.0), (300.0, 2.0)], CALL_SECONDS);
    let mut trace = quiet(8 * 60, curve, 6)?;
    trace.faults = vec![(80 * MINUTE + 5 * SECOND, Fault::NewRevision)];
    Ok(trace)
}

fn machine_failures() -> Result<Trace, FileError> {
    let mut trace = quiet(6 * 60, Curve::flat(rate(5.0, CALL_SECONDS)), 10)?;
    trace.machines_fail = Some((4.0 * 3600.0, 900.0));
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_can_be_made() {
        for known in &ALL {
            let trace = known.trace().unwrap_or_else(|error| panic!("{}: {error}", known.name));
            assert!(trace.contestants.len() >= 2 && !trace.sites.is_empty(), "{}", known.name);
            assert!(named(known.name).is_some());
        }
    }

    #[test]
    fn the_first_bell_rings_at_8_in_india() {
        let zone = jiff::tz::TimeZone::get("Asia/Kolkata").unwrap();
        assert_eq!(monday_at_7().to_zoned(zone).strftime("%A %H:%M").to_string(), "Monday 07:00");
    }
}
