//! One caller's whole call, sans-IO: Allocate, `CreatePermission`, packets to a peer and back, Refresh 0 (RFC 8656 sections 7
//! to 11).
//!
//! After every `handle_*` take [`Session::poll_output`] until `None`; [`Session::poll_timeout`] says when to call
//! [`Session::handle_timeout`], `None` that it is over. Early, late and repeated calls are harmless. There is exactly one
//! [`Output::Report`]; after a bad one the session goes on for a moment to give back what it may have allocated.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use rtcfleet_node_api::Stage;

use super::{burst::Burst, fault::Fault, pace::Pace};
use crate::turn::{
    probe::client::{Answer, Ask, Client, Request, read},
    proto::{
        attribute::{DATA, XOR_PEER_ADDRESS},
        encode::Writer,
        message::{Class, Message, method},
    },
};

const UNAUTHENTICATED: u16 = 401;
const ALLOCATION_MISMATCH: u16 = 437;
const STALE_NONCE: u16 = 438;
const FAMILY_NOT_SUPPORTED: u16 = 440;

/// Where packets go to and come back from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Echo {
    /// The allocation's own relayed address: out of the relayed port and into it again.
    Relay,
    /// A socket of this prober, at the address that the server sees it at.
    Here,
    /// Somebody who sends back what arrives (RFC 862).
    At(SocketAddr),
}

/// What one session is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub echo: Echo,
    /// 1 to 50.
    pub packets: u16,
    pub pace: Pace,
    /// Whether requests may be lost on their way, so that they are sent again: not over TCP (RFC 8489 section 6.2.2).
    pub lossy: bool,
    /// Ask for an IPv6 relay. Of [`Echo::Relay`] without, one is asked for only where there is none of IPv4.
    pub v6: bool,
    /// Tried one after the other while they are refused: two during a rotation. Never empty.
    pub clients: Vec<Client>,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    ToServer(Vec<u8>),
    /// From the socket of [`Echo::Here`].
    FromHere {
        to: SocketAddr,
        payload: Vec<u8>,
    },
    Report(Report),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub fault: Option<Fault>,
    /// Between client and relay, of each packet that came back.
    pub rtts: Vec<Duration>,
    pub packets_sent: u32,
    /// Whether the server said anything at all.
    pub heard: bool,
}

impl Report {
    pub fn failed(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    pub fn packets_lost(&self) -> u32 {
        self.packets_sent.saturating_sub(u32::try_from(self.rtts.len()).unwrap_or(u32::MAX))
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    ask: Ask,
    request: Request,
    signed: bool,
    /// None: it is not sent again.
    again_at: Option<Instant>,
    wait: Duration,
    over_at: Instant,
}

#[derive(Debug)]
enum Step {
    Allocating,
    Permitting { relayed: SocketAddr, peer: SocketAddr },
    Echoing { relayed: SocketAddr, peer: SocketAddr, burst: Burst, halfway: u32 },
    Closing,
    Over,
}

/// One of them.
#[derive(Debug)]
pub struct Session {
    echo: Echo,
    packets: u16,
    pace: Pace,
    lossy: bool,
    v6: bool,
    client: Client,
    further: VecDeque<Client>,
    rng: StdRng,
    step: Step,
    pending: Option<Pending>,
    outputs: VecDeque<Output>,
    deadline: Instant,
    /// None once it has been told.
    report: Option<Report>,
    /// Nonces that the server may call stale before we give up.
    stale: u8,
    /// The server may hold an allocation of ours.
    holds: bool,
}

impl Session {
    /// Begins at once. `began` is when the probe did, before there was a connection: [`Pace::whole`] counts from there.
    /// None: `plan` has no credentials.
    pub fn new(plan: Plan, seed: [u8; 32], began: Instant, now: Instant) -> Option<Self> {
        let Plan { echo, packets, pace, lossy, v6, clients } = plan;
        let mut further = VecDeque::from(clients);
        let client = further.pop_front()?;
        let mut session = Self {
            echo,
            packets,
            pace,
            lossy,
            v6,
            client,
            further,
            rng: StdRng::from_seed(seed),
            step: Step::Allocating,
            pending: None,
            outputs: VecDeque::new(),
            deadline: began + pace.whole,
            report: Some(Report::default()),
            stale: 2,
            holds: false,
        };
        session.ask(Ask::Allocate { v6 }, now);
        Some(session)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// None: it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_request = self.pending.as_ref().map(|p| p.again_at.map_or(p.over_at, |again| again.min(p.over_at)));
        match &self.step {
            Step::Over => None,
            Step::Echoing { burst, .. } => Some(burst.poll_timeout()),
            Step::Allocating | Step::Permitting { .. } | Step::Closing => of_request,
        }
    }

    /// A message from the server.
    pub fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        let answered = self.pending.as_ref().and_then(|pending| read(bytes, pending.request.transaction));
        if let Some(answer) = answered {
            self.note(|report| report.heard = true);
            if let Some(pending) = self.pending.take() {
                self.handle_answer(now, &pending, answer, bytes);
            }
        } else {
            self.handle_data(now, bytes);
        }
    }

    /// A datagram at the socket of [`Echo::Here`].
    pub fn handle_here(&mut self, now: Instant, payload: &[u8]) {
        if let Step::Echoing { burst, .. } = &mut self.step {
            burst.handle_back(now, payload);
        }
        self.go_on(now);
    }

    /// There is no way to the server any more.
    pub fn handle_broken(&mut self, now: Instant, why: &str) {
        self.pending = None;
        self.holds = false;
        self.fail(now, Fault::new(self.stage(), why));
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.pending {
            Some(pending) if now >= pending.over_at => {
                self.pending = None;
                self.fail(now, Fault::silence(self.stage()));
            }
            Some(pending) if pending.again_at.is_some_and(|at| now >= at) => {
                pending.wait *= 2;
                pending.again_at = Some(now + pending.wait);
                self.outputs.push_back(Output::ToServer(pending.request.bytes.clone()));
            }
            Some(_) | None => {}
        }
        self.go_on(now);
    }

    fn stage(&self) -> Stage {
        match self.step {
            Step::Allocating => Stage::Allocate,
            Step::Permitting { .. } => Stage::Permission,
            Step::Echoing { .. } => Stage::Echo,
            Step::Closing | Step::Over => Stage::Refresh,
        }
    }

    fn ask(&mut self, ask: Ask, now: Instant) {
        let request = self.client.request(ask, self.rng.random());
        let over_at = match ask {
            Ask::Delete if self.report.is_none() => now + self.pace.closing,
            _ => self.deadline.min(now + self.pace.stage),
        };
        self.outputs.push_back(Output::ToServer(request.bytes.clone()));
        let signed = self.client.is_challenged();
        self.holds |= signed && matches!(ask, Ask::Allocate { .. });
        let wait = self.pace.retransmission;
        let again_at = self.lossy.then_some(now + wait);
        self.pending = Some(Pending { ask, request, signed, again_at, wait, over_at });
    }

    fn handle_answer(&mut self, now: Instant, pending: &Pending, answer: Answer, bytes: &[u8]) {
        let Answer { code, relayed, mapped, challenge } = answer;
        let allocating = matches!(self.step, Step::Allocating);
        self.holds &= !(allocating && code != 0);
        match (code, challenge) {
            (STALE_NONCE, Some(challenge)) if self.stale > 0 => {
                self.stale -= 1;
                self.client.learn(challenge);
                return self.ask(pending.ask, now);
            }
            (0, _) if pending.signed && !self.client.trusts(bytes) => {
                let fault = Fault::new(self.stage(), "the answer is not signed with the password: a client drops it");
                return self.fail(now, fault);
            }
            (UNAUTHENTICATED, Some(challenge)) if allocating => {
                if pending.signed {
                    let Some(next) = self.further.pop_front() else {
                        return self.fail(now, Fault::refused(Stage::Allocate, code, None));
                    };
                    self.client = next;
                }
                self.client.learn(challenge);
                return self.ask(pending.ask, now);
            }
            (FAMILY_NOT_SUPPORTED, _) if allocating && self.echo == Echo::Relay && !self.v6 => {
                self.v6 = true;
                return self.ask(Ask::Allocate { v6: true }, now);
            }
            _ => {}
        }
        match self.step {
            Step::Allocating if code == 0 => self.allocated(now, relayed, mapped),
            Step::Permitting { relayed, peer } if code == 0 => self.permitted(now, relayed, peer),
            Step::Closing if matches!(code, 0 | ALLOCATION_MISMATCH) => self.end(None),
            Step::Closing => self.end(Some(Fault::refused(Stage::Refresh, code, None))),
            Step::Permitting { peer, .. } => self.fail(now, Fault::refused(Stage::Permission, code, Some(peer.ip()))),
            Step::Allocating => self.fail(now, Fault::refused(Stage::Allocate, code, None)),
            // Nothing is asked then.
            Step::Echoing { .. } | Step::Over => {}
        }
    }

    fn allocated(&mut self, now: Instant, relayed: Option<SocketAddr>, mapped: Option<SocketAddr>) {
        let Some(relayed) = relayed else {
            return self.fail(now, Fault::new(Stage::Allocate, "the answer holds no relayed address"));
        };
        let peer = match self.echo {
            Echo::Relay => Some(relayed),
            Echo::Here => mapped,
            Echo::At(peer) => Some(peer),
        };
        let Some(peer) = peer else {
            return self.fail(now, Fault::new(Stage::Allocate, "the answer does not say where the client is seen"));
        };
        self.step = Step::Permitting { relayed, peer };
        self.ask(Ask::Permission(peer.ip()), now);
    }

    fn permitted(&mut self, now: Instant, relayed: SocketAddr, peer: SocketAddr) {
        let over_at = self.deadline.checked_sub(self.pace.closing).map_or(now, |at| at.max(now));
        let burst = Burst::new(self.rng.random(), self.packets, self.pace, now, over_at);
        self.step = Step::Echoing { relayed, peer, burst, halfway: 0 };
        self.go_on(now);
    }

    /// A Data indication (RFC 8656 section 11.4), or nothing of ours.
    fn handle_data(&mut self, now: Instant, bytes: &[u8]) {
        let Step::Echoing { peer, burst, halfway, .. } = &mut self.step else { return };
        let Ok(message) = Message::decode(bytes) else { return };
        if message.class() != Class::Indication || message.method() != method::DATA {
            return;
        }
        let (Some(Some(from)), Some(payload)) = (message.peers().next(), message.attribute(DATA)) else { return };
        if !burst.is_ours(payload) {
            return;
        }
        match self.echo {
            Echo::Relay | Echo::At(_) if from == *peer => burst.handle_back(now, payload),
            Echo::Relay | Echo::At(_) => {}
            Echo::Here => {
                *halfway = halfway.saturating_add(1);
                let indication = send(from, payload, self.rng.random());
                self.outputs.push_back(Output::ToServer(indication));
            }
        }
        self.go_on(now);
    }

    /// What is due without anybody having said anything.
    fn go_on(&mut self, now: Instant) {
        let Step::Echoing { relayed, peer, burst, halfway } = &mut self.step else { return };
        while let Some(payload) = burst.poll_packet(now) {
            self.outputs.push_back(match self.echo {
                Echo::Here => Output::FromHere { to: *relayed, payload },
                Echo::Relay | Echo::At(_) => Output::ToServer(send(*peer, &payload, self.rng.random())),
            });
        }
        if !burst.is_over(now) {
            return;
        }
        // There and back again, each by way of the server.
        let ways = if self.echo == Echo::Here { 2 } else { 1 };
        let rtts: Vec<Duration> = burst.rtts().into_iter().map(|rtt| rtt / ways).collect();
        let (packets_sent, none_came_back) = (burst.sent(), rtts.is_empty());
        let fault = none_came_back.then(|| Fault::black_hole(packets_sent, *halfway, *peer));
        self.note(|report| (report.packets_sent, report.rtts) = (packets_sent, rtts));
        if let Some(fault) = fault {
            return self.fail(now, fault);
        }
        self.close(now);
    }

    fn fail(&mut self, now: Instant, fault: Fault) {
        if matches!(self.step, Step::Closing | Step::Over) {
            return self.end(Some(fault));
        }
        self.tell(Some(fault));
        if self.holds { self.close(now) } else { self.step = Step::Over }
    }

    fn close(&mut self, now: Instant) {
        self.step = Step::Closing;
        self.ask(Ask::Delete, now);
    }

    /// `fault` is one of closing: it matters only if nothing else was wrong, which has been told then.
    fn end(&mut self, fault: Option<Fault>) {
        self.tell(fault);
        self.step = Step::Over;
    }

    fn note(&mut self, change: impl FnOnce(&mut Report)) {
        if let Some(report) = &mut self.report {
            change(report);
        }
    }

    fn tell(&mut self, fault: Option<Fault>) {
        if let Some(report) = self.report.take() {
            self.outputs.push_back(Output::Report(Report { fault, ..report }));
        }
    }
}

/// A Send indication (RFC 8656 section 11.1).
fn send(peer: SocketAddr, payload: &[u8], transaction: [u8; 12]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::start(&mut bytes, Class::Indication, method::SEND, transaction);
    writer.address(XOR_PEER_ADDRESS, peer).attribute(DATA, payload).finish();
    bytes
}

#[cfg(any(test, feature = "test-support"))]
pub mod fuzzing;
#[cfg(test)]
mod tests;
