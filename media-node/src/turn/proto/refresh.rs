//! Refresh (RFC 8656 section 8.2).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ahash::RandomState;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::allocate::{asked_lifetime, granted_lifetime, seconds};
use super::allocation::Slot;
use super::attribute::{REQUESTED_ADDRESS_FAMILY, family};
use super::config::Family;
use super::counters::Outcome;
use super::message::Message;
use super::server::{ClientPath, RelayPorts, Request, Server, Success};

impl Server {
    /// `slot` is the allocation of the request's 5-tuple, made with the same username.
    pub(super) fn refresh(
        &mut self,
        request: &Request<'_>,
        slot: Slot,
        relays: &mut impl RelayPorts,
    ) -> Result<Success, Outcome> {
        let asked = asked_lifetime(&request.message)?;
        let only = match request.message.attribute(REQUESTED_ADDRESS_FAMILY) {
            None => None,
            Some(&[number, _, _, _]) => Some(family(number).ok_or(Outcome::PeerAddressFamilyMismatch)?),
            Some(_) => return Err(Outcome::BadRequest),
        };
        let allocation = self.allocations.get(slot).ok_or(Outcome::AllocationMismatch)?;
        let families: Vec<Family> = [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| allocation.relay(*family).is_some() && only.is_none_or(|only| only == *family))
            .collect();
        if families.is_empty() {
            return Err(Outcome::PeerAddressFamilyMismatch);
        }
        if asked == Some(0) {
            for family in families {
                self.close_relay(slot, family, relays);
            }
            self.settle(slot);
            return Ok(Success::Refreshed { lifetime: 0, ticket: None });
        }
        let lifetime = granted_lifetime(asked, &self.config.lifetimes);
        self.prolong(slot, &families, request.now.instant + lifetime);
        Ok(Success::Refreshed { lifetime: seconds(lifetime), ticket: None })
    }
}

/// Deletions of a moment ago with their answers, so that a retransmitted one is answered as the first was, and not with
/// 437 or, if its username has expired by now, with 401. RFC 8656 lets a client take 437 for success, but RFC 8489
/// section 6.3.1 asks for the same answer. Whoever sends exactly these bytes from this address again need not be
/// authenticated again.
#[derive(Debug)]
pub(super) struct Deletions {
    recent: HashMap<Deleted, Deletion, RandomState>,
    oldest_first: VecDeque<(Instant, Deleted)>,
}

/// By whom and in which transaction: every Refresh is looked for, so this must not cost more the more there are.
type Deleted = (ClientPath, [u8; 12]);

#[derive(Debug)]
struct Deletion {
    request: [u8; 32],
    answer: Box<[u8]>,
    until: Instant,
}

impl Deletions {
    /// How many are remembered; more in 40 s than that, and the oldest gets its 437.
    const MAX: usize = 1024;
    /// How long a transaction can be retransmitted (RFC 8489 section 6.3.1).
    const MEMORY: Duration = Duration::from_secs(40);

    pub(super) fn new(hasher: RandomState) -> Self {
        Self { recent: HashMap::with_hasher(hasher), oldest_first: VecDeque::new() }
    }

    pub(super) fn answer(&self, now: Instant, path: &ClientPath, request: &Message<'_>) -> Option<&[u8]> {
        let known = self.recent.get(&(*path, request.transaction())).filter(|known| now < known.until)?;
        let digest: [u8; 32] = Sha256::digest(request.bytes()).into();
        bool::from(known.request.ct_eq(&digest)).then_some(&*known.answer)
    }

    pub(super) fn remember(&mut self, now: Instant, path: ClientPath, request: &Message<'_>, answer: &[u8]) {
        while let Some((until, oldest)) = self.oldest_first.front().copied()
            && (until <= now || self.oldest_first.len() >= Self::MAX)
        {
            self.oldest_first.pop_front();
            // The same transaction may have ended another allocation since.
            if self.recent.get(&oldest).is_some_and(|known| known.until == until) {
                self.recent.remove(&oldest);
            }
        }
        let (deleted, until) = ((path, request.transaction()), now + Self::MEMORY);
        let request = Sha256::digest(request.bytes()).into();
        self.recent.insert(deleted, Deletion { request, answer: answer.into(), until });
        self.oldest_first.push_back((until, deleted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::proto::server::Transport;

    fn path(port: u16) -> ClientPath {
        let address = |port| ([192, 0, 2, 1], port).into();
        ClientPath { local: address(3478), remote: address(port), transport: Transport::Udp }
    }

    fn request(transaction: u8) -> [u8; 20] {
        let mut request = [0; 20];
        request[..8].copy_from_slice(&[0, 4, 0, 0, 0x21, 0x12, 0xA4, 0x42]);
        request[19] = transaction;
        request
    }

    #[test]
    fn the_last_thousand_deletions_of_the_last_forty_seconds_are_remembered() {
        let (mut deletions, now) = (Deletions::new(RandomState::with_seeds(1, 2, 3, 4)), Instant::now());
        let bytes = [request(0), request(1)];
        let [first, second] = [&bytes[0], &bytes[1]].map(|bytes| Message::decode(bytes).unwrap());
        for port in 1..=2000 {
            deletions.remember(now, path(port), &first, &port.to_be_bytes());
        }
        let known = |deletions: &Deletions, at, request| {
            (1..=2000).filter(|port| deletions.answer(at, &path(*port), request) == Some(&port.to_be_bytes())).count()
        };
        assert_eq!((known(&deletions, now, &first), known(&deletions, now, &second)), (1024, 0));
        let later = now + Duration::from_secs(39);
        deletions.remember(later, path(2000), &first, b"again");
        deletions.remember(later, path(2000), &second, b"another");
        assert_eq!(deletions.answer(later, &path(2000), &first), Some(&b"again"[..]));
        let end = now + Duration::from_secs(40);
        assert_eq!(known(&deletions, end, &first), 0);
        deletions.remember(end, path(1), &first, b"");
        assert_eq!((deletions.recent.len(), deletions.oldest_first.len()), (3, 3));
        assert_eq!(deletions.answer(end, &path(2000), &first), Some(&b"again"[..]));
    }
}
