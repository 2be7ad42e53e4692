//! The table of relayed packets: every row on every server, in turn, several times.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clients::{self, Clients};
use crate::load::{Load, Phase};
use crate::row::Row;
use crate::server::{Program, Server};
use crate::session::{self, Account};
use crate::statistics::{Ratio, median};
use crate::table::Table;

/// How it is measured; the same for every server.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Times that every row is measured on every server
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 3)]
    pub rounds: u32,
    /// Length of each of the two phases of a row, seconds
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 2.0)]
    pub seconds: f64,
    /// Packets a second of the second phase
    #[arg(long, env = "BENCH_RATE", default_value_t = 20_000)]
    pub rate: u32,
    /// Payload of a packet, bytes: a multiple of 4
    #[arg(long, env = "BENCH_PAYLOAD", default_value_t = 1200, value_parser = payload)]
    pub payload: usize,
    /// Packets under way in the first phase, 32 or more
    #[arg(long, env = "BENCH_WINDOW", default_value_t = 128, value_parser = clap::value_parser!(u64).range(32..=65536))]
    pub window: u64,
    #[command(flatten)]
    pub cores: crate::Cores,
}

fn payload(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ crate::packet::SMALLEST..=1400) if bytes % 4 == 0 => Ok(bytes),
        _ => Err(format!("write a multiple of 4 from {} to 1400", crate::packet::SMALLEST)),
    }
}

/// One server in one round of one row.
struct Sample {
    saturated: Phase,
    paced: Phase,
}

impl Sample {
    fn kpps(&self) -> f64 {
        self.saturated.received as f64 / self.saturated.lasted.as_secs_f64() / 1000.0
    }

    /// Microseconds.
    fn p(&self, percent: usize) -> f64 {
        self.paced.latencies.percentile(percent).unwrap_or_default().as_secs_f64() * 1e6
    }
}

impl Phase {
    /// CPU time of the server for each packet that arrived, microseconds.
    fn cost(&self) -> f64 {
        self.server.ran.as_secs_f64() * 1e6 / self.received as f64
    }

    fn delivered(&self) -> f64 {
        100.0 * self.received as f64 / self.sent as f64
    }

    /// How much of the time the server ran or wanted to.
    fn busy(&self) -> f64 {
        100.0 * (self.server.ran + self.server.waited).as_secs_f64() / self.lasted.as_secs_f64()
    }

    /// How much of the time others had a core while server or loader wanted it.
    fn disturbed(&self) -> f64 {
        100.0 * self.server.waited.max(self.loader.waited).as_secs_f64() / self.lasted.as_secs_f64()
    }
}

pub const EXPLANATION: &str = "\
kpps: thousand packets a second that arrived, with as much load as the server takes; `loader` behind it: the loader was \
the limit, the server had time left. µs: CPU time of the server for each packet that arrived. At the fixed rate: CPU time, \
and latency from the loader's sending to its receiving, ranked within tenths of a second and then the median of those. arrived: share of what was sent, in both phases. busy: share of \
the time that the server ran or wanted to, in the first phase. disturbed: share of the time that something else had the \
core of server or loader, in the worse phase: where it is more than a few percent, kpps and p99 say little. A server with \
several threads disturbs itself, too, and may be busy more than all of the time. Numbers are medians over the rounds. Ratios are the first server over that of the line, round by round: median \
(least..most).";

impl Settings {
    /// What it takes in all; a server is started and ended for each sample, and the loader waits for stragglers.
    pub fn duration(&self, rows: usize, programs: usize) -> Duration {
        let samples = f64::from(self.rounds) * (rows * programs) as f64;
        Duration::from_secs_f64(samples * (2.1 * self.seconds + 0.7))
    }
}

/// Measures `rows` on `programs`, the first of which is compared with the others.
pub fn run(programs: &[Program], rows: &[Row], settings: &Settings, directory: &Path) -> Result<Table> {
    let mut table = Table::new(&[
        "row",
        "server",
        "kpps",
        "µs",
        "µs at rate",
        "p50 µs",
        "p99 µs",
        "arrived",
        "busy",
        "disturbed",
        "ratio µs",
        "ratio µs at rate",
        "ratio p99",
    ]);
    for row in rows {
        let mut samples: Vec<Vec<Sample>> = programs.iter().map(|_| Vec::new()).collect();
        for round in 1..=settings.rounds {
            for (program, samples) in programs.iter().zip(&mut samples) {
                let sample = measure(program, *row, settings, directory)
                    .with_context(|| format!("{row}, round {round}, {}", program.name))?;
                samples.push(sample);
            }
        }
        for (program, of_program) in programs.iter().zip(&samples) {
            table.push(line(*row, program, of_program, &samples[0]));
        }
        table.print_new();
    }
    Ok(table)
}

fn measure(program: &Program, row: Row, settings: &Settings, directory: &Path) -> Result<Sample> {
    let mut server = Server::start(program, row.transport, settings.cores.server_core, directory)?;
    let mut clients = Clients::open(&server)?;
    let mut peers = clients::open_peers()?;
    let outcome = (|| {
        let sessions = session::open(&mut clients, &Account::new()?, 0..row.allocations, row.framing)?;
        let mut load = Load::new(&mut clients, &mut peers, sessions, row, settings.payload);
        let time = Duration::from_secs_f64(settings.seconds);
        // The first packets pay for memory, caches and routes.
        load.saturate(server.pid, time / 10, settings.window)?;
        let saturated = load.saturate(server.pid, time, settings.window)?;
        let paced = load.pace(server.pid, time, settings.rate)?;
        Ok(Sample { saturated, paced })
    })();
    match outcome {
        Err(error) if server.has_ended()? => {
            Err(error).context(format!("the server has gone:\n{}", server.last_words()))
        }
        other => other,
    }
}

fn line(row: Row, program: &Program, samples: &[Sample], ours: &[Sample]) -> Vec<String> {
    let middle = |value: fn(&Sample) -> f64| median(samples.iter().map(value)).unwrap_or_default();
    let limit = if middle(|sample| sample.saturated.busy()) < 95.0 { " loader" } else { "" };
    vec![
        row.to_string(),
        program.name.clone(),
        format!("{:.0}{limit}", middle(Sample::kpps)),
        format!("{:.2}", middle(|sample| sample.saturated.cost())),
        format!("{:.2}", middle(|sample| sample.paced.cost())),
        format!("{:.0}", middle(|sample| sample.p(50))),
        format!("{:.0}", middle(|sample| sample.p(99))),
        format!("{:.2} %", middle(|sample| sample.saturated.delivered().min(sample.paced.delivered()))),
        format!("{:.0} %", middle(|sample| sample.saturated.busy())),
        format!("{:.0} %", middle(|sample| sample.saturated.disturbed().max(sample.paced.disturbed()))),
        Ratio::cell(ours, samples, |sample| sample.saturated.cost()),
        Ratio::cell(ours, samples, |sample| sample.paced.cost()),
        Ratio::cell(ours, samples, |sample| sample.p(99)),
    ]
}
