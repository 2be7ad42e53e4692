//! ChannelBind (RFC 8656 section 12.2).

use super::allocation::Slot;
use super::attribute::{CHANNEL_NUMBER, XOR_PEER_ADDRESS, read_xor_address};
use super::channels::{BindError, is_channel};
use super::config::Family;
use super::counters::{Outcome, Refusal};
use super::peer::{Standing, standing};
use super::server::{Request, Server, Success};

impl Server {
    pub(super) fn channel_bind(&mut self, request: &Request<'_>, slot: Slot) -> Result<Success, Outcome> {
        let allocation = self.allocations.get_mut(slot).ok_or(Outcome::AllocationMismatch)?;
        let message = &request.message;
        let number = match message.attribute(CHANNEL_NUMBER) {
            Some(&[high, low, _, _]) => u16::from_be_bytes([high, low]),
            Some(_) | None => return Err(Outcome::BadRequest),
        };
        let peer = message
            .attribute(XOR_PEER_ADDRESS)
            .and_then(|value| read_xor_address(value, message.transaction()))
            .filter(|peer| peer.port() != 0 && is_channel(number))
            .ok_or(Outcome::BadRequest)?;
        if allocation.relay(Family::of_socket(peer)).is_none() {
            return Err(Outcome::PeerAddressFamilyMismatch);
        }
        match standing(&self.config.relays, &self.terms.peers, &self.shared.own_addresses(), peer.ip()) {
            // A port that no client of this node can ever be relayed through.
            Standing::OwnRelay if !self.config.ports.contains(peer.port()) => return Err(Outcome::Forbidden),
            Standing::Open | Standing::OwnRelay => {}
            Standing::Forbidden => return Err(Outcome::Forbidden),
        }
        let counters = self.shared.counters(self.shard);
        let (now, lifetimes, limits) = (request.now.instant, self.config.lifetimes, self.terms.limits);
        allocation.channels.check(number, peer, now, limits.channels).map_err(|error| match error {
            BindError::Taken => Outcome::BadRequest,
            BindError::Full => counters.refuse(Refusal::Channels),
        })?;
        allocation
            .permissions
            .install(&[peer.ip()], now, lifetimes.permission, limits.permissions)
            .map_err(|_| counters.refuse(Refusal::Permissions))?;
        allocation.channels.bind(number, peer, now + lifetimes.channel);
        Ok(Success::Done)
    }
}
