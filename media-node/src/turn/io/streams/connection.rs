//! One connection: bytes in, bytes out.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Instant,
};

use nix::sys::epoll::EpollFlags;
use rustls::{ServerConfig, ServerConnection};

use super::{
    counters::{Closed, Handshake},
    limits::{Progress, Source},
    tls,
};
use crate::turn::proto::{
    ClientPath, Transport,
    framing::{Rest, can_begin},
};

/// The first byte of a TLS handshake record (RFC 7983).
const HANDSHAKE: u8 = 0x16;

/// What a connection carries.
enum Layer {
    /// On a TLS listener, before the first byte.
    Unknown,
    Plain,
    Tls(Box<ServerConnection>),
}

pub struct Connection {
    socket: TcpStream,
    pub path: ClientPath,
    layer: Layer,
    /// The beginning of a message that is not whole yet.
    pub rest: Rest,
    /// What the socket has not taken yet, whole messages but for the first.
    out: Vec<u8>,
    accepted: Instant,
    pub last_message: Option<Instant>,
    /// Whether it counts among those without an allocation.
    pub is_stranger: bool,
    /// Whether it is on the list of those that have something to send.
    pub is_dirty: bool,
    /// Whether the socket took not all of it, and has not said since that it takes more.
    pub is_full: bool,
    /// What epoll tells.
    pub interest: EpollFlags,
    /// How many bytes of it are counted as waiting.
    pub counted: usize,
    /// When its deadline is looked at.
    pub due: Instant,
    /// Why it cannot go on.
    pub broken: Option<Closed>,
}

/// Where the bytes of one connection at a time are received.
pub struct Input {
    wire: Box<[u8]>,
    /// The same, decrypted.
    plain: Vec<u8>,
}

/// What messages need on their way out.
#[derive(Default)]
pub struct Output {
    /// A message on its way into a TLS record.
    message: Vec<u8>,
    /// Buffers that no connection needs now.
    spare: Vec<Vec<u8>>,
}

/// Bytes read from one connection a turn, so that it does not keep the others waiting.
const READ: usize = 64 * 1024;
const SPARES: usize = 64;
/// Larger buffers are given back to the system.
const LARGEST_SPARE: usize = 64 * 1024;

impl Input {
    pub fn new() -> Self {
        Self { wire: vec![0; READ].into_boxed_slice(), plain: Vec::with_capacity(READ) }
    }
}

impl Output {
    fn take(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn give_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && buffer.capacity() <= LARGEST_SPARE && self.spare.len() < SPARES {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl Connection {
    pub fn new(socket: TcpStream, path: ClientPath, accepted: Instant, due: Instant) -> Self {
        let layer = if path.transport == Transport::Tls { Layer::Unknown } else { Layer::Plain };
        Self {
            socket,
            path,
            layer,
            rest: Rest::default(),
            out: Vec::new(),
            accepted,
            last_message: None,
            is_stranger: true,
            is_dirty: false,
            is_full: false,
            interest: EpollFlags::EPOLLIN,
            counted: 0,
            due,
            broken: None,
        }
    }

    pub fn progress(&self) -> Progress {
        Progress { accepted: self.accepted, last_message: self.last_message, has_allocation: !self.is_stranger }
    }

    pub fn source(&self) -> Source {
        Source::of(self.path.remote.ip())
    }

    /// What epoll should tell.
    pub fn wanted(&self) -> EpollFlags {
        if self.is_full { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN }
    }

    /// Bytes that wait for the socket to take them.
    pub fn waiting(&self) -> usize {
        self.out.len()
    }

    pub fn is_handshaking(&self) -> bool {
        matches!(&self.layer, Layer::Tls(tls) if tls.is_handshaking())
    }

    /// Whether what comes next is, or may be, part of a TLS handshake.
    pub fn is_before_tls(&self) -> bool {
        matches!(self.layer, Layer::Unknown) || self.is_handshaking()
    }

    /// Takes what the socket has, and a share of it at the most: messages and parts of them, and the TLS handshake that
    /// ended with it. If it was the last, `broken` says so.
    pub fn receive<'i>(
        &mut self,
        input: &'i mut Input,
        output: &mut Output,
        config: Option<&Arc<ServerConfig>>,
    ) -> (&'i [u8], Option<Handshake>) {
        let len = match (&self.socket).read(&mut input.wire) {
            Ok(0) => return self.ended(Closed::Client),
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return (&[], None),
            Err(error) => return self.ended(reason(&error)),
        };
        let wire = &input.wire[..len];
        if let (Layer::Unknown, Some(config)) = (&self.layer, config) {
            match wire.first() {
                Some(&HANDSHAKE) => match ServerConnection::new(Arc::clone(config)) {
                    Ok(mut tls) => {
                        // What it has to send is taken from it at once.
                        tls.set_buffer_limit(None);
                        self.layer = Layer::Tls(Box::new(tls));
                    }
                    Err(_) => return self.ended(Closed::Tls),
                },
                Some(first) if can_begin(*first) => {
                    self.layer = Layer::Plain;
                    self.path.transport = Transport::Tcp;
                }
                _ => {}
            }
        }
        match &mut self.layer {
            Layer::Unknown => self.ended(Closed::NotTurn),
            Layer::Plain => (wire, None),
            Layer::Tls(tls) => {
                input.plain.clear();
                let opened = tls::open(tls, wire, &mut input.plain);
                if self.out.capacity() == 0 && tls.wants_write() {
                    self.out = output.take();
                }
                tls::flush(tls, &mut self.out);
                self.broken = opened.end.map(|end| match end {
                    tls::End::Closed => Closed::Client,
                    tls::End::Broken(error) => {
                        // Anybody can send this: a counter's worth, not a line's.
                        tracing::debug!(from = %self.path.remote, %error, "TLS broke");
                        Closed::Tls
                    }
                });
                (&input.plain, opened.handshake)
            }
        }
    }

    fn ended<'i>(&mut self, why: Closed) -> (&'i [u8], Option<Handshake>) {
        self.broken = Some(why);
        (&[], None)
    }

    /// Puts a message behind what waits, unless more than `limit` bytes would.
    pub fn queue(&mut self, parts: [&[u8]; 3], limit: usize, output: &mut Output) -> bool {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.out.len() + len > limit {
            return false;
        }
        if self.out.capacity() == 0 {
            self.out = output.take();
        }
        match &mut self.layer {
            Layer::Unknown => return false,
            Layer::Plain => parts.iter().for_each(|part| self.out.extend_from_slice(part)),
            Layer::Tls(tls) => {
                let message = &mut output.message;
                message.clear();
                for part in parts {
                    message.extend_from_slice(part);
                }
                if tls::seal(tls, message, &mut self.out).is_err() {
                    self.broken = Some(Closed::Tls);
                }
            }
        }
        true
    }

    /// The same where a turn brings more than may wait, to a socket that takes it all. A failure is met again at the end of
    /// the turn.
    pub fn queue_or_flush(&mut self, parts: [&[u8]; 3], limit: usize, output: &mut Output) -> bool {
        self.queue(parts, limit, output)
            || !self.is_full && self.flush(output).is_ok() && self.queue(parts, limit, output)
    }

    /// Gives the socket what waits. An error ends the connection.
    pub fn flush(&mut self, output: &mut Output) -> Result<(), Closed> {
        if self.is_full {
            return Ok(());
        }
        while !self.out.is_empty() {
            match (&self.socket).write(&self.out) {
                Ok(taken) if taken == self.out.len() => self.out.clear(),
                Ok(taken) => drop(self.out.drain(..taken)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_full = true;
                    return Ok(());
                }
                Err(error) => return Err(reason(&error)),
            }
        }
        output.give_back(std::mem::take(&mut self.out));
        Ok(())
    }

    /// Says farewell, as far as the socket takes it.
    pub fn end(mut self, output: &mut Output) {
        if let Layer::Tls(tls) = &mut self.layer {
            tls.send_close_notify();
            tls::flush(tls, &mut self.out);
        }
        let _ = self.flush(output);
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn reason(error: &io::Error) -> Closed {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Closed::Unreachable,
        _ => Closed::Error,
    }
}
