//! Many allocations on one server for a long time: refreshed, with traffic on all of them, and nothing lost or growing.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::clients::{self, Clients};
use crate::load::Load;
use crate::process::resident;
use crate::row::{Direction, Framing, Row, Transport};
use crate::server::{Program, Server};
use crate::session::{self, Account};

#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// How long, seconds
    #[arg(long, env = "BENCH_SOAK_SECONDS", default_value_t = 600)]
    pub seconds: u64,
    /// Live allocations
    #[arg(long, env = "BENCH_SOAK_ALLOCATIONS", default_value_t = 10_000)]
    pub allocations: usize,
    /// Packets a second over all of them, both directions together
    #[arg(long, env = "BENCH_SOAK_RATE", default_value_t = 10_000)]
    pub rate: u32,
    /// Payload of a packet, bytes: that of an audio packet
    #[arg(long, default_value_t = 160)]
    pub payload: usize,
    #[command(flatten)]
    pub cores: crate::Cores,
}

/// Every allocation is refreshed, and its channel bound again, once in this time: half of the 5 minutes that a
/// permission lives for, which a ChannelBind renews, too.
const UPKEEP: Duration = Duration::from_secs(150);
/// A few packets are due after it.
const NAP: Duration = Duration::from_micros(300);
/// How much more memory a server may have in the end than after its first tenth, percent.
const GROWTH: f64 = 5.0;

/// Returns what is to be told; an error if anything was lost or refused, or grew.
pub fn run(program: &Program, settings: &Settings, directory: &Path) -> Result<String> {
    let mut server = Server::start(program, Transport::Udp, settings.cores.server_core, directory)?;
    let mut clients = Clients::open(&server)?;
    let mut peers = clients::open_peers()?;
    let row = Row {
        transport: Transport::Udp,
        framing: Framing::Channel,
        direction: Direction::Both,
        allocations: settings.allocations,
        burst: 1,
    };
    let count = row.allocations;
    let empty = resident(server.pid)?;
    let sessions = session::open(&mut clients, &Account::new()?, 0..count, row.framing)?;
    println!("{}: {count} allocations are open; for {} s from now", program.name, settings.seconds);
    let mut load = Load::new(&mut clients, &mut peers, sessions, row, settings.payload);

    load.nap = Some(NAP);
    let began = Instant::now();
    let whole = Duration::from_secs(settings.seconds);
    let mut refreshed = 0;
    let mut memory: Vec<u64> = Vec::new();
    while began.elapsed() < whole {
        load.pace(server.pid, Duration::from_secs(1), settings.rate).with_context(|| gone(&mut server))?;
        // As many as are due by now; every one is asked again and again, in turn.
        let due = usize::try_from(count as u128 * began.elapsed().as_millis() / UPKEEP.as_millis())?;
        while refreshed < due {
            let from = refreshed % count;
            let to = count.min(from + (due - refreshed));
            load.upkeep(from..to, row.framing).with_context(|| gone(&mut server))?;
            refreshed += to - from;
        }
        memory.push(resident(server.pid)?);
        if memory.len().is_multiple_of(10) {
            let (seconds, (sent, received)) = (began.elapsed().as_secs(), load.totals());
            let resident = memory.last().copied().map(mib).unwrap_or_default();
            println!("{seconds:>5} s  {received} of {sent} packets  {refreshed} refreshes  {resident} resident");
        }
    }
    let (sent, received) = load.totals();
    let settled = memory[memory.len() / 10];
    let end = resident(server.pid)?;
    let growth = 100.0 * (end as f64 - settled as f64) / settled as f64;
    let text = format!(
        "{}: {count} allocations for {} s: {received} of {sent} packets arrived, {refreshed} refreshes with channel binds \
         answered; resident: {} before, {} with all allocations, {} after a tenth of the time, {} at the end ({growth:+.1} %)",
        program.name,
        began.elapsed().as_secs(),
        mib(empty),
        mib(memory[0]),
        mib(settled),
        mib(end),
    );
    if received != sent {
        bail!("{text}\npackets were lost");
    }
    if growth > GROWTH {
        bail!("{text}\nthat is more than {GROWTH} % growth");
    }
    Ok(text)
}

fn gone(server: &mut Server) -> String {
    match server.has_ended() {
        Ok(true) => format!("the server has gone:\n{}", server.last_words()),
        _ => "the server still runs".to_owned(),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
