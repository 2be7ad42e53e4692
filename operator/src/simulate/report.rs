//! What policies came to, for people and for programs. Pure.

use serde::Serialize;

use super::tally::Outcome;
use super::{dns, traces};
use crate::table::{Align, Table};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub trace: &'static str,
    pub about: &'static str,
    pub seed: u64,
    pub outcomes: Vec<Outcome>,
}

impl Report {
    pub fn text(&self) -> String {
        let Self { trace, about, seed, outcomes } = self;
        let mut table = Table::new(&[
            ("policy", Align::Left),
            ("calls", Align::Right),
            ("refused", Align::Right),
            ("cut: loss", Align::Right),
            ("cut: end", Align::Right),
            ("machine-h", Align::Right),
            ("mean %", Align::Right),
            ("peak %", Align::Right),
            ("wanted", Align::Right),
            ("turns", Align::Right),
        ]);
        for one in outcomes {
            table.row(vec![
                one.policy.clone(),
                one.calls.to_string(),
                one.refused.to_string(),
                one.cut.lost.to_string(),
                (one.cut.deadline + one.cut.early).to_string(),
                format!("{:.1}", one.machine_hours),
                format!("{:.0}", one.mean_percent),
                format!("{:.0}", one.peak_percent),
                format!("{}-{}", one.lowest, one.highest),
                one.turns.to_string(),
            ]);
        }
        format!("{trace} (seed {seed}): {about}\n\n{}", table.text(""))
    }

    pub fn json(&self) -> String {
        // Cannot fail: keys are strings, and no number is infinite.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// The traces there are.
pub fn list() -> String {
    let mut table = Table::new(&[("trace", Align::Left), ("what happens", Align::Left)]);
    for (name, about) in traces::ALL.iter().map(|known| (known.name, known.about)).chain([(dns::NAME, dns::ABOUT)]) {
        table.row(vec![name.to_owned(), about.to_owned()]);
    }
    table.text("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_is_told_in_a_line() {
        let list = list();
        assert_eq!(list.lines().count(), traces::ALL.len() + 2);
        assert!(list.lines().all(|line| line.len() < 140), "{list}");
    }
}
