//! Mutated packets at a running media-node, through its sockets: it must not crash, hang, grow or amplify.
//!
//! Packets go in batches, each from an address of its own; a Binding request behind each batch is answered when the server,
//! which has one thread and one listener, is through with all before it. So every answer is known by what it answers.

mod mutate;
mod tally;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use media_node::turn::proto::fuzzing;
use media_node::turn::proto::message::method;
use media_node::turn::proto::test_support::{Answer, Client};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::clients::{self, Clients};
use crate::exchange::{exchange, is_answer};
use crate::process::resident;
use crate::row::{Framing, Transport};
use crate::server::{Program, Server};
use crate::session::{self, Account, Session};
use tally::{Answered, Sender, Tally};

#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Packets to send
    #[arg(long, env = "BENCH_PACKETS", default_value_t = 10_000_000)]
    pub packets: u64,
    /// Repeat a run: the same packets, but for nonces and times
    #[arg(long, env = "BENCH_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Corpus of the fuzzer, part of what is mutated
    #[arg(long, default_value = "media-node/fuzz/corpus")]
    pub corpus: PathBuf,
    #[command(flatten)]
    pub cores: crate::Cores,
}

/// Packets between two looks at whether the server is through.
const BATCH: usize = 64;
/// The first of these addresses in each batch are members, the others strangers.
const MEMBERS: usize = 24;
/// Batches until members that have been mutated out of their allocations are replaced.
const LIFE: u64 = 100;
/// The largest answer to a stranger, in sizes of the request on the wire.
const AMPLIFICATION: f64 = 3.0;
/// How much more memory there may be at the end than after a tenth of the packets, bytes.
const GROWTH: u64 = 8 << 20;
/// The address of the Binding request behind a batch.
const SENTINEL: usize = BATCH;
/// The sentinel is asked again after this time, so often.
const REPEAT: Duration = Duration::from_millis(200);
const TRIES: u32 = 25;

/// Returns the report; an error if the server did anything that it must not.
pub fn run(program: &Program, settings: &Settings, directory: &Path) -> Result<String> {
    let mut server = Server::start(program, Transport::Udp, settings.cores.server_core, directory)?;
    let outcome = bombard(&server, settings);
    if server.has_ended()? {
        bail!("the server has gone, seed {}; its last words:\n{}", settings.seed, server.last_words());
    }
    outcome
}

fn bombard(server: &Server, settings: &Settings) -> Result<String> {
    let mut clients = Clients::open(server)?;
    // Open, so that what is relayed to peers is counted and no ICMP error.
    let mut peers = clients::open_peers()?;
    let account = Account::new()?;
    let mut random = StdRng::seed_from_u64(settings.seed);
    let mut corpus = read_corpus(&settings.corpus)?;
    let mut tally = Tally::default();
    let mut members = Vec::new();
    let (mut recorded, mut memory, mut relayed) = (Vec::new(), Vec::new(), 0_u64);
    let batches = settings.packets.div_ceil(BATCH as u64);
    let began = Instant::now();
    for batch in 0..batches {
        if batch % LIFE == 0 {
            close(&mut clients, &mut members)?;
            members = session::open(&mut clients, &account, 0..MEMBERS, Framing::Channel)?;
            corpus.truncate(corpus.len() - recorded.len());
            recorded = exchanges(&mut members);
            corpus.extend(recorded.iter().cloned());
        }
        let packets: Vec<Vec<u8>> = (0..BATCH)
            .map(|sender| match members.get_mut(sender) {
                Some(member) if random.random() => {
                    mutate::signed_nonsense(&mut random, &mut member.client, member.peer)
                }
                Some(_) => mutate::changed(&mut random, &recorded),
                None => mutate::changed(&mut random, &corpus),
            })
            .collect();
        let answers = answers_to(&mut clients, &packets, batch)
            .with_context(|| format!("seed {}, batch {batch}:\n{}", settings.seed, hexadecimal(&packets)))?;
        for (sender, (packet, answers)) in packets.iter().zip(&answers).enumerate() {
            let who = if sender < MEMBERS { Sender::Member } else { Sender::Stranger };
            let ratio = tally.add(who, packet, answers);
            if who == Sender::Stranger && (ratio > AMPLIFICATION || answers.len() > 1) {
                bail!("{ratio:.2} times its size in {} answers to a stranger: {packet:02x?}", answers.len());
            }
        }
        while let count @ 1.. = peers.receive(|_, _, _| {})? {
            relayed += count as u64;
        }
        if batch % batches.div_ceil(100) == 0 {
            memory.push(resident(server.pid)?);
        }
        if batch % batches.div_ceil(10) == 0 {
            println!("{} packets", batch * BATCH as u64);
        }
    }
    close(&mut clients, &mut members)?;
    let sent = batches * BATCH as u64;
    let table = tally.table();
    let settled = memory[memory.len() / 10];
    let end = resident(server.pid)?;
    let report = format!(
        "{sent} packets, seed {}, in {} s: the server runs and answers; {relayed} were relayed to peers. Resident: {} KiB at \
         the beginning, {} KiB after a tenth, {} KiB at the end.\n\n{}",
        settings.seed,
        began.elapsed().as_secs(),
        memory[0] >> 10,
        settled >> 10,
        end >> 10,
        table.markdown()
    );
    if tally.successes() == 0 {
        bail!("{report}\nno member was ever answered with success: nothing behind authentication was reached");
    }
    if end > settled + GROWTH {
        bail!("{report}\nmemory has grown by more than {} KiB", GROWTH >> 10);
    }
    Ok(report)
}

/// Messages of all kinds, from files and made here.
fn read_corpus(directory: &Path) -> Result<Vec<Vec<u8>>> {
    let mut corpus: Vec<Vec<u8>> = fuzzing::messages().into_iter().map(|(_, bytes)| bytes).collect();
    for target in ["decode", "server"] {
        let path = directory.join(target);
        let mut files = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
            files.push(entry?.path());
        }
        // Directories come in any order; a seed is to give the same packets everywhere.
        files.sort();
        for file in files {
            corpus.push(fs::read(&file).with_context(|| file.display().to_string())?);
        }
    }
    Ok(corpus)
}

/// What members would really send now.
fn exchanges(members: &mut [Session]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for member in members {
        let (peer, client) = (member.peer, &mut member.client);
        found.push(client.allocate().bare());
        let draft = client.allocate();
        found.push(client.sign(draft));
        for asked in [method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND] {
            let draft = client.request(asked).peer(peer);
            found.push(client.sign(draft));
        }
        found.push(session::refresh(client, 600));
        found.push(client.send(peer, b"what a client would send"));
        found.push([&session::CHANNEL.to_be_bytes()[..], &[0, 8], b"8 bytes."].concat());
    }
    found
}

/// Deletes what is left of the members, so that memory is compared with nobody there. A member may have lost its
/// allocation to its own mutations.
fn close(clients: &mut Clients, members: &mut [Session]) -> Result<()> {
    let count = members.len();
    let next = |index: usize, answer: Option<Answer>| {
        let client: &mut Client = &mut members[index].client;
        match answer {
            Some(answer) if answer.code() != 438 => return Ok(None),
            Some(answer) => client.learn(&answer),
            None => {}
        }
        Ok(Some(session::refresh(client, 0)))
    };
    exchange(clients, 0..count, BATCH, next, |_, _| {})
}

/// The answers to each packet.
fn answers_to(clients: &mut Clients, packets: &[Vec<u8>], batch: u64) -> Result<Vec<Vec<Answered>>> {
    let mut answers: Vec<Vec<Answered>> = vec![Vec::new(); packets.len()];
    for (sender, packet) in packets.iter().enumerate() {
        // An empty packet would need no segment size.
        clients.send(sender, packet, packet.len().max(1))?;
    }
    let mut sentinel = Account::nobody(SENTINEL);
    sentinel.transactions = batch;
    let request = sentinel.request(method::BINDING).bare();
    for _ in 0..TRIES {
        clients.send(SENTINEL, &request, request.len())?;
        let asked = Instant::now();
        let mut is_through = false;
        while !is_through && asked.elapsed() < REPEAT {
            clients.receive(|sender, message| match answers.get_mut(sender) {
                // To a member, data may come as well, from a member whose packet was for its relayed address.
                Some(answers) if sender >= MEMBERS || is_answer(message) => answers.push(Answered::read(message)),
                Some(_) => {}
                None => is_through |= message.len() >= 20 && message[8..20] == request[8..20],
            })?;
        }
        if is_through {
            return Ok(answers);
        }
    }
    bail!("no answer to a Binding request within {:?}", REPEAT * TRIES)
}

fn hexadecimal(packets: &[Vec<u8>]) -> String {
    let line = |packet: &Vec<u8>| packet.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    packets.iter().map(line).collect()
}
