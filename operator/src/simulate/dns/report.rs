//! What contestants came to, for people and for programs. Pure.

use serde::Serialize;

use super::contestant::Kind;
use super::history::Lived;
use super::{ABOUT, NAME};
use crate::table::{Align, Table};

/// A history in which more calls fail than this many more than without any failover was made worse.
const WORSE: f64 = 60.0;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub name: &'static str,
    pub about: &'static str,
    pub seed: u64,
    pub histories: usize,
    pub outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub policy: &'static str,
    pub calls: f64,
    pub failed: f64,
    /// In percent.
    pub availability: f64,
    /// Histories in which a second's calls more failed than with an answer that never changes.
    pub made_worse: usize,
    /// Seconds with an empty answer.
    pub empty_seconds: u32,
    /// Seconds in which a region that had never failed was out of the answer.
    pub wrong_seconds: u32,
    /// Seconds until a dead region was out: the middle one, and the one that 95 of 100 do not exceed.
    pub out_after_median: Option<u32>,
    pub out_after_p95: Option<u32>,
}

impl Comparison {
    /// `all`: for each history the lives of each contestant.
    pub fn of(seed: u64, all: &[Vec<Lived>]) -> Self {
        let never = Kind::ALL.iter().position(|kind| *kind == Kind::Never).unwrap_or_default();
        let outcomes = Kind::ALL.iter().enumerate().map(|(at, kind)| outcome(*kind, at, never, all)).collect();
        Self { name: NAME, about: ABOUT, seed, histories: all.len(), outcomes }
    }

    pub fn text(&self) -> String {
        let Self { name, about, seed, histories: _, outcomes } = self;
        let mut table = Table::new(&[
            ("policy", Align::Left),
            ("calls", Align::Right),
            ("failed", Align::Right),
            ("availability", Align::Right),
            ("made worse", Align::Right),
            ("empty s", Align::Right),
            ("wrong s", Align::Right),
            ("out after s", Align::Right),
            ("95 %", Align::Right),
        ]);
        let seconds = |found: Option<u32>| found.map_or("never".to_owned(), |seconds| seconds.to_string());
        for one in outcomes {
            table.row(vec![
                one.policy.to_owned(),
                format!("{:.0}", one.calls),
                format!("{:.0}", one.failed),
                format!("{:.3} %", one.availability),
                one.made_worse.to_string(),
                one.empty_seconds.to_string(),
                one.wrong_seconds.to_string(),
                seconds(one.out_after_median),
                seconds(one.out_after_p95),
            ]);
        }
        format!("{name} (seed {seed}): {about}\n\n{}", table.text(""))
    }

    pub fn json(&self) -> String {
        // Cannot fail: keys are strings, and no number is infinite.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

fn outcome(kind: Kind, at: usize, never: usize, all: &[Vec<Lived>]) -> Outcome {
    let lives = || all.iter().map(|history| &history[at]);
    let (calls, failed) = (lives().map(|life| life.calls).sum::<f64>(), lives().map(|life| life.failed).sum::<f64>());
    let mut out_after: Vec<Option<u32>> = lives().flat_map(|life| life.out_after.clone()).collect();
    // What never left comes last.
    out_after.sort_unstable_by_key(|seconds| seconds.unwrap_or(u32::MAX));
    let part = |percent: usize| out_after.get((out_after.len() * percent / 100).min(out_after.len().saturating_sub(1)));
    Outcome {
        policy: kind.name(),
        calls,
        failed,
        availability: if calls > 0.0 { 100.0 * (1.0 - failed / calls) } else { 100.0 },
        made_worse: all.iter().filter(|history| history[at].failed > history[never].failed + WORSE).count(),
        empty_seconds: lives().map(|life| life.empty).sum(),
        wrong_seconds: lives().map(|life| life.wrong).sum(),
        out_after_median: part(50).copied().flatten(),
        out_after_p95: part(95).copied().flatten(),
    }
}
