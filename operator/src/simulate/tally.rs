//! What is counted while a policy lives through a trace.

use serde::Serialize;

use super::node::SAMPLE;
use super::region::{Cut, Region};
use super::time::{Millis, SECOND};

/// What a policy came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub policy: String,
    pub calls: u64,
    /// Callers whom no node took.
    pub refused: u64,
    pub cut: Cuts,
    pub machine_hours: f64,
    /// Load of nodes that take calls, in percent of what they can carry: the mean over time, and the highest of a region.
    pub mean_percent: f64,
    pub peak_percent: f64,
    /// Nodes that were wanted, of all regions together.
    pub lowest: u32,
    pub highest: u32,
    /// How often a region's number turned from growing to shrinking or back.
    pub turns: u32,
    pub regions: Vec<RegionOutcome>,
    pub series: Vec<Point>,
}

/// Calls that were cut, by what cut them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cuts {
    pub lost: u64,
    pub deadline: u64,
    pub early: u64,
}

/// Of one region.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionOutcome {
    pub name: String,
    pub lowest: u32,
    pub highest: u32,
    pub peak_percent: f64,
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    pub seconds: u64,
    /// In whole nodes.
    pub load: f64,
    /// Nodes that take calls.
    pub nodes: u32,
    pub desired: Vec<u32>,
    /// Since the sample before.
    pub refused: u64,
}

#[derive(Debug)]
pub struct Tally {
    pub calls: u64,
    refused: u64,
    refused_before: u64,
    cut: Cuts,
    machines: u64,
    used: f64,
    regions: Vec<Track>,
    lowest: u32,
    highest: u32,
    series: Vec<Point>,
}

/// The number of one region over time.
#[derive(Clone, Debug, Default)]
struct Track {
    name: String,
    last: Option<u32>,
    grew: Option<bool>,
    turns: u32,
    lowest: u32,
    highest: u32,
    peak: f64,
}

impl Track {
    fn wants(&mut self, number: u32) {
        let Some(last) = self.last.replace(number) else {
            (self.lowest, self.highest) = (number, number);
            return;
        };
        (self.lowest, self.highest) = (self.lowest.min(number), self.highest.max(number));
        if number != last {
            let grew = number > last;
            self.turns += u32::from(self.grew.is_some_and(|before| before != grew));
            self.grew = Some(grew);
        }
    }
}

impl Tally {
    pub fn new(regions: usize) -> Self {
        Self {
            calls: 0,
            refused: 0,
            refused_before: 0,
            cut: Cuts::default(),
            machines: 0,
            used: 0.0,
            regions: vec![Track::default(); regions],
            lowest: u32::MAX,
            highest: 0,
            series: Vec::new(),
        }
    }

    pub fn refused(&mut self) {
        self.refused += 1;
    }

    pub fn cut(&mut self, why: Cut) {
        match why {
            Cut::Lost => self.cut.lost += 1,
            Cut::Deadline => self.cut.deadline += 1,
            Cut::Early => self.cut.early += 1,
        }
    }

    /// Every 5 s. `desired` are the numbers that are wanted, by region.
    pub fn sample(&mut self, regions: &[Region], desired: &[u32], now: Millis) {
        let mut point = Point {
            seconds: now / SECOND,
            load: 0.0,
            nodes: 0,
            desired: desired.to_vec(),
            refused: self.refused - self.refused_before,
        };
        self.refused_before = self.refused;
        let mut serving_load = 0.0;
        for ((region, track), desired) in regions.iter().zip(&mut self.regions).zip(desired) {
            if track.last.is_none() {
                track.name.clone_from(&region.name);
            }
            track.wants(*desired);
            self.machines += region.nodes().filter(|node| node.machine.is_some()).count() as u64;
            let serving: Vec<f64> =
                region.nodes().filter(|node| region.takes_calls(node)).map(|node| node.load(now)).collect();
            let load: f64 = serving.iter().sum();
            if !serving.is_empty() {
                track.peak = track.peak.max(load / serving.len() as f64);
            }
            serving_load += load;
            point.load += region.nodes().map(|node| node.load(now)).sum::<f64>();
            point.nodes += u32::try_from(serving.len()).unwrap_or(u32::MAX);
        }
        self.used += if point.nodes > 0 { serving_load / f64::from(point.nodes) } else { 0.0 };
        let all = desired.iter().sum();
        (self.lowest, self.highest) = (self.lowest.min(all), self.highest.max(all));
        self.series.push(point);
    }

    pub fn outcome(self, policy: &str) -> Outcome {
        let Self { calls, refused, refused_before: _, cut, machines, used, regions, lowest, highest, series } = self;
        let hours = SAMPLE as f64 / (3600.0 * SECOND as f64);
        Outcome {
            policy: policy.to_owned(),
            calls,
            refused,
            cut,
            machine_hours: machines as f64 * hours,
            mean_percent: 100.0 * used / (series.len().max(1)) as f64,
            peak_percent: 100.0 * regions.iter().map(|region| region.peak).fold(0.0, f64::max),
            lowest: lowest.min(highest),
            highest,
            turns: regions.iter().map(|region| region.turns).sum(),
            regions: regions
                .into_iter()
                .map(|Track { name, lowest, highest, peak, .. }| RegionOutcome {
                    name,
                    lowest,
                    highest,
                    peak_percent: 100.0 * peak,
                })
                .collect(),
            series,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_turns_when_it_shrinks_after_it_grew() {
        let mut track = Track::default();
        for number in [4, 5, 5, 7, 7, 6, 5, 8] {
            track.wants(number);
        }
        assert_eq!((track.turns, track.lowest, track.highest), (2, 4, 8));
    }
}
