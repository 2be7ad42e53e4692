//! One thread: its sockets, its [`Server`], its loop.

mod mail;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
    },
};

use super::{
    counters::IoCounters,
    relays::{Descriptors, Relays, Transit},
    sender::Sender,
    sockets::{Appetite, Listener},
    streams::{self, StreamListener, Streams},
    sys::{self, Outgoing, RecvRoom},
    to_peers::ToPeers,
};
use crate::turn::proto::{ClientPath, Now, Reaction, RelayId, Server, ShardIndex, ToClient, Transport};

/// Sockets served per wake-up; with [`Appetite::MOST`] datagrams each, or runs of them, this bounds what a turn of the loop
/// is.
const EVENTS: usize = 256;
/// Relay sockets whose datagrams go to clients together.
const ROOMS: usize = 16;
/// Places in the first room, which listeners use: with many, the datagrams of one client may be found together. Every place
/// can come to hold 64 KiB.
const LISTENER_PLACES: usize = Appetite::MOST;
/// Places in each further room.
const FURTHER_PLACES: usize = 8;
/// The loop turns at least this often, so that a thread that hangs can be told from one that has nothing to do.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Errors taken off one socket's queue per wake-up.
const MAX_ERRORS: usize = 8;

const WAKE: u64 = u64::MAX;
const RELAY_BIT: u64 = 1 << 32;

fn relay_token(relay: RelayId) -> u64 {
    RELAY_BIT | u64::from(relay.0)
}

/// The lower half of a token: an index.
fn low(token: u64) -> u32 {
    u32::try_from(token & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

/// What an event is about.
enum Source {
    Wake,
    Listener(usize),
    Relay(RelayId),
    StreamListener(usize),
    Connection(u32),
}

fn source(token: u64) -> Source {
    match token {
        WAKE => Source::Wake,
        token if token & RELAY_BIT != 0 => Source::Relay(RelayId(low(token))),
        token if token & streams::CONNECTION_BIT != 0 => Source::Connection(low(token)),
        token if token & streams::LISTENER_BIT != 0 => Source::StreamListener(low(token) as usize),
        index => Source::Listener(low(index) as usize),
    }
}

/// How others reach a thread.
#[derive(Debug)]
pub struct Control {
    wake: EventFd,
    closings: AtomicU32,
    stop: AtomicBool,
    started: Instant,
    /// Milliseconds from `started` to the last turn of the loop.
    turned: AtomicU64,
    pub counters: Arc<IoCounters>,
}

impl Control {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            closings: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            started: Instant::now(),
            turned: AtomicU64::new(0),
            counters: Arc::default(),
        })
    }

    /// Ends every allocation of the thread.
    pub fn close_all(&self) {
        self.closings.fetch_add(1, Ordering::Release);
        let _ = self.wake.write(1);
    }

    /// How often it was told to since the last call. Servers count these, each its own, and what they hand to each other is
    /// judged by the counts: so none may be lost.
    fn take_closings(&self) -> u32 {
        self.closings.swap(0, Ordering::AcqRel)
    }

    /// There is mail.
    fn wake(&self) {
        let _ = self.wake.write(1);
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.write(1);
    }

    /// How long ago the loop last turned.
    pub fn quiet_for(&self, now: Instant) -> Duration {
        let turned = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        now.saturating_duration_since(self.started).saturating_sub(turned)
    }

    fn turn(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.started).as_millis();
        self.turned.store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

pub(super) fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Now { instant: Instant::now(), unix }
}

/// All threads, and which of them this is.
pub struct Mates {
    pub number: ShardIndex,
    pub controls: Vec<Arc<Control>>,
}

pub struct Shard {
    server: Server,
    control: Arc<Control>,
    /// Of all threads, for those that this one wakes.
    controls: Vec<Arc<Control>>,
    epoll: Arc<Epoll>,
    listeners: Vec<Listener>,
    streams: Streams,
    relays: Relays,
    /// One socket is received from into one room at a time.
    rooms: [RecvRoom; ROOMS],
    sender: Sender,
    /// Relay sockets that may have something: each is told of once, when something comes (edge-triggered), and stays here until
    /// it was seen empty.
    waiting: VecDeque<RelayId>,
    /// The same for errors.
    erring: Vec<RelayId>,
    next_look: Instant,
}

impl Shard {
    /// To be called on the thread that will run it.
    pub fn new(
        server: Server,
        mates: Mates,
        listeners: Vec<Listener>,
        streams: (Vec<StreamListener>, Arc<streams::Common>),
        (descriptors, transit): (Arc<Descriptors>, Arc<Transit>),
    ) -> io::Result<Self> {
        let Mates { number, controls } = mates;
        let control = Arc::clone(controls.get(usize::from(number.0)).ok_or(io::ErrorKind::NotFound)?);
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        epoll.add(&control.wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        for (index, listener) in listeners.iter().enumerate() {
            epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        let counters = Arc::clone(&control.counters);
        let streams = Streams::new(Arc::clone(&epoll), streams.0, streams.1, Arc::clone(&counters))?;
        let relays = Relays::new(Arc::clone(&epoll), relay_token, descriptors, transit, Arc::clone(&counters));
        Ok(Self {
            server,
            control,
            controls,
            epoll,
            listeners,
            streams,
            relays,
            rooms: std::array::from_fn(|room| RecvRoom::new(if room == 0 { LISTENER_PLACES } else { FURTHER_PLACES })),
            sender: Sender::new(counters),
            waiting: VecDeque::with_capacity(EVENTS),
            erring: Vec::new(),
            next_look: Instant::now(),
        })
    }

    /// Serves until told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let ready = match self.epoll.wait(&mut events, self.wait()) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..ready] {
                match source(event.data()) {
                    Source::Wake => drop(self.control.wake.read()),
                    Source::Listener(index) => self.serve_listener(index),
                    Source::StreamListener(index) => {
                        self.with_streams(|streams, core| streams.accept(index, now(), core));
                    }
                    Source::Connection(index) => {
                        let events = event.events();
                        self.with_streams(|streams, core| streams.serve(index, events, now(), core));
                    }
                    Source::Relay(relay) => {
                        if event.events().contains(EpollFlags::EPOLLERR) {
                            self.erring.push(relay);
                        }
                        if event.events().contains(EpollFlags::EPOLLIN) {
                            self.waits(relay);
                        }
                    }
                }
            }
            for relay in std::mem::take(&mut self.erring) {
                self.serve_errors(relay);
            }
            self.serve_relays();
            let now = now();
            self.control.turn(now.instant);
            self.read_mail(now);
            self.with_streams(|streams, core| streams.turn(now, core));
            if self.server.poll_timeout().is_some_and(|due| due <= now.instant) {
                self.server.handle_timeout(now, &mut self.relays);
            }
            self.look_at_overflows(now.instant);
            for _ in 0..self.control.take_closings() {
                self.server.close_all(&mut self.relays);
                self.with_streams(|streams, core| streams.close_all(now, core));
            }
            self.wake_others();
            if self.control.stop.load(Ordering::Acquire) {
                self.with_streams(|streams, core| streams.close_all(now, core));
                return Ok(());
            }
        }
    }

    fn with_streams(&mut self, act: impl FnOnce(&mut Streams, &mut streams::Core<'_>)) {
        let Self { streams, server, relays, sender, .. } = self;
        act(streams, &mut streams::Core { server, relays, sender });
    }

    /// Asks the kernel now and then, not on every turn.
    fn look_at_overflows(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LONGEST_WAIT;
        let overflows = self.listeners.iter().filter_map(|listener| sys::overflows(listener.as_fd()).ok());
        self.control.counters.set_listener_overflows(overflows.map(u64::from).sum());
        self.sender.look(now);
    }

    fn wait(&self) -> EpollTimeout {
        if !self.waiting.is_empty() || !self.erring.is_empty() {
            return EpollTimeout::ZERO;
        }
        let due = self.server.poll_timeout().into_iter().chain(self.streams.poll_timeout()).min();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(LONGEST_WAIT, |due| due.min(LONGEST_WAIT));
        // Rounded up: a millisecond early would be a turn of the loop for nothing.
        let ms = wait.as_micros().div_ceil(1000);
        EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::ZERO)
    }

    fn serve_listener(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index) else { return };
        let [room, ..] = &mut self.rooms;
        let Ok(received) = room.receive(listener.as_fd(), listener.appetite.get()) else { return };
        listener.appetite.learn(received);
        let listener = &self.listeners[index];
        let now = now();
        let mut to_peers = ToPeers::new();
        for datagram in room.datagrams() {
            let Some(local) = listener.local_of(datagram.to) else { continue };
            if to_peers.is_full() || !carries_data(datagram.bytes) {
                // A request can close relay sockets that data before it is to leave from.
                to_peers.send(&mut self.sender, &mut self.relays);
            }
            let path = ClientPath { local, remote: datagram.from, transport: Transport::Udp };
            match self.server.handle_client(now, &mut self.relays, path, datagram.bytes) {
                Reaction::None => {}
                Reaction::Reply(reply) => self.sender.send_now(listener.exit(), reply_to(listener, path, reply)),
                Reaction::ToPeer(to_peer) => to_peers.push(to_peer),
            }
        }
        to_peers.send(&mut self.sender, &mut self.relays);
    }

    fn waits(&mut self, id: RelayId) {
        let Some(relay) = self.relays.get(id) else { return };
        if !std::mem::replace(&mut relay.waiting, true) {
            self.waiting.push_back(id);
        }
    }

    /// What waits in relay sockets, a share of each: it goes to clients in as few system calls as can be.
    fn serve_relays(&mut self) {
        let mut turns = self.waiting.len();
        while turns > 0 {
            let now = now();
            let mut to_clients = self.sender.gather();
            let mut through: Option<&Listener> = None;
            for room in self.rooms.iter_mut().take(turns) {
                turns -= 1;
                let Some(id) = self.waiting.pop_front() else { break };
                let Some(relay) = self.relays.get(id) else { continue };
                let asked = relay.appetite.get().min(room.places());
                let received = room.receive(relay.as_fd(), asked);
                relay.waiting = match &received {
                    Ok(received) => *received == asked,
                    // An ICMP error came first: what waits is behind it, and is not told of again.
                    Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                };
                relay.appetite.learn(received.unwrap_or(0));
                if relay.waiting {
                    self.waiting.push_back(id);
                }
                for datagram in room.datagrams() {
                    let Some(to_client) = self.server.handle_peer(now, id, datagram.from, datagram.bytes) else {
                        continue;
                    };
                    if to_client.path.transport.is_stream() {
                        self.streams.send(&to_client);
                        continue;
                    }
                    let local = to_client.path.local;
                    if to_clients.is_full() || through.is_none_or(|listener| !listener.serves(local)) {
                        if let Some(listener) = through {
                            to_clients.send(listener.exit());
                        }
                        through = listener_for(&self.listeners, local);
                    }
                    if let Some(listener) = through {
                        to_clients.push(outgoing(listener, &to_client));
                    }
                }
            }
            if let Some(listener) = through {
                to_clients.send(listener.exit());
            }
        }
    }

    fn serve_errors(&mut self, id: RelayId) {
        for _ in 0..MAX_ERRORS {
            let Some(relay) = self.relays.get(id) else { return };
            let Some(room) = self.rooms.first_mut() else { return };
            let Ok(error) = room.receive_error(relay.as_fd()) else {
                relay.clear_error();
                return;
            };
            let Some(error) = error else { continue };
            self.control.counters.icmp_error();
            let Some(to_client) = self.server.handle_peer_error(now(), id, error) else { continue };
            if to_client.path.transport.is_stream() {
                self.streams.send(&to_client);
            } else if let Some(listener) = listener_for(&self.listeners, to_client.path.local) {
                let mut to_clients = self.sender.gather();
                to_clients.push(outgoing(listener, &to_client));
                to_clients.send(listener.exit());
            }
        }
        self.erring.push(id);
    }
}

/// Whether a client's message is a Send indication or not STUN at all: these never close a relay socket.
pub(super) fn carries_data(bytes: &[u8]) -> bool {
    matches!(bytes, [0x40..=0xff, ..] | [0x00, 0x16, ..])
}

/// The socket that datagrams for `local` arrive at: one bound to that address before one bound to all.
fn listener_for(listeners: &[Listener], local: SocketAddr) -> Option<&Listener> {
    let exact = listeners.iter().find(|listener| listener.bound() == local);
    exact.or_else(|| listeners.iter().find(|listener| listener.serves(local)))
}

fn outgoing<'h, 'p>(listener: &Listener, datagram: &'h ToClient<'p>) -> Outgoing<'h, 'p> {
    Outgoing {
        to: datagram.path.remote,
        from: listener.source(datagram.path.local),
        head: datagram.head(),
        payload: datagram.payload,
        tail: datagram.tail(),
    }
}

fn reply_to<'p>(listener: &Listener, path: ClientPath, reply: &'p [u8]) -> Outgoing<'static, 'p> {
    Outgoing { to: path.remote, from: listener.source(path.local), head: &[], payload: reply, tail: &[] }
}
