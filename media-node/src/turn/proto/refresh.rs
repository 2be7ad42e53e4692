//! Refresh (RFC 8656 section 8.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::allocate::{asked_lifetime, granted_lifetime, seconds};
use super::allocation::Slot;
use super::attribute::{REQUESTED_ADDRESS_FAMILY, family};
use super::config::Family;
use super::counters::{Method, Outcome};
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
        if let Some(again) = self.deleted_just_now(request, Method::Refresh) {
            return Ok(again);
        }
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
            self.deletions.remember(request);
            return Ok(Success::Refreshed { lifetime: 0 });
        }
        let lifetime = granted_lifetime(asked, &self.config.lifetimes);
        self.prolong(slot, &families, request.now.instant + lifetime);
        Ok(Success::Refreshed { lifetime: seconds(lifetime) })
    }

    /// The answer to a deletion that is retransmitted.
    pub(super) fn deleted_just_now(&self, request: &Request<'_>, method: Method) -> Option<Success> {
        (method == Method::Refresh && self.deletions.has(request)).then_some(Success::Refreshed { lifetime: 0 })
    }
}

/// Deletions of a moment ago, so that a retransmitted one is answered as the first was, not with 437. RFC 8656 lets a client take
/// 437 for success, but "alike" is what RFC 8489 section 6.3.1 asks for.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    recent: VecDeque<(ClientPath, [u8; 12], Instant)>,
}

impl Deletions {
    /// How many are remembered; more in 40 s than that, and the oldest gets its 437.
    const MAX: usize = 1024;
    /// How long a transaction can be retransmitted (RFC 8489 section 6.3.1).
    const MEMORY: Duration = Duration::from_secs(40);

    fn has(&self, request: &Request<'_>) -> bool {
        let (path, transaction, now) = (request.path, request.message.transaction(), request.now.instant);
        self.recent.iter().any(|(at, id, until)| *at == path && *id == transaction && now < *until)
    }

    fn remember(&mut self, request: &Request<'_>) {
        let now = request.now.instant;
        while self.recent.front().is_some_and(|(.., until)| *until <= now || self.recent.len() >= Self::MAX) {
            self.recent.pop_front();
        }
        self.recent.push_back((request.path, request.message.transaction(), now + Self::MEMORY));
    }
}
