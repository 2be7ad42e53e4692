//! Listener sockets: opened all together before the first packet is served, because a change in the set of sockets that
//! share a port moves 5-tuples from one thread to another.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    sender::Exit,
    sys::{Fragments, RecvRoom, receive_coalesced, set_fragments},
};

/// Asked for on a listener: 100 ms of 1200-byte packets at 300 Mbit/s.
const LISTENER_BUFFER: usize = 4 * 1024 * 1024;
/// Batches thrown away per socket before serving starts.
const MAX_EARLY_BATCHES: usize = 1024;

/// One thread's socket of one listener.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    bound: SocketAddr,
    pub appetite: Appetite,
}

/// How many datagrams, or runs of them, are asked of a socket at a time: one more than came the last time, so that a socket
/// that gave less is known to be empty; and twice as many after a time when all came.
#[derive(Clone, Copy, Debug)]
pub struct Appetite(usize);

impl Appetite {
    /// The system calls saved no longer show past 32, but the datagrams of one client that are found together do: they leave
    /// as one.
    pub const MOST: usize = 128;

    pub fn new() -> Self {
        Self(2)
    }

    pub fn get(self) -> usize {
        self.0
    }

    pub fn learn(&mut self, received: usize) {
        self.0 = if received >= self.0 { 2 * self.0 } else { received + 1 }.clamp(2, Self::MOST);
    }
}

impl Listener {
    /// As configured.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The address that a datagram came to: the bound one, or behind a wildcard what the kernel says.
    pub fn local_of(&self, to: Option<IpAddr>) -> Option<SocketAddr> {
        if !self.bound.ip().is_unspecified() {
            return Some(self.bound);
        }
        to.filter(|ip| !ip.is_multicast()).map(|ip| SocketAddr::new(ip, self.bound.port()))
    }

    /// Whether datagrams for `local` arrive here, and from where answers have to be sent.
    pub fn serves(&self, local: SocketAddr) -> bool {
        let any = self.bound.ip().is_unspecified();
        self.bound.port() == local.port()
            && if any { self.bound.is_ipv4() == local.is_ipv4() } else { self.bound.ip() == local.ip() }
    }

    /// The source to name explicitly when answering for `local`.
    pub fn source(&self, local: SocketAddr) -> Option<IpAddr> {
        self.bound.ip().is_unspecified().then(|| local.ip())
    }

    pub fn exit(&self) -> Exit<'_> {
        Exit { socket: self.socket.as_fd(), fragments: self.bound.is_ipv4() }
    }

    /// Receive and send buffers as the kernel has them, bytes.
    pub fn buffers(&self) -> (usize, usize) {
        (self.socket.recv_buffer_size().unwrap_or(0), self.socket.send_buffer_size().unwrap_or(0))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listeners[{index}].address: {address}: {source}: {}", remedy(source))]
pub struct ListenError {
    index: usize,
    address: SocketAddr,
    source: io::Error,
}

impl ListenError {
    pub(super) fn new(index: usize, address: SocketAddr, source: io::Error) -> Self {
        Self { index, address, source }
    }
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "end what listens there, or write another port",
        io::ErrorKind::AddrNotAvailable => "write an address of this machine, or 0.0.0.0 or [::] for all of them",
        io::ErrorKind::PermissionDenied => {
            "write a port from 1024 on, or lower net.ipv4.ip_unprivileged_port_start, or give CAP_NET_BIND_SERVICE"
        }
        _ => "write an address that this machine can listen on",
    }
}

/// Opens every listener for every thread: one list a thread. Addresses have their places in the configuration with them.
pub fn open_listeners(addresses: &[(usize, SocketAddr)], threads: usize) -> Result<Vec<Vec<Listener>>, ListenError> {
    let addresses = openable(addresses, |address| open(address, false).map(drop))?;
    let mut all: Vec<Vec<Listener>> = (0..threads).map(|_| Vec::with_capacity(addresses.len())).collect();
    for (index, address) in addresses {
        for of_thread in &mut all {
            of_thread.push(open(address, true).map_err(|source| ListenError { index, address, source })?);
        }
    }
    let mut room = RecvRoom::new(Appetite::MOST);
    for listener in all.iter().flatten() {
        // What came while only some of the sockets were open may belong to another thread. Clients send it again.
        for _ in 0..MAX_EARLY_BATCHES {
            if room.receive(listener.as_fd(), Appetite::MOST).is_err() {
                break;
            }
        }
    }
    Ok(all)
}

/// The listeners that nothing else has. All of them, except for a wildcard of a family that the kernel
/// does not have: one configuration serves many machines, and some have no IPv6.
pub(super) fn openable(
    addresses: &[(usize, SocketAddr)],
    open: impl Fn(SocketAddr) -> io::Result<()>,
) -> Result<Vec<(usize, SocketAddr)>, ListenError> {
    let mut found = Vec::new();
    let mut without_family = None;
    for &(index, address) in addresses {
        // SO_REUSEPORT would let a second node of the same user take a share of the packets of the first one.
        match open(address) {
            Ok(()) => found.push((index, address)),
            Err(source) if address.ip().is_unspecified() && source.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                tracing::warn!(%address, "not listening there: this machine's kernel does not have that address family");
                without_family = Some(ListenError { index, address, source });
            }
            Err(source) => return Err(ListenError { index, address, source }),
        }
    }
    match without_family {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Listener> {
    let socket = udp(address)?;
    if shared {
        socket.set_reuse_port(true)?;
        size_buffers(&socket, LISTENER_BUFFER);
    }
    if address.ip().is_unspecified() {
        if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    socket.bind(&address.into())?;
    // Without it every datagram comes by itself.
    let _ = receive_coalesced(socket.as_fd());
    if address.is_ipv4() {
        // Packets that no router may fragment need no identification, which takes the kernel a while to find. Those that do
        // not fit are fragmented here: see `Gathering`.
        set_fragments(socket.as_fd(), true, Fragments::Refused)?;
    }
    Ok(Listener { socket, bound: address, appetite: Appetite::new() })
}

/// A UDP socket of the address's family that is not bound yet.
pub fn udp(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Asks for buffers of `bytes`. The kernel gives at most `net.core.rmem_max` and `wmem_max`, unless the process may ask
/// for more; it counts its own overhead in, and so reports twice the number.
pub fn size_buffers(socket: &Socket, bytes: usize) {
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        let _ = socket.set_recv_buffer_size(bytes);
    }
    if setsockopt(socket, sockopt::SndBufForce, &bytes).is_err() {
        let _ = socket.set_send_buffer_size(bytes);
    }
}

/// What was asked for on listeners, bytes.
pub fn asked_buffer() -> usize {
    LISTENER_BUFFER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_asked_for_one_more_than_it_had_and_for_twice_as_many_when_that_was_all() {
        let mut appetite = Appetite::new();
        let mut asked = Vec::new();
        for received in [1, 2, 4, 3, 3, 0, 1] {
            asked.push(appetite.get());
            appetite.learn(received);
        }
        assert_eq!(asked, [2, 2, 4, 8, 4, 4, 2]);
        (0..10).for_each(|_| appetite.learn(Appetite::MOST));
        assert_eq!(appetite.get(), Appetite::MOST);
    }
}
