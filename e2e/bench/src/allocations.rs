//! What an allocation costs: memory while it lives, and how many can be made a second.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use media_node::turn::proto::message::method;
use media_node::turn::proto::test_support::{Answer, Client};

use crate::clients::{self, Clients};
use crate::exchange::exchange;
use crate::load::Load;
use crate::process::{CpuTime, kernel_memory, resident};
use crate::row::{Direction, Framing, Row, Transport};
use crate::server::{Program, Server};
use crate::session::{self, Account, answer_method, refresh};
use crate::statistics::{Ratio, median};
use crate::table::Table;

#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Times that everything is measured on every server
    #[arg(long, env = "BENCH_ROUNDS", default_value_t = 3)]
    pub rounds: u32,
    /// How long allocations are made and deleted, seconds
    #[arg(long, env = "BENCH_SECONDS", default_value_t = 2.0)]
    pub seconds: f64,
    /// Live allocations while memory is measured
    #[arg(long, env = "BENCH_ALLOCATIONS", default_value_t = 5000)]
    pub allocations: usize,
    /// Clients that make and delete allocations at the same time
    #[arg(long, env = "BENCH_CLIENTS", default_value_t = 64)]
    pub clients: usize,
    #[command(flatten)]
    pub cores: crate::Cores,
}

struct Sample {
    /// Bytes an allocation.
    user: f64,
    kernel: f64,
    /// Made and deleted in a second.
    rate: f64,
    /// Of the server, for one that is made and deleted, microseconds.
    cost: f64,
    /// Percent of the time that the server ran or wanted to.
    busy: f64,
}

pub const EXPLANATION: &str = "\
memory: growth of the server's resident memory for each allocation with one channel, after a packet each way. kernel: \
growth of the machine's SUnreclaim in the same time, where sockets are; whatever else happens on the machine is in it. \
a second: allocations made with the whole exchange (401, Allocate, Refresh with lifetime 0), each from a new 5-tuple; \
`loader` behind it: the loader was the limit, the server had time left. µs: CPU time of the server for each of them; a \
core has room for 1000000 / µs a second. Ratios are the first server over that of the line: median (least..most).";

pub fn run(programs: &[Program], settings: &Settings, directory: &Path) -> Result<Table> {
    let titles = ["server", "memory B", "kernel B", "a second", "µs", "busy", "ratio memory", "ratio µs"];
    let mut table = Table::new(&titles);
    let mut samples: Vec<Vec<Sample>> = programs.iter().map(|_| Vec::new()).collect();
    for round in 1..=settings.rounds {
        for (program, samples) in programs.iter().zip(&mut samples) {
            let context = || format!("round {round}, {}", program.name);
            samples.push(measure(program, settings, directory).with_context(context)?);
        }
    }
    for (program, of_program) in programs.iter().zip(&samples) {
        table.push(line(program, of_program, &samples[0]));
    }
    table.print_new();
    Ok(table)
}

/// Memory and time on a server each: what one leaves behind would be counted by the other.
fn measure(program: &Program, settings: &Settings, directory: &Path) -> Result<Sample> {
    let core = settings.cores.server_core;
    let server = Server::start(program, Transport::Udp, core, directory)?;
    let (user, kernel) = memory(&server, settings.allocations)?;
    drop(server);
    let server = Server::start(program, Transport::Udp, core, directory)?;
    let time = Duration::from_secs_f64(settings.seconds);
    let (made, lasted, cpu) = churn(&server, settings.clients, time)?;
    Ok(Sample {
        user,
        kernel,
        rate: made as f64 / lasted.as_secs_f64(),
        cost: cpu.ran.as_secs_f64() * 1e6 / made as f64,
        busy: 100.0 * (cpu.ran + cpu.waited).as_secs_f64() / lasted.as_secs_f64(),
    })
}

fn memory(server: &Server, count: usize) -> Result<(f64, f64)> {
    /// Allocations that pay for what is allocated once.
    const FIRST: usize = 64;
    let mut clients = Clients::open(server)?;
    let mut peers = clients::open_peers()?;
    let account = Account::new()?;
    let row = Row {
        transport: Transport::Udp,
        framing: Framing::Channel,
        direction: Direction::Both,
        allocations: count,
        burst: 1,
    };
    let mut sessions = session::open(&mut clients, &account, 0..FIRST, row.framing)?;
    let (user, kernel) = (resident(server.pid)?, kernel_memory()?);
    sessions.extend(session::open(&mut clients, &account, FIRST..FIRST + count, row.framing)?);
    let both_ways = Duration::from_secs_f64(2.0 * sessions.len() as f64 / 20_000.0);
    Load::new(&mut clients, &mut peers, sessions, row, 200).pace(server.pid, both_ways, 20_000)?;
    let growth = |before: u64, after: u64| (after as f64 - before as f64) / count as f64;
    Ok((growth(user, resident(server.pid)?), growth(kernel, kernel_memory()?)))
}

/// How many were made and deleted, in what time.
fn churn(server: &Server, at_once: usize, time: Duration) -> Result<(u64, Duration, CpuTime)> {
    let mut clients = Clients::open(server)?;
    let account = Account::new()?;
    let began = Instant::now();
    let before = CpuTime::of(server.pid)?;
    let mut living: Vec<Option<Client>> = Vec::new();
    let mut made = 0;
    let next = |index: usize, answer: Option<Answer>| {
        if living.len() <= index {
            living.resize_with(index + 1, || None);
        }
        let client = living[index].get_or_insert_with(|| account.client(index));
        let Some(answer) = answer else { return Ok(Some(client.allocate().bare())) };
        Ok(match (answer_method(&answer), answer.code()) {
            (method::ALLOCATE, 401) => {
                client.learn(&answer);
                let draft = client.allocate();
                Some(client.sign(draft))
            }
            (method::ALLOCATE, 0) => Some(refresh(client, 0)),
            (method::REFRESH, 0) => {
                made += 1;
                living[index] = None;
                None
            }
            (asked, code) => bail!("{code} to method {asked:#x} after {made} allocations"),
        })
    };
    let members = (0..).take_while(|_| began.elapsed() < time);
    exchange(&mut clients, members, at_once, next, |_, _| {})?;
    Ok((made, began.elapsed(), CpuTime::of(server.pid)?.since(before)))
}

fn line(program: &Program, samples: &[Sample], ours: &[Sample]) -> Vec<String> {
    let middle = |value: fn(&Sample) -> f64| median(samples.iter().map(value)).unwrap_or_default();
    let limit = if middle(|sample| sample.busy) < 95.0 { " loader" } else { "" };
    vec![
        program.name.clone(),
        format!("{:.0}", middle(|sample| sample.user)),
        format!("{:.0}", middle(|sample| sample.kernel)),
        format!("{:.0}{limit}", middle(|sample| sample.rate)),
        format!("{:.1}", middle(|sample| sample.cost)),
        format!("{:.0} %", middle(|sample| sample.busy)),
        Ratio::cell(ours, samples, |sample| sample.user),
        Ratio::cell(ours, samples, |sample| sample.cost),
    ]
}
