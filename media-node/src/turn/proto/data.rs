//! Relayed packets: Send and Data indications (RFC 8656 section 11), channel data (section 12), ICMP (section 11.5).
//!
//! No allocation, no lock, no copy. Three lookups a packet: allocation, channel, permission.
//!
//! Two clients of one node send to each other's relayed address. Inside, that is the local form of the relay address
//! (they differ behind a 1:1 NAT); clients only ever see the public one, so it is exchanged both ways here. And it is a
//! way into the machine, so only ports that live as relays at this moment are reached through it, or heard.

use std::net::SocketAddr;

use rand::Rng;

use super::allocation::{Allocation, Relay};
use super::attribute::{DATA, DONT_FRAGMENT, ICMP, MAGIC_COOKIE, XOR_PEER_ADDRESS, read_xor_address, xor_address};
use super::config::Family;
use super::counters::Drop;
use super::encode::message_type;
use super::message::{ChannelData, Class, HEADER, Message, method};
use super::server::{ClientPath, Now, PeerError, Reaction, RelayId, Server, ToClient, ToPeer, Transport};

/// Largest UDP payload over IPv4. Over IPv6 it is 20 more, and on a stream 65535 would fit, which nobody needs.
const DATAGRAM_MAX: usize = 65_507;

impl Server {
    /// Section 12.6.
    pub(super) fn channel_data<'i>(
        &mut self,
        now: Now,
        path: &ClientPath,
        bytes: &'i [u8],
    ) -> Result<ToPeer<'i>, Drop> {
        let ChannelData { number, payload } = ChannelData::decode(bytes).ok_or(Drop::Malformed)?;
        let slot = self.allocations.slot(path).ok_or(Drop::NoAllocation)?;
        self.renew(slot, now.instant);
        let allocation = self.allocations.get(slot).ok_or(Drop::NoAllocation)?;
        let peer = allocation.channels.peer(number, now.instant).ok_or(Drop::NoChannel)?;
        self.to_peer(now, allocation, peer, payload, false)
    }

    /// Section 11.2.
    pub(super) fn send<'i>(&mut self, now: Now, path: &ClientPath, message: &Message<'i>) -> Result<ToPeer<'i>, Drop> {
        let slot = self.allocations.slot(path).ok_or(Drop::NoAllocation)?;
        self.renew(slot, now.instant);
        let mut peer = None;
        let mut data = None;
        let mut dont_fragment = false;
        for (kind, value) in message.attributes() {
            match kind {
                XOR_PEER_ADDRESS if peer.is_none() => peer = Some(value),
                DATA if data.is_none() => data = Some(value),
                DONT_FRAGMENT => dont_fragment = true,
                kind if super::attribute::understood(kind) => {}
                _ => return Err(Drop::Malformed),
            }
        }
        let peer = peer.and_then(|value| read_xor_address(value, message.transaction())).ok_or(Drop::Malformed)?;
        let allocation = self.allocations.get(slot).ok_or(Drop::NoAllocation)?;
        self.to_peer(now, allocation, peer, data.ok_or(Drop::Malformed)?, dont_fragment)
    }

    fn to_peer<'i>(
        &self,
        now: Now,
        allocation: &Allocation,
        peer: SocketAddr,
        payload: &'i [u8],
        dont_fragment: bool,
    ) -> Result<ToPeer<'i>, Drop> {
        if !allocation.permissions.allow(peer.ip(), now.instant) || peer.port() == 0 {
            return Err(Drop::NoPermission);
        }
        let Relay { id, .. } = allocation.live(Family::of_socket(peer), now.instant).ok_or(Drop::Family)?;
        let to = self.inside(peer)?;
        if allocation.pace.as_ref().is_some_and(|pace| !pace.lets_to_peer(now.instant, payload.len())) {
            return Err(Drop::Bandwidth);
        }
        Ok(ToPeer { relay: id, to, payload, dont_fragment })
    }

    /// Where a peer that a client names is reached.
    fn inside(&self, peer: SocketAddr) -> Result<SocketAddr, Drop> {
        let family = Family::of_socket(peer);
        match self.config.relays.get(family) {
            Some(relay) if relay.public == peer.ip() => {
                let live = self.shared.ports.is_live(family, peer.port());
                if live { Ok(SocketAddr::new(relay.local, peer.port())) } else { Err(Drop::OwnAddress) }
            }
            Some(_) | None => Ok(peer),
        }
    }

    /// As which peer a client knows a source.
    fn outside(&self, from: SocketAddr) -> Result<SocketAddr, Drop> {
        // A socket fills in flow and scope of an IPv6 source; clients name peers without.
        let from = SocketAddr::new(from.ip(), from.port());
        let family = Family::of_socket(from);
        match self.config.relays.get(family) {
            Some(relay) if relay.local == from.ip() || relay.public == from.ip() => {
                let live = self.shared.ports.is_live(family, from.port());
                if live { Ok(SocketAddr::new(relay.public, from.port())) } else { Err(Drop::OwnAddress) }
            }
            Some(_) | None => Ok(from),
        }
    }

    /// Section 11.3.
    pub(super) fn peer_data<'i>(
        &mut self,
        now: Now,
        relay: RelayId,
        from: SocketAddr,
        payload: &'i [u8],
    ) -> Result<ToClient<'i>, Drop> {
        let (slot, family) = self.allocations.of_relay(relay).ok_or(Drop::NoRelay)?;
        self.renew(slot, now.instant);
        let allocation = self.allocations.get(slot).ok_or(Drop::NoRelay)?;
        allocation.live(family, now.instant).ok_or(Drop::NoRelay)?;
        if allocation.orphaned() {
            return Err(Drop::ClientGone);
        }
        let peer = self.outside(from)?;
        if !allocation.permissions.allow(peer.ip(), now.instant) {
            return Err(Drop::NoPermission);
        }
        if allocation.pace.as_ref().is_some_and(|pace| !pace.lets_to_client(now.instant, payload.len())) {
            return Err(Drop::Bandwidth);
        }
        let path = allocation.path;
        let head = match allocation.channels.number(peer, now.instant) {
            Some(number) => channel_head(number, payload, path.transport).ok_or(Drop::TooLarge)?,
            None => data_head(self.transaction(), peer, payload).ok_or(Drop::TooLarge)?,
        };
        Ok(ToClient { path, head, payload })
    }

    /// Section 11.5. The permission is that of the peer which the lost datagram was for.
    pub(super) fn peer_error(&mut self, now: Now, relay: RelayId, error: PeerError) -> Result<ToClient<'static>, Drop> {
        let PeerError { peer, icmp_type, icmp_code, data } = error;
        let (slot, family) = self.allocations.of_relay(relay).ok_or(Drop::NoRelay)?;
        self.renew(slot, now.instant);
        let allocation = self.allocations.get(slot).ok_or(Drop::NoRelay)?;
        allocation.live(family, now.instant).ok_or(Drop::NoRelay)?;
        if allocation.orphaned() {
            return Err(Drop::ClientGone);
        }
        let (reported, too_big) = match family {
            Family::V4 => (matches!(icmp_type, 3 | 11), icmp_type == 3 && icmp_code == 4),
            Family::V6 => (matches!(icmp_type, 1..=3), icmp_type == 2),
        };
        if !reported {
            return Err(Drop::NotForUs);
        }
        // No `outside`: a relayed port of this node that has just gone is what such an error is about.
        let peer = SocketAddr::new(peer.ip(), peer.port());
        let peer = match self.config.relays.get(family) {
            Some(relay) if relay.local == peer.ip() => SocketAddr::new(relay.public, peer.port()),
            Some(_) | None => peer,
        };
        if !allocation.permissions.allow(peer.ip(), now.instant) {
            return Err(Drop::NoPermission);
        }
        let path = allocation.path;
        let mtu = if too_big { data } else { 0 };
        Ok(ToClient { path, head: icmp_head(self.transaction(), peer, (icmp_type, icmp_code), mtu), payload: &[] })
    }

    fn transaction(&mut self) -> [u8; 12] {
        let mut transaction = [0; 12];
        self.rng.fill_bytes(&mut transaction);
        transaction
    }

    pub(super) fn count_to_peer<'s, 'i>(&self, result: Result<ToPeer<'i>, Drop>) -> Reaction<'s, 'i> {
        match result {
            Ok(to_peer) => {
                self.counters().to_peer(to_peer.payload.len());
                Reaction::ToPeer(to_peer)
            }
            Err(why) => {
                self.counters().dropped(why);
                Reaction::None
            }
        }
    }
}

/// What stands before and behind a payload on its way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    bytes: [u8; Self::MAX],
    len: u8,
    pub(super) padding: u8,
}

impl Head {
    /// A Data indication about an IPv6 peer with an ICMP attribute.
    pub(super) const MAX: usize = HEADER + 24 + 12;

    fn new() -> Self {
        Self { bytes: [0; Self::MAX], len: 0, padding: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Header and XOR-PEER-ADDRESS of a Data indication with `rest` more bytes.
    fn data_indication(transaction: [u8; 12], peer: SocketAddr, rest: u16) -> Self {
        let (address, address_len) = xor_address(peer, transaction);
        let address = &address[..address_len];
        let address_len: u16 = if peer.is_ipv4() { 8 } else { 20 };
        let mut head = Self::new();
        head.push(&message_type(Class::Indication, method::DATA));
        head.push(&(4 + address_len + rest).to_be_bytes());
        head.push(&MAGIC_COOKIE);
        head.push(&transaction);
        head.push(&XOR_PEER_ADDRESS.to_be_bytes());
        head.push(&address_len.to_be_bytes());
        head.push(address);
        head
    }
}

/// Section 12.5: padded on streams.
fn channel_head(number: u16, payload: &[u8], transport: Transport) -> Option<Head> {
    if payload.len() > DATAGRAM_MAX - 4 {
        return None;
    }
    let mut head = Head::new();
    head.push(&number.to_be_bytes());
    head.push(&u16::try_from(payload.len()).ok()?.to_be_bytes());
    if transport.is_stream() {
        head.padding = u8::try_from(payload.len().next_multiple_of(4) - payload.len()).ok()?;
    }
    Some(head)
}

fn data_head(transaction: [u8; 12], peer: SocketAddr, payload: &[u8]) -> Option<Head> {
    let padded = payload.len().next_multiple_of(4);
    if padded > DATAGRAM_MAX - Head::MAX {
        return None;
    }
    let mut head = Head::data_indication(transaction, peer, 4 + u16::try_from(padded).ok()?);
    head.push(&DATA.to_be_bytes());
    head.push(&u16::try_from(payload.len()).ok()?.to_be_bytes());
    head.padding = u8::try_from(padded - payload.len()).ok()?;
    Some(head)
}

/// Section 18.13: 7 bits of type, 9 bits of code.
fn icmp_head(transaction: [u8; 12], peer: SocketAddr, (kind, code): (u8, u8), mtu: u32) -> Head {
    let mut head = Head::data_indication(transaction, peer, 12);
    head.push(&ICMP.to_be_bytes());
    head.push(&[0, 8, 0, 0]);
    head.push(&(u16::from(kind) << 9 | u16::from(code)).to_be_bytes());
    head.push(&mtu.to_be_bytes());
    head
}
