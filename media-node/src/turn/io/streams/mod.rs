//! The connections of one thread: TCP and TLS listeners, what comes over them, and what goes back.
//!
//! Frames are handed to the server where they were received; only the beginning of one whose end has not come is kept. What
//! goes to clients is gathered, and each connection gets one system call a turn of the loop. What its socket does not take
//! waits, within bounds: past these relayed data is dropped, because it would come too late, and a client that does not even
//! read answers is given up.

mod common;
mod connection;
pub mod counters;
mod frames;
mod limits;
mod listener;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::RandomState;
use nix::{
    libc,
    sys::epoll::{Epoll, EpollEvent, EpollFlags},
};

use self::{
    connection::{Connection, Input, Output},
    counters::{Closed, Handshake, Refused},
    frames::Frames,
    limits::{Due, Source, Strangers},
};
use super::{counters::IoCounters, relays::Relays, sender::Sender};
use crate::turn::proto::{ClientPath, Now, Server, ToClient, framing::Broken};

pub use self::{
    common::Common,
    limits::Limits,
    listener::{StreamAddress, StreamListener, open_stream_listeners},
};

/// In the tokens of connections.
pub const CONNECTION_BIT: u64 = 1 << 33;
/// In the tokens of their listeners.
pub const LISTENER_BIT: u64 = 1 << 34;

/// Connections accepted from one listener a turn.
const ACCEPTS: usize = 64;
/// After the machine had no room for a connection.
const PAUSE: Duration = Duration::from_millis(200);
/// Deadlines looked at a turn.
const DEADLINES: usize = 256;

/// Whom messages are handed to.
pub struct Core<'s> {
    pub server: &'s mut Server,
    pub relays: &'s mut Relays,
    pub sender: &'s mut Sender,
}

/// A listener, and until when it accepts nothing.
struct Door {
    listener: StreamListener,
    paused: Option<Instant>,
}

pub struct Streams {
    epoll: Arc<Epoll>,
    common: Arc<Common>,
    counters: Arc<IoCounters>,
    doors: Vec<Door>,
    places: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    /// Places given up in this turn: events of it may still be about what was there.
    freed: Vec<u32>,
    by_path: HashMap<(SocketAddr, SocketAddr), u32, RandomState>,
    strangers: Strangers,
    deadlines: BTreeSet<(Instant, u32)>,
    dirty: Vec<u32>,
    /// Handshakes that this turn has gone on with.
    handshakes: u32,
    /// Bytes that wait for sockets to take them.
    waiting: usize,
    input: Input,
    output: Output,
}

impl Streams {
    pub fn new(
        epoll: Arc<Epoll>,
        listeners: Vec<StreamListener>,
        common: Arc<Common>,
        counters: Arc<IoCounters>,
    ) -> io::Result<Self> {
        let mut seeds = [0; 32];
        getrandom::fill(&mut seeds)?;
        let (seeds, _) = seeds.as_chunks::<8>();
        let [a, b, c, d] = std::array::from_fn(|index| u64::from_ne_bytes(seeds[index]));
        let hasher = RandomState::with_seeds(a, b, c, d);
        for (index, listener) in listeners.iter().enumerate() {
            epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER_BIT | index as u64))?;
        }
        Ok(Self {
            epoll,
            common,
            counters,
            doors: listeners.into_iter().map(|listener| Door { listener, paused: None }).collect(),
            places: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            by_path: HashMap::with_hasher(hasher.clone()),
            strangers: Strangers::new(hasher),
            deadlines: BTreeSet::new(),
            dirty: Vec::new(),
            handshakes: 0,
            waiting: 0,
            input: Input::new(),
            output: Output::default(),
        })
    }

    /// When [`turn`](Self::turn) has something to do although nothing happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(due, _)| *due);
        self.doors.iter().filter_map(|door| door.paused).chain(deadline).min()
    }

    /// A listener has connections. Level-triggered: what is left is told of again.
    pub fn accept(&mut self, index: usize, now: Now, core: &mut Core<'_>) {
        for _ in 0..ACCEPTS {
            let Some(door) = self.doors.get(index) else { return };
            match door.listener.accept() {
                Ok((socket, remote)) => {
                    let transport = door.listener.transport;
                    let Ok(local) = socket.local_addr() else { continue };
                    // What fails here ends with the socket that is dropped.
                    let _ = self.admit(socket, ClientPath { local, remote, transport }, now, core);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        return self.pause(index, now.instant);
                    }
                    // Of the connection that would have been next (accept(2)).
                    _ => {}
                },
            }
        }
    }

    fn admit(
        &mut self,
        socket: std::net::TcpStream,
        path: ClientPath,
        now: Now,
        core: &mut Core<'_>,
    ) -> io::Result<()> {
        let limits = self.common.limits;
        // The client has opened this one after it gave up the other, whose end has not been seen yet.
        if let Some(before) = self.by_path.get(&(path.local, path.remote)) {
            self.close(*before, Closed::Client, now, core);
        }
        // A handshake that does not go on keeps up to 64 KiB, and there can be as many as file descriptors.
        if core.server.is_memory_full() {
            self.counters.streams.refused(Refused::Memory);
            return Ok(());
        }
        let source = Source::of(path.remote.ip());
        if !self.strangers.admit(source, limits.strangers) {
            self.counters.streams.refused(Refused::Source);
            return Ok(());
        }
        if !self.common.take() {
            self.strangers.remove(source);
            self.counters.streams.refused(Refused::Descriptors);
            return Ok(());
        }
        let index = self.free.last().copied().unwrap_or(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        let prepared = listener::prepare(&socket)
            .and_then(|()| Ok(self.epoll.add(&socket, event(index, EpollFlags::EPOLLIN))?))
            .inspect_err(|_| {
                self.strangers.remove(source);
                self.common.give_back();
            });
        prepared?;
        let due = now.instant + limits.first_message;
        let connection = Some(Box::new(Connection::new(socket, path, now.instant, due)));
        match self.free.pop() {
            Some(place) => self.places[place as usize] = connection,
            None => self.places.push(connection),
        }
        self.by_path.insert((path.local, path.remote), index);
        self.deadlines.insert((due, index));
        self.counters.streams.accepted(path.transport);
        Ok(())
    }

    /// A listener that is full of connections would be told of again and again.
    fn pause(&mut self, index: usize, now: Instant) {
        if let Some(door) = self.doors.get_mut(index) {
            self.counters.streams.accept_paused();
            door.paused = Some(now + PAUSE);
            let nothing = EpollEvent::new(EpollFlags::empty(), LISTENER_BIT | index as u64);
            let _ = self.epoll.modify(&door.listener, &mut { nothing });
        }
    }

    fn resume(&mut self, now: Instant) {
        for (index, door) in self.doors.iter_mut().enumerate() {
            if door.paused.is_some_and(|until| until <= now) {
                door.paused = None;
                let connections = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER_BIT | index as u64);
                let _ = self.epoll.modify(&door.listener, &mut { connections });
            }
        }
    }

    /// Something happened to a connection.
    pub fn serve(&mut self, index: u32, events: EpollFlags, now: Now, core: &mut Core<'_>) {
        let Some(Some(connection)) = self.places.get_mut(index as usize) else { return };
        if events.contains(EpollFlags::EPOLLOUT) {
            connection.is_full = false;
            mark(connection, index, &mut self.dirty);
        }
        if !events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return;
        }
        if connection.is_before_tls() {
            if self.handshakes == self.common.limits.handshakes {
                // It is told of again in the next turn.
                return;
            }
            self.handshakes += 1;
        }
        let before = connection.path.transport;
        let (bytes, handshake) = connection.receive(&mut self.input, &mut self.output, self.common.tls.as_ref());
        let streams = &self.counters.streams;
        if connection.path.transport != before {
            streams.left(before);
            streams.opened(connection.path.transport);
        }
        handshake.inspect(|how| streams.handshake(*how));
        let mut frames = Frames { connection, output: &mut self.output, limits: &self.common.limits, core, now };
        if frames.all(bytes) == Err(Broken) {
            connection.broken = Some(Closed::NotTurn);
        }
        if connection.waiting() > self.common.limits.waiting + self.common.limits.headroom {
            // TLS alone wants to say too much.
            connection.broken = Some(Closed::SlowReader);
        }
        if connection.waiting() > 0 {
            mark(connection, index, &mut self.dirty);
        }
        if connection.is_stranger && connection.last_message == Some(now.instant) {
            // Its first allocation may just have been made.
            connection.is_stranger = !core.server.has_allocation(&connection.path);
            if !connection.is_stranger {
                self.strangers.remove(connection.source());
            }
        }
        if let Some(why) = connection.broken {
            self.close(index, why, now, core);
        }
    }

    /// Relayed data for the client of a connection. It leaves at the end of the turn at the latest.
    pub fn send(&mut self, message: &ToClient<'_>) {
        let place = self.by_path.get(&(message.path.local, message.path.remote)).copied();
        let Some((index, Some(connection))) =
            place.and_then(|index| Some((index, self.places.get_mut(index as usize)?)))
        else {
            return;
        };
        let limits = &self.common.limits;
        // All together may not have more waiting than that, but nobody is kept from what goes out at once.
        let crowded = self.waiting > limits.waiting_in_all && connection.counted > 0;
        let parts = [message.head(), message.payload, message.tail()];
        if crowded || !connection.queue_or_flush(parts, limits.waiting, &mut self.output) {
            self.counters.streams.dropped();
        }
        mark(connection, index, &mut self.dirty);
    }

    /// An answer that another thread had to give. It leaves with the end of the turn.
    pub fn reply(&mut self, path: &ClientPath, reply: &[u8], now: Now, core: &mut Core<'_>) {
        let Some(index) = self.by_path.get(&(path.local, path.remote)).copied() else { return };
        let Some(Some(connection)) = self.places.get_mut(index as usize) else { return };
        let limits = &self.common.limits;
        if !connection.queue([reply, &[], &[]], limits.waiting + limits.headroom, &mut self.output) {
            self.close(index, Closed::SlowReader, now, core);
            return;
        }
        mark(connection, index, &mut self.dirty);
        // It may be the answer that an allocation is about to come here.
        if connection.is_stranger && core.server.has_allocation(path) {
            connection.is_stranger = false;
            self.strangers.remove(connection.source());
        }
    }

    /// The end of a turn of the loop: sends what was gathered, and looks at deadlines.
    pub fn turn(&mut self, now: Now, core: &mut Core<'_>) {
        for index in std::mem::take(&mut self.dirty) {
            self.flush(index, now, core);
        }
        for _ in 0..DEADLINES {
            match self.deadlines.first() {
                Some(&(due, index)) if due <= now.instant => self.look(index, now, core),
                _ => break,
            }
        }
        self.handshakes = 0;
        self.resume(now.instant);
        self.free.append(&mut self.freed);
    }

    fn flush(&mut self, index: u32, now: Now, core: &mut Core<'_>) {
        let Some(Some(connection)) = self.places.get_mut(index as usize) else { return };
        connection.is_dirty = false;
        let failed = connection.flush(&mut self.output).err();
        self.waiting = self.waiting + connection.waiting() - connection.counted;
        connection.counted = connection.waiting();
        let told = if connection.wanted() == connection.interest {
            Ok(())
        } else {
            connection.interest = connection.wanted();
            self.epoll.modify(&*connection, &mut event(index, connection.interest))
        };
        if let Some(why) = failed.or(told.err().map(|_| Closed::Error)) {
            self.close(index, why, now, core);
        }
    }

    /// The deadline of a connection has come.
    fn look(&mut self, index: u32, now: Now, core: &mut Core<'_>) {
        let Some(Some(connection)) = self.places.get_mut(index as usize) else { return };
        let is_stranger = !core.server.has_allocation(&connection.path);
        if is_stranger != std::mem::replace(&mut connection.is_stranger, is_stranger) {
            let source = connection.source();
            if is_stranger { self.strangers.add(source) } else { self.strangers.remove(source) }
        }
        match self.common.limits.due(connection.progress(), now.instant) {
            Due::Ended(why) => self.close(index, why, now, core),
            Due::Later(due) => {
                self.deadlines.remove(&(connection.due, index));
                connection.due = due;
                self.deadlines.insert((due, index));
            }
        }
    }

    fn close(&mut self, index: u32, why: Closed, now: Now, core: &mut Core<'_>) {
        let Some(connection) = self.places.get_mut(index as usize).and_then(Option::take) else { return };
        let path = connection.path;
        self.freed.push(index);
        self.by_path.remove(&(path.local, path.remote));
        self.deadlines.remove(&(connection.due, index));
        self.waiting -= connection.counted;
        if connection.is_stranger {
            self.strangers.remove(connection.source());
        }
        if connection.is_handshaking() {
            self.counters.streams.handshake(Handshake::Failed);
        }
        self.counters.streams.closed(path.transport, why);
        connection.end(&mut self.output);
        self.common.give_back();
        core.server.handle_closed(now, core.relays, &path);
    }

    /// Ends every connection.
    pub fn close_all(&mut self, now: Now, core: &mut Core<'_>) {
        for index in 0..self.places.len() {
            self.close(u32::try_from(index).unwrap_or(u32::MAX), Closed::Drained, now, core);
        }
    }
}

fn event(index: u32, interest: EpollFlags) -> EpollEvent {
    EpollEvent::new(interest, CONNECTION_BIT | u64::from(index))
}

fn mark(connection: &mut Connection, index: u32, dirty: &mut Vec<u32>) {
    if !std::mem::replace(&mut connection.is_dirty, true) {
        dirty.push(index);
    }
}
