//! Mobility (RFC 8016): a client that has come to another address keeps its allocation.
//!
//! Here is what one allocation knows of it, and the tickets. How allocations come from shard to shard is in
//! [`super::handover`].
//!
//! # Tickets
//!
//! A ticket is the serial number of an allocation, how many tickets it has had before, and a MAC over both: so a forged
//! one is told apart (400) from that of an allocation that has ended (437), in constant time, and before any table is
//! looked at. It proves nothing about who brings it; the credentials of the allocation do.
//!
//! It is written in base64, and exactly 32 characters long: coturn's client keeps it as text, in room for so many.

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use rand::{Rng, RngExt};
use sha2::Sha256;

use super::server::{ClientPath, ShardIndex};

/// Serial (8), number (4), MAC (12).
const RAW: usize = 24;
const ENCODED: usize = 32;

/// How long the ticket before the last is known after the client was heard on its new path, so that a Refresh that is
/// retransmitted is answered alike (RFC 8016 section 3.2.2: at least 30 s).
const REPLAYED: Duration = Duration::from_secs(40);

/// How long an allocation waits for a client that has lost its connection and comes back by another. The client has to
/// notice (a phone that has changed networks does in seconds), and a port that nobody comes back for is soon free.
pub(super) const ORPHANED: Duration = Duration::from_mins(1);

/// Of a mobile allocation. Random, and never used again in the life of a process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Serial(u64);

impl Serial {
    pub(super) fn random(rng: &mut impl Rng) -> Self {
        Self(rng.random())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serial(..)")
    }
}

/// A MOBILITY-TICKET as it is sent. `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket([u8; ENCODED]);

impl Ticket {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// Makes and reads tickets. New in every process.
pub(super) struct TicketKey([u8; 32]);

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl TicketKey {
    /// From a key that is random and new in every process; other keys may be derived from the same.
    pub(super) fn derive(key: &[u8; 32]) -> Self {
        Self(mac(key, &[b"mobility ticket"]))
    }

    pub(super) fn make(&self, serial: Serial, number: u32) -> Ticket {
        let mut ticket = Ticket([0; ENCODED]);
        let written = BASE64.encode_slice(self.raw(serial, number), &mut ticket.0);
        debug_assert_eq!(written, Ok(ENCODED));
        ticket
    }

    /// What a ticket of ours says.
    pub(super) fn read(&self, ticket: &[u8]) -> Option<(Serial, u32)> {
        let mut raw = [0; RAW];
        if BASE64.decode_slice(ticket, &mut raw) != Ok(RAW) {
            return None;
        }
        let (serial, rest) = raw.split_first_chunk::<8>()?;
        let (number, _) = rest.split_first_chunk::<4>()?;
        let (serial, number) = (Serial(u64::from_be_bytes(*serial)), u32::from_be_bytes(*number));
        let right = subtle::ConstantTimeEq::ct_eq(&raw[..], &self.raw(serial, number)[..]);
        bool::from(right).then_some((serial, number))
    }

    fn raw(&self, serial: Serial, number: u32) -> [u8; RAW] {
        let (serial, number) = (serial.0.to_be_bytes(), number.to_be_bytes());
        let mut raw = [0; RAW];
        raw[..8].copy_from_slice(&serial);
        raw[8..12].copy_from_slice(&number);
        raw[12..].copy_from_slice(&mac(&self.0, &[&serial, &number])[..RAW - 12]);
        raw
    }
}

/// Where a client has said that it will be heard next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) path: ClientPath,
    /// Whose path it is.
    pub(super) shard: ShardIndex,
}

/// The mobile part of an allocation that was asked for with a MOBILITY-TICKET.
#[derive(Debug)]
pub(super) struct Mobility {
    pub(super) serial: Serial,
    /// Of the last ticket given.
    number: u32,
    /// From a Refresh with a ticket until the client is heard there: meanwhile everything goes on by the old path.
    pub(super) next: Option<Next>,
    /// Until then the ticket before the last is answered where it was used.
    replayed_until: Option<Instant>,
    /// The connection is closed: the path of the allocation leads nowhere, and may be somebody else's by now.
    pub(super) orphaned: bool,
}

impl Mobility {
    pub(super) fn new(serial: Serial) -> Self {
        Self { serial, number: 0, next: None, replayed_until: None, orphaned: false }
    }

    /// The number of the ticket that answers a Refresh from `from` with the ticket `number`, for an allocation at `at`.
    /// `None`: the ticket is refused (400), because the client has not moved, or has a newer one.
    ///
    /// An old ticket is good for retransmissions. As long as the client has not been heard where it used it, that goes
    /// for other places, too: the answer with the new ticket may have been lost, and the client moved on.
    pub(super) fn answer(&self, number: u32, from: &ClientPath, at: &ClientPath, now: Instant) -> Option<u32> {
        let here = from == at && !self.orphaned;
        if number == self.number {
            return if here { None } else { Some(number.wrapping_add(1)) };
        }
        let last_but_one = number.wrapping_add(1) == self.number;
        let good = match self.next {
            Some(_) => !here,
            None => here && self.replayed_until.is_some_and(|until| now < until),
        };
        (last_but_one && good).then_some(self.number)
    }

    /// [`answer`](Self::answer) has given `number` to the client at `next`.
    pub(super) fn expect(&mut self, next: Next, number: u32, now: Instant) {
        self.number = number;
        self.next = Some(next);
        self.replayed_until = Some(now + REPLAYED);
    }

    /// The client has been heard on its next path, which is that of the allocation now.
    pub(super) fn arrive(&mut self) {
        self.next = None;
        self.orphaned = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_by_its_maker_alone_and_only_as_it_was_made() {
        let (ours, theirs) = (TicketKey::derive(&[1; 32]), TicketKey::derive(&[2; 32]));
        let ticket = ours.make(Serial(7), 3);
        assert_eq!(ours.read(ticket.as_bytes()), Some((Serial(7), 3)));
        assert_eq!(theirs.read(ticket.as_bytes()), None);
        assert_eq!(ours.read(&ticket.as_bytes()[..31]), None);
        assert_eq!(ours.read(&[ticket.as_bytes(), b"A"].concat()), None);
        for place in 0..ENCODED {
            let mut forged = ticket.0;
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(ours.read(&forged), None, "{place}");
        }
        assert_ne!(ticket, ours.make(Serial(7), 4));
        assert_eq!(format!("{ticket:?} {:?} {ours:?}", Serial(7)), "Ticket(..) Serial(..) TicketKey(..)");
    }
}
