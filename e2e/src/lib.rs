//! What the scenarios in `tests/` share. Every scenario has a namespace of its own, waits on conditions with a
//! deadline, and prints conditions, Events and logs when it fails. Machines are shared, so scenarios run one at a time
//! (`--test-threads=1`).

pub mod applied;
pub mod audit;
pub mod certificates;
pub mod checks;
pub mod cluster;
pub mod command;
pub mod cut;
pub mod diagnostics;
pub mod dns;
pub mod external_dns;
pub mod faults;
pub mod firewall;
pub mod images;
pub mod judges;
pub mod metrics_server;
pub mod monotonic;
pub mod namespace;
pub mod netns;
pub mod operator;
pub mod own_prober;
pub mod percentiles;
pub mod processes;
pub mod scenario;
pub mod schema;
pub mod stream;
pub mod turn;
pub mod wait;

/// A line that is shown whether or not the test succeeds: figures that somebody wants to read.
pub fn tell(line: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stderr(), "    {line}")?)
}
