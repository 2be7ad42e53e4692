//! One thread: its sockets, its [`Server`], its loop.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        eventfd::{EfdFlags, EventFd},
    },
};

use super::{
    counters::{IoCounters, SendFailure},
    relays::{Descriptors, Relays},
    sockets::Listener,
    sys::{self, BATCH, Outgoing, RecvRoom, SendRoom},
};
use crate::turn::proto::{ClientPath, Now, Reaction, RelayId, Server, ToClient, ToPeer, Transport};

/// Sockets served per wake-up; with [`BATCH`] datagrams each this bounds what comes between two looks at the clock.
const EVENTS: usize = 256;
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
}

fn source(token: u64) -> Source {
    match token {
        WAKE => Source::Wake,
        token if token & RELAY_BIT != 0 => Source::Relay(RelayId(low(token))),
        index => Source::Listener(low(index) as usize),
    }
}

/// How others reach a thread.
#[derive(Debug)]
pub struct Control {
    wake: EventFd,
    close_all: AtomicBool,
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
            close_all: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            started: Instant::now(),
            turned: AtomicU64::new(0),
            counters: Arc::default(),
        })
    }

    /// Ends every allocation of the thread.
    pub fn close_all(&self) {
        self.close_all.store(true, Ordering::Release);
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

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Now { instant: Instant::now(), unix }
}

pub struct Shard {
    server: Server,
    control: Arc<Control>,
    epoll: Arc<Epoll>,
    listeners: Vec<Listener>,
    relays: Relays,
    recv: RecvRoom,
    sender: Sender,
    next_look: Instant,
}

impl Shard {
    /// To be called on the thread that will run it.
    pub fn new(
        server: Server,
        control: Arc<Control>,
        listeners: Vec<Listener>,
        descriptors: Arc<Descriptors>,
    ) -> io::Result<Self> {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        epoll.add(&control.wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        for (index, listener) in listeners.iter().enumerate() {
            epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        }
        let counters = Arc::clone(&control.counters);
        let relays = Relays::new(Arc::clone(&epoll), relay_token, descriptors, Arc::clone(&counters));
        let sender = Sender { room: SendRoom::new(), counters };
        Ok(Self { server, control, epoll, listeners, relays, recv: RecvRoom::new(), sender, next_look: Instant::now() })
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
                    Source::Relay(relay) => {
                        if event.events().contains(EpollFlags::EPOLLERR) {
                            self.serve_errors(relay);
                        }
                        if event.events().contains(EpollFlags::EPOLLIN) {
                            self.serve_relay(relay);
                        }
                    }
                }
            }
            let now = now();
            self.control.turn(now.instant);
            if self.server.poll_timeout().is_some_and(|due| due <= now.instant) {
                self.server.handle_timeout(now, &mut self.relays);
            }
            self.look_at_overflows(now.instant);
            if self.control.close_all.swap(false, Ordering::AcqRel) {
                self.server.close_all(&mut self.relays);
            }
            if self.control.stop.load(Ordering::Acquire) {
                return Ok(());
            }
        }
    }

    /// Asks the kernel now and then, not on every turn.
    fn look_at_overflows(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LONGEST_WAIT;
        let overflows = self.listeners.iter().filter_map(|listener| sys::overflows(listener.as_fd()).ok());
        self.control.counters.set_listener_overflows(overflows.map(u64::from).sum());
    }

    fn wait(&self) -> EpollTimeout {
        let due = self.server.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(LONGEST_WAIT, |due| due.min(LONGEST_WAIT));
        // Rounded up: a millisecond early would be a turn of the loop for nothing.
        let ms = wait.as_micros().div_ceil(1000);
        EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::ZERO)
    }

    fn serve_listener(&mut self, index: usize) {
        let Some(listener) = self.listeners.get(index) else { return };
        if self.recv.receive(listener.as_fd()).is_err() {
            return; // Nothing waits after all.
        }
        let now = now();
        let mut to_peers = Pending::new();
        for datagram in self.recv.datagrams() {
            let Some(local) = listener.local_of(datagram.to) else { continue };
            if to_peers.is_full() || !carries_data(datagram.bytes) {
                // A request can close relay sockets that data before it is to leave from.
                self.sender.send_to_peers(&mut self.relays, to_peers.take());
            }
            let path = ClientPath { local, remote: datagram.from, transport: Transport::Udp };
            match self.server.handle_client(now, &mut self.relays, path, datagram.bytes) {
                Reaction::None => {}
                Reaction::Reply(reply) => self.sender.reply(listener, path, reply),
                Reaction::ToPeer(to_peer) => to_peers.push(to_peer),
            }
        }
        self.sender.send_to_peers(&mut self.relays, to_peers.take());
    }

    fn serve_relay(&mut self, id: RelayId) {
        let Some(relay) = self.relays.get(id) else { return };
        if self.recv.receive(relay.as_fd()).is_err() {
            return;
        }
        let now = now();
        let mut to_clients = Pending::new();
        for datagram in self.recv.datagrams() {
            if let Some(to_client) = self.server.handle_peer(now, id, datagram.from, datagram.bytes) {
                to_clients.push(to_client);
            }
        }
        self.sender.send_to_clients(&self.listeners, to_clients.take());
    }

    fn serve_errors(&mut self, id: RelayId) {
        for _ in 0..MAX_ERRORS {
            let Some(relay) = self.relays.get(id) else { return };
            let Ok(error) = self.recv.receive_error(relay.as_fd()) else {
                relay.clear_error();
                return;
            };
            let Some(error) = error else { continue };
            self.control.counters.icmp_error();
            if let Some(to_client) = self.server.handle_peer_error(now(), id, error) {
                self.sender.send_to_clients(&self.listeners, &[Some(to_client)]);
            }
        }
    }
}

/// Whether a client's datagram is a Send indication or not STUN at all: these never close a relay socket.
fn carries_data(bytes: &[u8]) -> bool {
    matches!(bytes, [0x40..=0xff, ..] | [0x00, 0x16, ..])
}

/// What one batch of datagrams leads to, until it is sent.
struct Pending<T> {
    items: [Option<T>; BATCH],
    len: usize,
}

impl<T: Copy> Pending<T> {
    fn new() -> Self {
        Self { items: [None; BATCH], len: 0 }
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// As many as a batch has datagrams; the caller sends before it pushes more.
    fn push(&mut self, item: T) {
        if let Some(place) = self.items.get_mut(self.len) {
            *place = Some(item);
            self.len += 1;
        }
    }

    fn take(&mut self) -> &[Option<T>] {
        let len = std::mem::take(&mut self.len);
        &self.items[..len]
    }
}

/// Sends, and copes with what does not go out.
struct Sender {
    room: SendRoom,
    counters: Arc<IoCounters>,
}

impl Sender {
    fn reply(&mut self, listener: &Listener, path: ClientPath, reply: &[u8]) {
        let outgoing = Outgoing { to: path.remote, from: listener.source(path.local), parts: [reply, &[], &[]] };
        self.send(listener.as_fd(), std::iter::once(outgoing));
    }

    /// In runs of the same socket and the same DF bit.
    fn send_to_peers(&mut self, relays: &mut Relays, pending: &[Option<ToPeer<'_>>]) {
        let same = |a: &Option<ToPeer<'_>>, b: &Option<ToPeer<'_>>| {
            a.map(|t| (t.relay, t.dont_fragment)) == b.map(|t| (t.relay, t.dont_fragment))
        };
        for run in pending.chunk_by(same) {
            let Some(Some(first)) = run.first() else { continue };
            let Some(relay) = relays.get(first.relay) else { continue };
            relay.set_dont_fragment(first.dont_fragment);
            let run = run.iter().flatten();
            self.send(relay.as_fd(), run.map(|t| Outgoing { to: t.to, from: None, parts: [t.payload, &[], &[]] }));
        }
    }

    /// In runs of the same listener.
    fn send_to_clients(&mut self, listeners: &[Listener], pending: &[Option<ToClient<'_>>]) {
        let local = |item: &Option<ToClient<'_>>| item.as_ref().map(|t| t.path.local);
        for run in pending.chunk_by(|a, b| local(a) == local(b)) {
            let Some(listener) = run.first().and_then(local).and_then(|local| listener_for(listeners, local)) else {
                continue;
            };
            let outgoing = run.iter().flatten().map(|t| Outgoing {
                to: t.path.remote,
                from: listener.source(t.path.local),
                parts: [t.head(), t.payload, t.tail()],
            });
            self.send(listener.as_fd(), outgoing);
        }
    }

    fn send<'p>(&mut self, socket: BorrowedFd<'_>, datagrams: impl Iterator<Item = Outgoing<'p>>) {
        let mut batch = self.room.batch(datagrams);
        let mut done = 0;
        let mut tried = None;
        while done < batch.len() {
            let error = match batch.send(socket, done) {
                Ok(0) => return,
                Ok(sent) => {
                    done += sent;
                    continue;
                }
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => {
                    self.counters.not_sent(SendFailure::QueueFull, batch.len() - done);
                    return;
                }
                Some(libc::EMSGSIZE) => {
                    self.counters.not_sent(SendFailure::TooLarge, 1);
                    done += 1;
                }
                // The error may be an ICMP message about an earlier datagram: this one has not been tried yet.
                _ if tried != Some(done) => tried = Some(done),
                _ => {
                    self.counters.not_sent(SendFailure::Refused, 1);
                    done += 1;
                }
            }
        }
    }
}

/// The socket that datagrams for `local` arrive at: one bound to that address before one bound to all.
fn listener_for(listeners: &[Listener], local: SocketAddr) -> Option<&Listener> {
    let exact = listeners.iter().find(|listener| listener.bound() == local);
    exact.or_else(|| listeners.iter().find(|listener| listener.serves(local)))
}
