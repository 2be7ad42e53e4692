//! The relay sockets of one thread.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use nix::{
    libc,
    sys::{
        epoll::{Epoll, EpollEvent, EpollFlags},
        socket::{setsockopt, sockopt},
    },
};
use socket2::Socket;

use super::{
    counters::IoCounters,
    sender::Exit,
    sockets::{Appetite, size_buffers, udp},
    sys::{self, Fragments},
};
use crate::turn::proto::{OpenError, Parcel, RelayId, RelayPorts};

/// Asked for on a relay socket: a key frame of 1080p video that arrives at once is about a quarter.
const RELAY_BUFFER: usize = 1024 * 1024;

/// File descriptors that the relay sockets and connections of all threads may have together.
#[derive(Debug)]
pub struct Descriptors(AtomicI64);

impl Descriptors {
    pub fn new(count: u64) -> Self {
        Self(AtomicI64::new(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    pub fn take(&self) -> bool {
        let taken = self.0.fetch_sub(1, Ordering::Relaxed) > 0;
        if !taken {
            self.give_back();
        }
        taken
    }

    pub fn give_back(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn left(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Longest payload of a datagram that goes through every path in one piece: IPv6 demands 1280 bytes (RFC 8200 section 5), and
/// IPv4 paths that take less are not met any more.
const FITS_EVERYWHERE: usize = 1280 - 48;

/// How a payload leaves for a peer. With the DF bit if the client asked for it (RFC 8656 section 11.1). Without it if routers
/// might have to fragment it (section 14: as if what came from the client had none). And with it again if none would have to:
/// the kernel needs no identification for such a packet, and to find one is a twentieth of what relaying costs. A path that
/// takes less after all is learned of by ICMP, and then datagrams are fragmented here.
pub fn fragments(payload: usize, dont_fragment: bool) -> Fragments {
    match (dont_fragment, payload <= FITS_EVERYWHERE) {
        (true, _) => Fragments::Probe,
        (false, true) => Fragments::Refused,
        (false, false) => Fragments::Allowed,
    }
}

/// One relay socket.
#[derive(Debug)]
pub struct Relay {
    socket: Socket,
    v4: bool,
    fragments: Fragments,
    pub appetite: Appetite,
    /// Whether it is in the list of those that may have something.
    pub waiting: bool,
}

impl Relay {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = udp(address)?;
        size_buffers(&socket, RELAY_BUFFER);
        socket.bind(&address.into())?;
        // ICMP errors are for the client to hear (RFC 8656 section 11.5).
        if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        sys::set_fragments(socket.as_fd(), address.is_ipv4(), Fragments::Allowed)?;
        // Without it every datagram comes by itself.
        let _ = sys::receive_coalesced(socket.as_fd());
        Ok(Self {
            socket,
            v4: address.is_ipv4(),
            fragments: Fragments::Allowed,
            appetite: Appetite::new(),
            waiting: false,
        })
    }

    /// Sets what becomes of long datagrams among those that are sent next.
    pub fn set_fragments(&mut self, fragments: Fragments) {
        if self.fragments != fragments && sys::set_fragments(self.socket.as_fd(), self.v4, fragments).is_ok() {
            self.fragments = fragments;
        }
    }

    pub fn exit(&self) -> Exit<'_> {
        Exit { socket: self.socket.as_fd(), fragments: self.v4 && self.fragments == Fragments::Refused }
    }

    /// Forgets an error that stands at the socket without being in its queue.
    pub fn clear_error(&self) {
        let _ = self.socket.take_error();
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A slab: a [`RelayId`] is a place in it, the last one given up is the next one taken.
pub struct Relays {
    epoll: Arc<Epoll>,
    /// Of the token that `epoll` reports for a relay.
    token: fn(RelayId) -> u64,
    places: Vec<Option<Relay>>,
    free: Vec<u32>,
    descriptors: Arc<Descriptors>,
    transit: Arc<Transit>,
    counters: Arc<IoCounters>,
}

impl Relays {
    pub fn new(
        epoll: Arc<Epoll>,
        token: fn(RelayId) -> u64,
        descriptors: Arc<Descriptors>,
        transit: Arc<Transit>,
        counters: Arc<IoCounters>,
    ) -> Self {
        Self { epoll, token, places: Vec::new(), free: Vec::new(), descriptors, transit, counters }
    }

    pub fn get(&mut self, relay: RelayId) -> Option<&mut Relay> {
        self.places.get_mut(relay.0 as usize)?.as_mut()
    }

    fn place(&mut self, relay: Relay) -> Result<RelayId, OpenError> {
        let id = self.free.last().copied().map_or_else(|| u32::try_from(self.places.len()), Ok);
        let id = RelayId(id.map_err(|_| OpenError::Exhausted)?);
        // What waits in it already is told of at once.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, (self.token)(id));
        self.epoll.add(&relay, event).map_err(|_| OpenError::Failed)?;
        if self.free.pop().is_some() {
            self.places[id.0 as usize] = Some(relay);
        } else {
            self.places.push(Some(relay));
        }
        self.counters.relay_opened();
        Ok(id)
    }
}

/// Relay sockets between two threads.
#[derive(Debug, Default)]
pub struct Transit {
    sockets: Mutex<HashMap<u64, Relay>>,
    sent: AtomicU64,
}

impl Transit {
    /// The parcel of a socket that was not there.
    const NOTHING: Parcel = Parcel(u64::MAX);

    fn put(&self, relay: Relay) -> Parcel {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).insert(number, relay);
        Parcel(number)
    }

    fn take(&self, parcel: Parcel) -> Option<Relay> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).remove(&parcel.0)
    }
}

impl RelayPorts for Relays {
    fn open(&mut self, address: IpAddr, port: u16) -> Result<RelayId, OpenError> {
        if !self.descriptors.take() {
            self.counters.relay_not_opened();
            return Err(OpenError::Exhausted);
        }
        let bound = Relay::bind(SocketAddr::new(address, port)).map_err(|error| reason(&error));
        bound.and_then(|relay| self.place(relay)).inspect_err(|error| {
            self.descriptors.give_back();
            if *error != OpenError::InUse {
                self.counters.relay_not_opened();
            }
        })
    }

    fn close(&mut self, relay: RelayId) {
        // Closing a socket takes it out of epoll.
        if self.places.get_mut(relay.0 as usize).is_some_and(|place| place.take().is_some()) {
            self.free.push(relay.0);
            self.descriptors.give_back();
            self.counters.relay_closed();
        }
    }

    fn detach(&mut self, relay: RelayId) -> Parcel {
        let Some(mut taken) = self.places.get_mut(relay.0 as usize).and_then(Option::take) else {
            return Transit::NOTHING;
        };
        // A socket that stays open is not taken out of epoll by itself.
        let _ = self.epoll.delete(&taken);
        taken.waiting = false;
        self.free.push(relay.0);
        self.counters.relay_closed();
        self.transit.put(taken)
    }

    fn attach(&mut self, parcel: Parcel) -> Result<RelayId, OpenError> {
        let relay = self.transit.take(parcel).ok_or(OpenError::Exhausted)?;
        self.place(relay).inspect_err(|_| {
            self.descriptors.give_back();
            self.counters.relay_not_opened();
        })
    }
}

fn reason(error: &io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => OpenError::InUse,
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => OpenError::Exhausted,
        _ => OpenError::Failed,
    }
}
