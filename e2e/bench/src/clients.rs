//! The clients' side of the server: thousands of clients behind one interface, whatever the transport.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use crate::row::Transport;
use crate::server::{self, Server};
use crate::streams::Streams;
use crate::udp::Socket;

/// Clients are 127.1.0.1 and up, their peers 127.64.0.1 and up.
const CLIENTS: u32 = 0x7F01_0001;
const PEERS: u32 = 0x7F40_0001;
const CLIENT_PORT: u16 = 40_000;
const PEER_PORT: u16 = 5_000;

pub fn client_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(CLIENTS + u32::try_from(index).unwrap_or(u32::MAX - CLIENTS))
}

fn client_index(address: Ipv4Addr) -> Option<usize> {
    usize::try_from(u32::from(address).checked_sub(CLIENTS)?).ok()
}

/// Each client has a peer of its own: a server that multiplexes its relay socket tells clients apart by their peers.
pub fn peer_address(index: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(PEERS + u32::try_from(index).unwrap_or(u32::MAX - PEERS)), PEER_PORT))
}

/// The socket of all peers.
pub fn open_peers() -> Result<Socket> {
    Socket::open(PEER_PORT)
}

pub enum Clients {
    Udp(Socket),
    Stream(Streams),
}

impl Clients {
    /// Streams are connected when they are first written to.
    pub fn open(server: &Server) -> Result<Self> {
        Ok(match server.transport {
            Transport::Udp => Self::Udp(Socket::open(CLIENT_PORT)?),
            Transport::Tcp | Transport::Tls => Self::Stream(Streams::new(server)?),
        })
    }

    /// Sends messages of `segment` bytes each. False: nothing was taken, try again later.
    pub fn send(&mut self, index: usize, messages: &[u8], segment: usize) -> io::Result<bool> {
        match self {
            Self::Udp(socket) => {
                socket.send(client_address(index), server::listener(Transport::Udp), messages, segment)
            }
            Self::Stream(streams) => streams.send(index, messages),
        }
    }

    /// Takes what has arrived, at most one batch: `each(client, message)`. Zero: nothing waits.
    pub fn receive(&mut self, mut each: impl FnMut(usize, &[u8])) -> io::Result<usize> {
        match self {
            // What comes from elsewhere was relayed to a client's address, as if that were a peer.
            Self::Udp(socket) => socket.receive(|from, to, message| {
                if let Some(index) = client_index(to).filter(|_| from == server::listener(Transport::Udp)) {
                    each(index, message);
                }
            }),
            Self::Stream(streams) => streams.receive(each),
        }
    }
}
