//! The table, row by row.

use std::time::Duration;

use crate::fleet::Size;
use crate::operator::{Restart, Spent, Steady};

/// Of the whole run. Each part is printed when it is known: a run takes long, and may end before its end.
pub fn size(size: Size) {
    println!("\n{} TurnRegions, {} relays\n\n| | |\n|---|---|", size.regions, size.machines());
}

/// `spent` is an error where another process leads by now, which took over in the middle.
pub fn growth(converged: Duration, spent: &anyhow::Result<Spent>) {
    row("from the first TurnRegion to all relays Ready", format!("{:.0} s", converged.as_secs_f64()));
    match spent {
        Ok(spent) => {
            row("operator's processor time for it", format!("{:.1} s", spent.cpu_seconds));
            row("operator's requests for it", requests(spent));
            row("operator's memory afterwards, at the most", memory(spent));
        }
        Err(error) => row("what the operator took for it", format!("not known: {error}")),
    }
}

/// What kept the fleet from being steady, for whoever looks into it.
pub fn changes(changes: &[String]) {
    for change in changes {
        eprintln!("  {change}");
    }
}

pub fn steady(steady: &Steady) {
    let spent = &steady.spent;
    let span = spent.span.as_secs_f64();
    let (looks, connections) = (rate(steady.looks, span), rate(steady.connections, span));
    row(&format!("steady: writes in {span:.0} s"), spent.writes().to_string());
    row(&format!("steady: requests to the API server in {span:.0} s"), requests(spent));
    row("steady: looks at regions a second", format!("{:.1}", rate(spent.reconciles, span)));
    row("steady: looks at relays, new connections a second", format!("{looks:.0}, {connections:.1}"));
    row("steady: operator's processor", format!("{:.1} % of a core", 100.0 * spent.cpu_seconds / span));
    row("steady: operator's memory, at the most", memory(spent));
}

pub fn restart(restart: &Restart) {
    row("leader killed: another leads", format!("{:.1} s", restart.leads.as_secs_f64()));
    row("leader killed: every region looked at and Ready", format!("{:.1} s", restart.steady.as_secs_f64()));
    row(
        "leader killed: requests of the next, writes",
        format!("{}, {}", requests(&restart.spent), restart.spent.writes()),
    );
    row("leader killed: memory of the next, at the most", memory(&restart.spent));
}

fn row(what: &str, value: impl std::fmt::Display) {
    println!("| {what} | {value} |");
}

fn memory(spent: &Spent) -> String {
    format!("{:.0} MiB, {:.0} MiB", spent.resident, spent.peak)
}

#[allow(clippy::cast_precision_loss, reason = "counts of a few minutes")]
fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn requests(spent: &Spent) -> String {
    let all: Vec<_> = spent.requests.iter().map(|(verb, count)| format!("{count} {verb}")).collect();
    if all.is_empty() { "none".into() } else { all.join(", ") }
}
