//! The table.

use std::fmt;
use std::time::Duration;

use crate::fleet::Size;
use crate::operator::{Restart, Spent, Steady};

pub struct Report {
    pub size: Size,
    pub converged: Duration,
    pub growth: Spent,
    pub steady: Steady,
    pub restart: Restart,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, converged, growth, steady, restart } = self;
        let spent = &steady.spent;
        let span = spent.span.as_secs_f64();
        writeln!(out, "\n{} TurnRegions, {} relays\n", size.regions, size.machines())?;
        writeln!(out, "| | |\n|---|---|")?;
        writeln!(out, "| from the first TurnRegion to all relays Ready | {:.0} s |", converged.as_secs_f64())?;
        writeln!(out, "| operator's processor time for it | {:.1} s |", growth.cpu_seconds)?;
        writeln!(out, "| operator's requests for it | {} |", requests(growth))?;
        writeln!(
            out,
            "| operator's memory afterwards, at the most | {:.0} MiB, {:.0} MiB |",
            growth.resident, growth.peak
        )?;
        writeln!(out, "| steady: writes in {span:.0} s | {} |", spent.writes())?;
        writeln!(out, "| steady: requests to the API server in {span:.0} s | {} |", requests(spent))?;
        writeln!(out, "| steady: looks at regions a second | {:.1} |", rate(spent.reconciles, span))?;
        writeln!(
            out,
            "| steady: looks at relays, new connections a second | {:.0}, {:.1} |",
            rate(steady.looks, span),
            rate(steady.connections, span)
        )?;
        writeln!(out, "| steady: operator's processor | {:.1} % of a core |", 100.0 * spent.cpu_seconds / span)?;
        writeln!(out, "| steady: operator's memory, at the most | {:.0} MiB, {:.0} MiB |", spent.resident, spent.peak)?;
        writeln!(out, "| leader killed: another leads | {:.1} s |", restart.leads.as_secs_f64())?;
        writeln!(out, "| leader killed: every region looked at and Ready | {:.1} s |", restart.steady.as_secs_f64())?;
        writeln!(
            out,
            "| leader killed: requests of the next, writes | {}, {} |",
            requests(&restart.spent),
            restart.spent.writes()
        )?;
        writeln!(out, "| leader killed: memory of the next, at the most | {:.0} MiB |", restart.spent.peak)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few minutes")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn requests(spent: &Spent) -> String {
    let all: Vec<_> = spent.requests.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}
