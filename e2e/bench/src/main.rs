//! Load for TURN servers on loopback. `make bench-turn` calls it; `bench help` says what else it can do.

// Counts of packets and nanoseconds stay far below 2^52.
#![allow(clippy::cast_precision_loss)]

mod allocations;
mod clients;
mod exchange;
mod load;
mod mutations;
mod packet;
mod process;
mod relaying;
mod row;
mod server;
mod session;
mod soak;
mod statistics;
mod streams;
mod table;
mod udp;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use relaying::Settings;
use row::Row;
use server::{Kind, Program};

#[derive(Parser)]
#[command(name = "bench", about = "Measures TURN servers side by side, on one core of this machine")]
struct Command {
    #[command(flatten)]
    servers: Servers,
    /// Directory for configurations and logs of the servers
    #[arg(long, global = true, default_value = "/tmp/rtc-fleet-bench")]
    directory: PathBuf,
    /// File to which the tables are written as markdown
    #[arg(long, global = true)]
    markdown: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Args)]
struct Servers {
    /// The media-node to be measured; `none`: none
    #[arg(long, global = true, env = "BENCH_MEDIA_NODE", default_value = "target/release/media-node")]
    media_node: PathBuf,
    /// A coturn to compare it with, run as usual; `none`: none
    #[arg(long, global = true, env = "COTURN_DEBIAN", default_value = "turnserver")]
    coturn: PathBuf,
    /// A second coturn, run with --multiplex-peer --udp-gso
    #[arg(long, global = true, env = "COTURN", default_value = "none")]
    newest_coturn: PathBuf,
}

/// Where server and loader run.
#[derive(Clone, Debug, Args)]
struct Cores {
    /// The core of the server
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core of the loader
    #[arg(long, default_value_t = 1)]
    loader_core: usize,
}

#[derive(Subcommand)]
enum What {
    /// Packets relayed: CPU time for each, the most a second, latency
    Relaying {
        #[command(flatten)]
        settings: Settings,
        /// Rows, by parts of their names, such as `udp/channel/to-peer/50`, separated by commas
        #[arg(long, env = "BENCH_ROWS", value_delimiter = ',')]
        rows: Vec<String>,
    },
    /// Allocations: memory for each, and how many a second
    Allocations {
        #[command(flatten)]
        settings: allocations::Settings,
    },
    /// Many live allocations for a long time, on media-node alone
    Soak {
        #[command(flatten)]
        settings: soak::Settings,
    },
    /// Mutated packets at media-node: it must not crash, hang, grow or amplify
    Mutations {
        #[command(flatten)]
        settings: mutations::Settings,
    },
    /// The names of all rows
    Rows,
}

fn main() -> ExitCode {
    match run(&Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    let Command { servers, directory, markdown, what } = command;
    let told = match what {
        What::Rows => {
            Row::all().for_each(|row| println!("{row}"));
            return Ok(());
        }
        What::Relaying { settings, rows } => {
            let rows: Vec<String> = rows.iter().filter(|row| !row.is_empty()).cloned().collect();
            let rows = Row::chosen(&rows).map_err(anyhow::Error::msg)?;
            let programs = programs(servers)?;
            settle(&settings.cores)?;
            let minutes = settings.duration(rows.len(), programs.len()).as_secs().div_ceil(60);
            println!("{} rows, about {minutes} minutes. {}\n", rows.len(), relaying::EXPLANATION);
            relaying::run(&programs, &rows, settings, directory)?.markdown()
        }
        What::Allocations { settings } => {
            let programs = programs(servers)?;
            settle(&settings.cores)?;
            println!("{}\n", allocations::EXPLANATION);
            allocations::run(&programs, settings, directory)?.markdown()
        }
        What::Mutations { settings } => {
            let program = Program::media_node(&servers.media_node)?;
            settle(&settings.cores)?;
            let text = mutations::run(&program, settings, directory)?;
            println!("{text}");
            text
        }
        What::Soak { settings } => {
            let program = Program::media_node(&servers.media_node)?;
            settle(&settings.cores)?;
            let text = soak::run(&program, settings, directory)?;
            println!("{text}");
            text
        }
    };
    let Some(file) = markdown else { return Ok(()) };
    std::fs::write(file, told).with_context(|| file.display().to_string())
}

/// Before any server is started, which inherits the limit.
fn settle(cores: &Cores) -> Result<()> {
    process::raise_open_files()?;
    process::pin(cores.loader_core)
}

fn programs(servers: &Servers) -> Result<Vec<Program>> {
    let given = |path: &PathBuf| path.as_os_str() != "none";
    let mut programs = Vec::new();
    if given(&servers.media_node) {
        programs.push(Program::media_node(&servers.media_node)?);
    }
    if given(&servers.coturn) {
        programs.push(Program::coturn(&servers.coturn, Kind::Coturn)?);
    }
    if given(&servers.newest_coturn) {
        programs.push(Program::coturn(&servers.newest_coturn, Kind::CoturnMultiplexed)?);
    }
    Ok(programs)
}
