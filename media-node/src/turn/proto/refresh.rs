//! Refresh (RFC 8656 section 8.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

use super::allocate::{asked_lifetime, granted_lifetime, seconds};
use super::allocation::Slot;
use super::attribute::{REQUESTED_ADDRESS_FAMILY, family};
use super::config::Family;
use super::counters::Outcome;
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
#[derive(Debug, Default)]
pub(super) struct Deletions {
    recent: VecDeque<Deletion>,
}

#[derive(Debug)]
struct Deletion {
    path: ClientPath,
    request: [u8; 32],
    answer: Box<[u8]>,
    until: Instant,
}

impl Deletions {
    /// How many are remembered; more in 40 s than that, and the oldest gets its 437.
    const MAX: usize = 1024;
    /// How long a transaction can be retransmitted (RFC 8489 section 6.3.1).
    const MEMORY: Duration = Duration::from_secs(40);

    pub(super) fn answer(&self, now: Instant, path: &ClientPath, request: &[u8]) -> Option<&[u8]> {
        let mut of_path = self.recent.iter().filter(|known| known.path == *path && now < known.until).peekable();
        of_path.peek()?;
        let digest: [u8; 32] = Sha256::digest(request).into();
        of_path.find(|known| known.request.ct_eq(&digest).into()).map(|known| &*known.answer)
    }

    pub(super) fn remember(&mut self, now: Instant, path: ClientPath, request: &[u8], answer: &[u8]) {
        while self.recent.front().is_some_and(|oldest| oldest.until <= now) || self.recent.len() >= Self::MAX {
            self.recent.pop_front();
        }
        let request = Sha256::digest(request).into();
        self.recent.push_back(Deletion { path, request, answer: answer.into(), until: now + Self::MEMORY });
    }
}
