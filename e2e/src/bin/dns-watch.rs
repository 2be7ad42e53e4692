//! Asks name servers for the A records of a name, each every 20 ms, and says what has changed. Usage: `dns-watch SECONDS NAME
//! SERVER…`. Ends after so many seconds, or when its standard input does.
//!
//! A line on standard output, its instant in nanoseconds of CLOCK_MONOTONIC:
//!
//! - `INSTANT SERVER ANSWER` for every change, with addresses (sorted), `empty`, `nxdomain`, `failed:…` or `no-answer`;
//! - `INSTANT` every 100 ms: all until then was said;
//! - `count SERVER ASKED ANSWERED UNANSWERED` in the end.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    dns::{self, Answer, Counts, Line, PATIENCE, Seen},
    monotonic::Moment,
};
use futures::future::try_join_all;
use tokio::{
    net::UdpSocket,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};

const PACE: Duration = Duration::from_millis(20);
const STATE: Duration = Duration::from_millis(100);

/// On one thread: so lines are in the order of their instants.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).context("for how many seconds?")?;
    let name = arguments.next().context("which name?")?;
    let mut watches = Vec::new();
    for server in arguments {
        watches.push(Watch::new(server.parse().with_context(|| server.clone())?, &name).await?);
    }
    ensure!(!watches.is_empty(), "which servers?");
    tokio::select! {
        failed = try_join_all(watches.iter_mut().map(Watch::go_on)) => { failed?; }
        failed = tell_state() => { failed?; }
        () = input_ends() => {}
        () = sleep(Duration::from_secs(seconds)) => {}
    }
    for watch in &watches {
        tell(&Line::Count(watch.server, watch.counts))?;
    }
    // Standard input may still be read, and that does not end.
    std::process::exit(0);
}

struct Watch<'a> {
    server: SocketAddr,
    name: &'a str,
    socket: UdpSocket,
    /// Of the last question.
    id: u16,
    /// Questions that wait for an answer, 50 at most, and since when.
    open: BTreeMap<u16, Instant>,
    said: Option<Answer>,
    counts: Counts,
}

impl<'a> Watch<'a> {
    async fn new(server: SocketAddr, name: &'a str) -> Result<Self> {
        let any: SocketAddr = if server.is_ipv4() { "0.0.0.0:0".parse()? } else { "[::]:0".parse()? };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(server).await.with_context(|| format!("no way to {server}"))?;
        let (open, said, counts) = (BTreeMap::new(), None, Counts::default());
        Ok(Self { server, name, socket, id: 0, open, said, counts })
    }

    async fn go_on(&mut self) -> Result<Infallible> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut datagram = [0; 1500];
        loop {
            tokio::select! {
                // What has arrived is read before anything is given up: this machine may have stood still.
                biased;
                received = self.socket.recv(&mut datagram) => match received {
                    Ok(length) => self.hear(&datagram[..length])?,
                    Err(_) => self.give_up(Duration::ZERO)?,
                },
                _ = pace.tick() => {
                    self.give_up(PATIENCE)?;
                    self.ask().await?;
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<()> {
        self.id = self.id.wrapping_add(1);
        let question = dns::write(self.name, self.id)?;
        self.open.insert(self.id, Instant::now());
        self.counts.asked += 1;
        if self.socket.send(&question).await.is_err() {
            self.give_up(Duration::ZERO)?;
        }
        Ok(())
    }

    fn hear(&mut self, datagram: &[u8]) -> Result<()> {
        match dns::read(datagram) {
            Some((id, answer)) if self.open.remove(&id).is_some() => {
                self.counts.answered += 1;
                self.say(answer)
            }
            _ => Ok(()),
        }
    }

    /// Questions that have waited for so long. An error of the socket, as when nobody listens there, is about all of them.
    fn give_up(&mut self, age: Duration) -> Result<()> {
        let before = self.open.len();
        self.open.retain(|_, since| since.elapsed() < age);
        let given_up = before - self.open.len();
        self.counts.unanswered += given_up as u64;
        if given_up > 0 { self.say(Answer::None) } else { Ok(()) }
    }

    fn say(&mut self, answer: Answer) -> Result<()> {
        if self.said.as_ref() != Some(&answer) {
            tell(&Line::Seen(Seen { at: Moment::now()?, server: self.server, answer: answer.clone() }))?;
            self.said = Some(answer);
        }
        Ok(())
    }
}

async fn tell_state() -> Result<Infallible> {
    let mut pace = interval(STATE);
    loop {
        pace.tick().await;
        tell(&Line::Until(Moment::now()?))?;
    }
}

/// However it ends, nobody is there any more.
async fn input_ends() {
    let _ = spawn_blocking(|| io::copy(&mut io::stdin().lock(), &mut io::sink())).await;
}

/// An error if nobody reads it any more.
fn tell(line: &Line) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
