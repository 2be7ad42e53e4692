//! Load on one server: as much as it takes, or so many packets a second.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::unistd::Pid;

use crate::clients::{self, Clients};
use crate::exchange::exchange;
use crate::packet::{self, Burst, Clock, Stamp};
use crate::process::CpuTime;
use crate::row::{Direction, Framing, Row};
use crate::session::{self, Session};
use crate::statistics::Latencies;
use crate::udp::Socket;

/// Without any packet for so long, what is under way is given up as lost.
const SILENCE: Duration = Duration::from_millis(20);
/// After a phase, the loader waits for stragglers until nothing has come for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Packets sent before the loader looks at what has arrived: often enough to keep its own queues short, and seldom enough
/// that looking costs it little.
const TRAIN: u64 = 32;
/// Sessions that are kept alive at a time.
const UPKEEP_WINDOW: usize = 16;

/// What a phase has shown.
#[derive(Clone, Debug)]
pub struct Phase {
    pub sent: u64,
    pub received: u64,
    pub lasted: Duration,
    /// The server's time on its core, and what it waited for it.
    pub server: CpuTime,
    pub loader: CpuTime,
    /// Of a paced phase.
    pub latencies: Latencies,
}

/// One direction of traffic.
struct Flow {
    direction: Direction,
    burst: Burst,
    count: u64,
    /// Sequence number of the next packet, and of the next that is expected to arrive.
    next: u64,
    expected: u64,
    received: u64,
    /// Whose turn it is.
    turn: usize,
}

pub struct Load<'a> {
    clients: &'a mut Clients,
    peers: &'a mut Socket,
    sessions: Vec<Session>,
    flows: Vec<Flow>,
    clock: Clock,
    /// Payload bytes.
    payload: usize,
    latencies: Option<Latencies>,
    /// Of the last packet, in either direction.
    heard: Duration,
    /// Slept between two looks, where latency is not asked for and the core is wanted by others; else the loader spins.
    pub nap: Option<Duration>,
}

impl<'a> Load<'a> {
    pub fn new(
        clients: &'a mut Clients,
        peers: &'a mut Socket,
        mut sessions: Vec<Session>,
        row: Row,
        payload: usize,
    ) -> Self {
        let directions: &[Direction] = match row.direction {
            Direction::ToPeer => &[Direction::ToPeer],
            Direction::ToClient => &[Direction::ToClient],
            Direction::Both => &[Direction::ToPeer, Direction::ToClient],
        };
        let flow = |direction: &Direction| Flow {
            direction: *direction,
            burst: Burst::new(*direction, row.framing, &mut sessions, payload, row.burst),
            count: row.burst as u64,
            next: 0,
            expected: 0,
            received: 0,
            turn: 0,
        };
        let flows = directions.iter().map(flow).collect();
        let clock = Clock::start();
        Self { clients, peers, sessions, flows, clock, payload, latencies: None, heard: Duration::ZERO, nap: None }
    }

    /// As much as the server takes with `window` packets under way: the window is opened by what arrives, so that a
    /// slow server is not flooded and a fast one never waits. What is lost is seen by the numbers that follow.
    pub fn saturate(&mut self, server: Pid, time: Duration, window: u64) -> Result<Phase> {
        let window = window / self.flows.len() as u64;
        self.phase(server, time, |load, _| {
            let silent = load.clock.since(load.heard) > SILENCE;
            for index in 0..load.flows.len() {
                let flow = &mut load.flows[index];
                if silent {
                    flow.expected = flow.next;
                }
                let room = window.saturating_sub(flow.next - flow.expected);
                for _ in 0..room.min(TRAIN) / flow.count {
                    load.send(index)?;
                }
            }
            if silent {
                load.heard = load.clock.now();
            }
            Ok(())
        })
    }

    /// `rate` packets a second over all flows, evenly spaced but for the bursts. A loader that fell behind makes up for
    /// ten bursts at the most: more would be a load that nobody asked for.
    pub fn pace(&mut self, server: Pid, time: Duration, rate: u32) -> Result<Phase> {
        let bursts = f64::from(rate) / self.flows[0].count as f64;
        let gap = Duration::from_secs_f64(1.0 / bursts);
        let mut due = self.clock.now();
        let mut flow = 0;
        self.latencies = Some(Latencies::default());
        let phase = self.phase(server, time, |load, now| {
            due = due.max(now.saturating_sub(10 * gap));
            while due <= now {
                due += gap;
                flow = (flow + 1) % load.flows.len();
                load.send(flow)?;
            }
            Ok(())
        });
        let latencies = self.latencies.take().unwrap_or_default();
        phase.map(|phase| Phase { latencies, ..phase })
    }

    /// Packets sent and received since the beginning, in both directions together.
    pub fn totals(&self) -> (u64, u64) {
        self.flows.iter().fold((0, 0), |(sent, received), flow| (sent + flow.next, received + flow.received))
    }

    /// Calls `step` and receives, for `time`; what arrives late is counted, too.
    fn phase(
        &mut self,
        server: Pid,
        time: Duration,
        mut step: impl FnMut(&mut Self, Duration) -> Result<()>,
    ) -> Result<Phase> {
        let (sent, received) = self.totals();
        let (server_before, loader_before) = (CpuTime::of(server)?, CpuTime::of(Pid::this())?);
        let began = self.clock.now();
        self.heard = began;
        let mut now = began;
        while now < began + time {
            step(self, now)?;
            self.receive()?;
            if let Some(nap) = self.nap {
                std::thread::sleep(nap);
            }
            now = self.clock.now();
        }
        let lasted = now.saturating_sub(began);
        while self.clock.since(self.heard.max(now)) < QUIET {
            self.receive()?;
        }
        // What is left of the window is done while we wait for it, so it belongs to both sums.
        let server = CpuTime::of(server)?.since(server_before);
        let loader = CpuTime::of(Pid::this())?.since(loader_before);
        let (sent_after, received_after) = self.totals();
        for flow in &mut self.flows {
            flow.expected = flow.next;
        }
        let (sent, received) = (sent_after - sent, received_after - received);
        if received == 0 {
            bail!("none of {sent} packets arrived");
        }
        Ok(Phase { sent, received, lasted, server, loader, latencies: Latencies::default() })
    }

    /// One burst for the next session, unless the kernel does not take it now.
    fn send(&mut self, flow: usize) -> Result<()> {
        let flow = &mut self.flows[flow];
        let session = &self.sessions[flow.turn];
        let segment = flow.burst.segment;
        let messages = flow.burst.fill(flow.turn, flow.next, self.clock.now());
        let taken = match (flow.direction, session.peer.ip()) {
            (Direction::ToClient, std::net::IpAddr::V4(peer)) => {
                self.peers.send(peer, session.relayed, messages, segment)?
            }
            _ => self.clients.send(flow.turn, messages, segment)?,
        };
        if taken {
            flow.next += flow.count;
            flow.turn = (flow.turn + 1) % self.sessions.len();
        }
        Ok(())
    }

    /// Does for `members` what keeps them alive; data that arrives meanwhile is counted.
    pub fn upkeep(&mut self, members: Range<usize>, framing: Framing) -> Result<()> {
        let Self { clients, sessions, flows, payload, .. } = self;
        let mut towards_client = flows.iter_mut().find(|flow| flow.direction == Direction::ToClient);
        let mut wrong = 0_u64;
        exchange(
            clients,
            members,
            UPKEEP_WINDOW,
            |index, answer| session::upkeep(&mut sessions[index], framing, answer.as_ref()),
            |client, message| {
                let data = packet::unwrapped(message);
                let stamp =
                    towards_client.as_mut().and_then(|flow| flow.arrived(data, *payload, |whose| whose == client));
                wrong += u64::from(stamp.is_none());
            },
        )?;
        all_right(wrong)
    }

    fn receive(&mut self) -> Result<()> {
        let (payload, latencies, clock) = (self.payload, &mut self.latencies, self.clock);
        let mut wrong = 0_u64;
        let mut any = false;
        for flow in &mut self.flows {
            let mut now = None;
            let mut note = |stamp: Option<Stamp>| match (stamp, latencies.as_mut()) {
                (None, _) => wrong += 1,
                (Some(_), None) => {}
                (Some(stamp), Some(latencies)) => {
                    let now = *now.get_or_insert_with(|| clock.now());
                    latencies.add(stamp.at, now.saturating_sub(stamp.at));
                }
            };
            any |= 0 < match flow.direction {
                Direction::ToClient => self.clients.receive(|client, message| {
                    note(flow.arrived(packet::unwrapped(message), payload, |whose| whose == client));
                })?,
                _ => self.peers.receive(|_, to, data| {
                    note(flow.arrived(Some(data), payload, |whose| clients::peer_address(whose).ip() == to));
                })?,
            };
        }
        all_right(wrong)?;
        if any {
            self.heard = self.clock.now();
        }
        Ok(())
    }
}

impl Flow {
    /// Counts a packet, unless it has another length or came to somebody it is not for.
    fn arrived(&mut self, data: Option<&[u8]>, payload: usize, is_right: impl Fn(usize) -> bool) -> Option<Stamp> {
        let stamp = Stamp::read(data.filter(|data| data.len() == payload)?)?;
        if !is_right(stamp.session) {
            return None;
        }
        self.received += 1;
        self.expected = self.expected.max(stamp.sequence + 1);
        Some(stamp)
    }
}

fn all_right(wrong: u64) -> Result<()> {
    if wrong > 0 {
        bail!("{wrong} packets came to somebody they were not for, or changed");
    }
    Ok(())
}
