//! One shard: datagrams and time in, decisions out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::config::ServerConfig;
use super::shared::Shared;

/// The two kinds of time (see the module's documentation).
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    /// Seconds since 1970 UTC.
    pub unix: u64,
}

/// Which server of a process this is, from 0. The number of them is given to [`Shared::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardIndex(pub u16);

/// A relay socket. The shell chooses the number: the smallest free one, as a slab does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u32);

/// How client and server talk. Part of the 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
}

/// A client's 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientPath {
    /// The listener's address. The same value for every packet of a 5-tuple.
    pub local: SocketAddr,
    /// The client as the listener sees it. IPv6 sockets are to be V6ONLY, so that it is never v4-mapped.
    pub remote: SocketAddr,
    pub transport: Transport,
}

/// Opens and closes relay sockets. Called inside `handle_client`, `handle_timeout` and `close_all` only.
pub trait RelayPorts {
    /// Bind a UDP socket to exactly this address and port.
    fn open(&mut self, address: IpAddr, port: u16) -> Result<RelayId, OpenError>;
    /// Close it. Packets that wait in it are lost.
    fn close(&mut self, relay: RelayId);
}

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has the port: another one is tried.
    #[error("the port is in use")]
    InUse,
    /// No other port would help (no file descriptors, no such address): the request gets a 508.
    #[error("no relay socket can be opened")]
    Exhausted,
}

/// What to do after a datagram from a client. `'s` borrows the server, `'i` the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction<'s, 'i> {
    /// Nothing; a counter says why.
    None,
    /// Send this to the client, on the path on which the input came.
    Reply(&'s [u8]),
    ToPeer(ToPeer<'i>),
}

/// A payload for a peer: a slice of the client's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToPeer<'i> {
    /// The socket to send it from.
    pub relay: RelayId,
    pub to: SocketAddr,
    pub payload: &'i [u8],
    /// The client asked for the DF bit (RFC 8656 section 11.1): never with channel data.
    pub dont_fragment: bool,
}

/// A datagram for a client: head, payload (a slice of the peer's datagram), tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToClient<'i> {
    pub path: ClientPath,
    head: [u8; ToClient::HEAD_MAX],
    head_len: u8,
    tail_len: u8,
    pub payload: &'i [u8],
}

impl ToClient<'_> {
    /// Longest head: a Data indication about an IPv6 peer with an ICMP attribute.
    pub const HEAD_MAX: usize = 56;

    /// A channel data header (4 bytes) or a Data indication up to its payload.
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    /// The padding of a Data indication: 0 to 3 zero bytes. Channel data over UDP has none.
    pub fn tail(&self) -> &'static [u8] {
        &[0; 3][..usize::from(self.tail_len)]
    }

    /// Length of the whole datagram.
    pub fn total_len(&self) -> usize {
        usize::from(self.head_len) + self.payload.len() + usize::from(self.tail_len)
    }
}

/// An ICMP error about a datagram that a relay socket sent (RFC 8656 section 11.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerError {
    /// The peer that the datagram was for.
    pub peer: SocketAddr,
    pub icmp_type: u8,
    pub icmp_code: u8,
    /// The MTU of the next hop for "fragmentation needed" or "packet too big", else 0.
    pub data: u32,
}

/// TURN on one thread. See the module's documentation for the loop around it.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    shared: Arc<Shared>,
    shard: ShardIndex,
}

impl Server {
    /// `seed` is random, and different for every shard and process: ports, tokens and hash keys come from it.
    pub fn new(config: Arc<ServerConfig>, shared: Arc<Shared>, shard: ShardIndex, seed: [u8; 32], now: Now) -> Self {
        let _ = (seed, now);
        Self { config, shared, shard }
    }

    /// A datagram arrived on a listener.
    pub fn handle_client<'s, 'i>(
        &'s mut self,
        now: Now,
        relays: &mut impl RelayPorts,
        path: ClientPath,
        bytes: &'i [u8],
    ) -> Reaction<'s, 'i> {
        let _ = (now, relays, path, bytes, &self.config, &self.shared, self.shard);
        Reaction::None
    }

    /// A datagram arrived on a relay socket.
    pub fn handle_peer<'i>(
        &mut self,
        now: Now,
        relay: RelayId,
        from: SocketAddr,
        payload: &'i [u8],
    ) -> Option<ToClient<'i>> {
        let _ = (now, relay, from, payload);
        None
    }

    /// A relay socket reported an ICMP error.
    pub fn handle_peer_error(&mut self, now: Now, relay: RelayId, error: PeerError) -> Option<ToClient<'static>> {
        let _ = (now, relay, error);
        None
    }

    /// Something may have expired. Bounded per call: while more is due, `poll_timeout` returns an instant in the past.
    pub fn handle_timeout(&mut self, now: Now, relays: &mut impl RelayPorts) {
        let _ = (now, relays);
    }

    /// When to call `handle_timeout`. O(1).
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// End every allocation of this shard and close its relay sockets: the deadline of a drain has passed.
    pub fn close_all(&mut self, relays: &mut impl RelayPorts) {
        let _ = relays;
    }

    /// Allocations of this shard that live.
    pub fn allocations(&self) -> usize {
        0
    }
}
