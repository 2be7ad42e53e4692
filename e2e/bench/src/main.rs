//! Load for TURN servers on loopback. `make bench-turn` calls it; `bench help` says what else it can do.

// Counts of packets and nanoseconds stay far below 2^52.
#![allow(clippy::cast_precision_loss)]

mod clients;
mod exchange;
mod load;
mod packet;
mod process;
mod relaying;
mod row;
mod server;
mod session;
mod statistics;
mod streams;
mod table;
mod udp;

use std::path::{Path, PathBuf};
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
    #[arg(long, global = true, env = "BENCH_MARKDOWN")]
    markdown: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Args)]
struct Servers {
    /// The media-node to be measured
    #[arg(long, global = true, default_value = "target/release/media-node")]
    media_node: PathBuf,
    /// A coturn to compare it with, run as usual; empty: none
    #[arg(long, global = true, env = "COTURN_DEBIAN", default_value = "turnserver")]
    coturn: PathBuf,
    /// A second coturn, run with --multiplex-peer --udp-gso
    #[arg(long, global = true, env = "COTURN")]
    newest_coturn: Option<PathBuf>,
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
    match &command.what {
        What::Rows => {
            Row::all().for_each(|row| println!("{row}"));
            Ok(())
        }
        What::Relaying { settings, rows } => {
            let rows: Vec<String> = rows.iter().filter(|row| !row.is_empty()).cloned().collect();
            let rows = Row::chosen(&rows).map_err(anyhow::Error::msg)?;
            let programs = programs(&command.servers)?;
            process::raise_open_files()?;
            process::pin(settings.loader_core)?;
            let minutes = settings.duration(rows.len(), programs.len()).as_secs().div_ceil(60);
            println!("{} rows, about {minutes} minutes. {}\n", rows.len(), relaying::EXPLANATION);
            let table = relaying::run(&programs, &rows, settings, &command.directory)?;
            write(command.markdown.as_deref(), &table.markdown())
        }
    }
}

fn programs(servers: &Servers) -> Result<Vec<Program>> {
    let mut programs = vec![Program::media_node(&servers.media_node)?];
    if !servers.coturn.as_os_str().is_empty() {
        programs.push(Program::coturn(&servers.coturn, Kind::Coturn)?);
    }
    if let Some(path) = servers.newest_coturn.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        programs.push(Program::coturn(path, Kind::CoturnMultiplexed)?);
    }
    Ok(programs)
}

fn write(file: Option<&Path>, text: &str) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, text).with_context(|| file.display().to_string())
}
