//! Channels of one allocation (RFC 8656 section 12).
//!
//! A binding expires by being compared with `now`. Its number and its peer stay tied to each other for five minutes
//! more (section 12: late packets must not reach another peer), so an expired binding is kept that long, and removed
//! when room is needed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::config::Family;

/// How long after its expiry a number or peer cannot be bound otherwise.
const QUARANTINE: Duration = Duration::from_mins(5);

/// The numbers a channel can have: 0x4000 to 0x7FFF, the range of RFC 5766 section 11.
///
/// RFC 8656 section 12 lets clients choose from 0x4000 to 0x4FFF only, but clients of the older range are everywhere
/// (coturn's picks from all of it, and gives up when refused). A listener of ours carries nothing that the upper part
/// could be taken for: RFC 7983 keeps 80 to 127 as first bytes free of other protocols.
pub(super) fn is_channel(number: u16) -> bool {
    (0x4000..=0x7FFF).contains(&number)
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BindError {
    /// The number belongs to another peer, or the peer to another number, or did until less than five minutes ago.
    Taken,
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Channel {
    peer: SocketAddr,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Channels {
    by_number: HashMap<u16, Channel, RandomState>,
    by_peer: HashMap<SocketAddr, u16, RandomState>,
}

impl Channels {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { by_number: HashMap::with_hasher(hasher.clone()), by_peer: HashMap::with_hasher(hasher) }
    }

    pub(super) fn peer(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        self.by_number.get(&number).filter(|channel| now < channel.until).map(|channel| channel.peer)
    }

    pub(super) fn number(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        let number = *self.by_peer.get(&peer)?;
        self.peer(number, now).map(|_| number)
    }

    /// Whether [`bind`](Self::bind) would succeed, so that the permission that goes with it is not installed for
    /// nothing.
    pub(super) fn check(&mut self, number: u16, peer: SocketAddr, now: Instant, limit: usize) -> Result<(), BindError> {
        let bound_to = self.by_number.get(&number).filter(|channel| now < channel.until + QUARANTINE);
        if bound_to.is_some_and(|channel| channel.peer == peer) {
            return Ok(());
        }
        let bound_by = self
            .by_peer
            .get(&peer)
            .and_then(|other| self.by_number.get(other))
            .filter(|channel| now < channel.until + QUARANTINE);
        if bound_to.is_some() || bound_by.is_some() {
            return Err(BindError::Taken);
        }
        if self.by_number.len() >= limit {
            self.retain(|channel| now < channel.until + QUARANTINE);
        }
        if self.by_number.len() < limit { Ok(()) } else { Err(BindError::Full) }
    }

    /// Bind or refresh. Only after [`check`](Self::check) allowed it.
    pub(super) fn bind(&mut self, number: u16, peer: SocketAddr, until: Instant) {
        // Leftovers of bindings whose quarantine is over.
        if let Some(other) = self.by_peer.insert(peer, number).filter(|other| *other != number) {
            self.by_number.remove(&other);
        }
        if let Some(before) =
            self.by_number.insert(number, Channel { peer, until }).filter(|before| before.peer != peer)
        {
            self.by_peer.remove(&before.peer);
        }
    }

    /// A relayed address of a dual allocation has gone, and its channels with it.
    pub(super) fn forget(&mut self, family: Family) {
        self.retain(|channel| Family::of_socket(channel.peer) != family);
    }

    /// Those to peers that are denied by now end as if they had expired: their numbers stay theirs for as long.
    pub(super) fn close(&mut self, denied: impl Fn(IpAddr) -> bool, now: Instant) {
        for channel in self.by_number.values_mut().filter(|channel| denied(channel.peer.ip())) {
            channel.until = channel.until.min(now);
        }
    }

    fn retain(&mut self, keep: impl Fn(&Channel) -> bool) {
        self.by_number.retain(|_, channel| keep(channel));
        self.by_peer.retain(|_, number| self.by_number.contains_key(number));
    }
}
