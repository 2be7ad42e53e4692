//! Fuzzes the TURN core and the prober's client without nightly: the inputs of `fuzz/corpus`, and mutations of them by a seeded RNG.
//!
//! ```text
//! cargo run --release -p media-node --features test-support --example fuzz-driver -- --seconds 60
//! ```
//!
//! The run fails if an input makes the core panic or break one of its promises, and also if it reached too little of
//! the core to mean anything. A failing input is written to `fuzz/artifacts` with the command that repeats it. The same
//! targets run under `cargo fuzz` with coverage: see `fuzz/Cargo.toml`.

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use media_node::{
    probe::session::fuzzing as prober,
    turn::proto::{Drop, Method, Outcome, ShardSnapshot, fuzzing},
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[derive(Parser)]
#[command(about = "Fuzzes the TURN core with a corpus and random mutations of it")]
struct Args {
    /// How long to run in all, seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Repeat a run; without it the seed is the time
    #[arg(long)]
    seed: Option<u64>,
    /// Run this input once instead
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
    /// The target of --input
    #[arg(long)]
    target: Option<Target>,
    /// Write fuzz/corpus anew instead
    #[arg(long)]
    write_corpus: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    Decode,
    Server,
    Prober,
}

impl Target {
    const ALL: [Self; 3] = [Self::Decode, Self::Server, Self::Prober];

    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Server => "server",
            Self::Prober => "prober",
        }
    }

    fn run(self, input: &[u8]) -> ShardSnapshot {
        match self {
            Self::Decode => {
                fuzzing::decode(input);
                ShardSnapshot::default()
            }
            Self::Server => fuzzing::server(input),
            Self::Prober => {
                prober::session(input);
                ShardSnapshot::default()
            }
        }
    }

    fn corpus(self) -> PathBuf {
        home().join("corpus").join(self.name())
    }
}

fn home() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args
        .seed
        .unwrap_or_else(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs()));
    let outcome = match (args.input, args.target) {
        (Some(input), Some(target)) => replay(target, &input),
        _ if args.write_corpus => write_corpus(),
        _ => Target::ALL.into_iter().try_for_each(|target| {
            // The others are simple and fast: a seventh of the time is plenty for each.
            let share = if target == Target::Server { 5 } else { 1 };
            fuzz(target, seed, Duration::from_secs(args.seconds) * share / 7)
        }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("fuzz-driver: {message}");
            ExitCode::FAILURE
        }
    }
}

fn replay(target: Target, input: &Path) -> Result<(), String> {
    target.run(&read(input)?);
    println!("{}: {} passes", target.name(), input.display());
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn fuzz(target: Target, seed: u64, time: Duration) -> Result<(), String> {
    let corpus = corpus(target)?;
    let mut reached = ShardSnapshot::default();
    for input in &corpus {
        reached += run(target, input, seed)?;
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let started = Instant::now();
    let mut executions = corpus.len();
    while started.elapsed() < time {
        reached += run(target, &mutated(&mut rng, &corpus, target), seed)?;
        executions += 1;
    }
    println!("{}: {executions} executions in {} s, seed {seed}: no fault", target.name(), time.as_secs());
    if target == Target::Server { everything_reached(&reached) } else { Ok(()) }
}

fn run(target: Target, input: &[u8], seed: u64) -> Result<ShardSnapshot, String> {
    catch_unwind(|| target.run(input)).map_err(|_| {
        let artifacts = home().join("artifacts").join(target.name());
        let file = artifacts.join(format!("{seed}-{:08x}", crc32fast::hash(input)));
        let written = std::fs::create_dir_all(&artifacts).and_then(|()| std::fs::write(&file, input));
        let kept = match written {
            Ok(()) => format!("repeat it with --target {} --input {}", target.name(), file.display()),
            Err(error) => format!("{}: {error}; the input is {input:02x?}", file.display()),
        };
        format!("{}: the panic above, seed {seed}; {kept}", target.name())
    })
}

fn corpus(target: Target) -> Result<Vec<Vec<u8>>, String> {
    let path = target.corpus();
    let missing = |error| format!("{}: {error}; write it with --write-corpus", path.display());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&path).map_err(missing)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("{} is empty: write it with --write-corpus", path.display()));
    }
    files.iter().map(|file| read(file)).collect()
}

/// One input of the corpus, changed in one to eight places.
fn mutated(rng: &mut StdRng, corpus: &[Vec<u8>], target: Target) -> Vec<u8> {
    const TELLING: [u8; 9] = [0, 1, 2, 4, 0x14, 0x20, 0x40, 0x80, 0xFF];
    let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..=8) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(1..=32)).min(bytes.len());
        match rng.random_range(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = TELLING[rng.random_range(0..TELLING.len())],
            2 if at < bytes.len() => bytes[at] = rng.random(),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            5 => {
                let other = &corpus[rng.random_range(0..corpus.len())];
                let from = rng.random_range(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            6 => drop(bytes.splice(at..at, (0..rng.random_range(1..=24)).map(|_| rng.random()).collect::<Vec<u8>>())),
            _ => bytes.truncate(bytes.len().max(8) - rng.random_range(0..8)),
        }
    }
    bytes.truncate(4096);
    // A wrong length field ends the parser's interest at once: three times of four it is put right.
    if target == Target::Decode && bytes.len() >= 20 && rng.random_range(0..4) != 0 {
        bytes.truncate(20 + (bytes.len() - 20) / 4 * 4);
        let length = u16::try_from(bytes.len() - 20).unwrap_or(u16::MAX);
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

/// What was counted, by name.
fn counted(snapshot: &ShardSnapshot) -> HashSet<String> {
    let mut names = HashSet::new();
    for &why in Drop::ALL {
        if snapshot.dropped(why) > 0 {
            names.insert(format!("drop {}", why.label()));
        }
    }
    for &method in Method::ALL {
        for &outcome in Outcome::ALL {
            if snapshot.requests(method, outcome) > 0 {
                names.insert(format!("{} {}", method.label(), outcome.label()));
            }
        }
    }
    for (name, count) in [("to peers", snapshot.packets_to_peers), ("to clients", snapshot.packets_to_clients)] {
        if count > 0 {
            names.insert(name.to_owned());
        }
    }
    names
}

/// A fuzzer that never gets past authentication proves nothing.
fn everything_reached(reached: &ShardSnapshot) -> Result<(), String> {
    let names = counted(reached);
    println!("server: reached {} kinds of answers, drops and relaying", names.len());
    let must = Method::ALL.iter().map(|method| format!("{} success", method.label()));
    let refusals = Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Success).map(|outcome| outcome.label());
    for name in must.chain(["to peers".to_owned(), "to clients".to_owned()]) {
        if !names.contains(&name) {
            return Err(format!("server: {name:?} was never reached: mend Event::read or the corpus"));
        }
    }
    for code in refusals {
        if !names.iter().any(|name| name.ends_with(code)) {
            return Err(format!("server: no request was answered {code}: mend Event::read or the corpus"));
        }
    }
    Ok(())
}

/// For the parser, a message of each kind. For the whole core, random inputs as long as they reach something new. For the
/// prober, those that make a server let it send packets.
fn write_corpus() -> Result<(), String> {
    for (name, bytes) in fuzzing::messages() {
        write(&Target::Decode.corpus().join(name), &bytes)?;
    }
    let mut rng = StdRng::seed_from_u64(1);
    let mut known = HashSet::new();
    for n in 0..30_000 {
        let len = rng.random_range(16..=400);
        let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        let names = counted(&Target::Server.run(&bytes));
        if !names.is_subset(&known) {
            known.extend(names);
            write(&Target::Server.corpus().join(format!("{n:05}")), &bytes)?;
        }
    }
    let mut found = 0;
    for n in 0..1_000_000 {
        let len = rng.random_range(16..=300);
        let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        if prober::session(&bytes) {
            found += 1;
            write(&Target::Prober.corpus().join(format!("{n:06}")), &bytes)?;
        }
        if found == 16 {
            break;
        }
    }
    println!("the corpus reaches {} kinds of answers, drops and relaying", known.len());
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(path, bytes))
        .map_err(|error| format!("{}: {error}", path.display()))
}
