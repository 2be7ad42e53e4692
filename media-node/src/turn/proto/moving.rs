//! Requests that carry a MOBILITY-TICKET (RFC 8016 sections 3.1 and 3.2): who asks for mobility, and who has moved.

use super::allocation::{Allocation, Slot};
use super::arrivals::{Arrival, Waiting};
use super::attribute::MOBILITY_TICKET;
use super::auth::{Identity, Live, authenticate};
use super::counters::{Drop, Method, Outcome};
use super::credentials::Key;
use super::message::Message;
use super::mobility::{Mobility, Next, Serial};
use super::post::{Answered, Asked, Letter, Mail};
use super::server::{ClientPath, Now, Reaction, RelayPorts, Request, Server, ShardIndex, Success};

/// Where a mobile allocation is, and whose it is.
#[derive(Clone, Debug)]
pub(super) struct Mobile {
    pub(super) owner: ShardIndex,
    pub(super) username: Box<str>,
    pub(super) key: Key,
}

impl Server {
    /// What an Allocate says of mobility (section 3.1.2).
    pub(super) fn wants_mobility(&self, message: &Message<'_>) -> Result<bool, Outcome> {
        match message.attribute(MOBILITY_TICKET) {
            None => Ok(false),
            Some([]) if self.config.mobility => Ok(true),
            Some([]) => Err(Outcome::MobilityForbidden),
            Some(_) => Err(Outcome::BadRequest),
        }
    }

    /// A client is about to have an allocation that can move.
    pub(super) fn begin_mobility(&mut self, request: &Request<'_>) -> Mobility {
        let serial = Serial::random(&mut self.rng);
        let Identity { username, key, .. } = &request.identity;
        let mobile = Mobile { owner: self.shard, username: username.clone(), key: key.clone() };
        self.shared.remember_mobile(serial, mobile);
        Mobility::new(serial)
    }

    /// A Refresh with a ticket (section 3.2.2). Authentication comes first, so that a ticket alone tells nothing.
    pub(super) fn refresh_by_ticket<'s, 'i>(
        &'s mut self,
        now: Now,
        relays: &mut impl RelayPorts,
        (path, proven): (ClientPath, bool),
        message: Message<'_>,
        ticket: &[u8],
    ) -> Reaction<'s, 'i> {
        let signed = message.sha1().is_some() || message.sha256().is_some();
        let ticket = if signed { self.shared.tickets.read(ticket) } else { None };
        let found = ticket.and_then(|(serial, _)| self.shared.find_mobile(serial));
        let live = match &found {
            Some(Mobile { username, key, .. }) => Some(Live { username, key }),
            None => self.allocations.of_path(&path).map(Allocation::owner),
        };
        let identity = match authenticate(now, &message, proven, &self.config, &self.terms, &self.shared, live) {
            Ok(identity) => identity,
            Err(denied) => return self.deny(now, &path, &message, Method::Refresh, denied),
        };
        let request = Request { now, path, message, identity, slot: self.allocations.slot(&path) };
        let (serial, number, owner) = match self.movable(&request, ticket, found) {
            Ok(movable) => movable,
            Err(outcome) => return self.answer(&request, Method::Refresh, Err(outcome)),
        };
        if owner != self.shard {
            let Request { identity, .. } = request;
            let from = Next { path, shard: self.shard };
            let request = Waiting(message.bytes().into());
            let asked = || Some(Letter::Refresh(Box::new(Asked { from, serial, number, identity, request })));
            if !self.write_to(owner, asked) {
                self.counters().dropped(Drop::HandoverFull);
            }
            return Reaction::None;
        }
        let Some(slot) = self.live_mobile(now, relays, serial) else {
            // Ended this moment; or on its way here, and then the client is to ask again.
            return match self.shared.owner_of_mobile(serial) {
                None => self.answer(&request, Method::Refresh, Err(Outcome::AllocationMismatch)),
                Some(_) => Reaction::None,
            };
        };
        let result = self.expect(&request, slot, number, self.shard, relays);
        if let Some(next) = result.ok().and_then(|_| self.next_at(slot, &path)) {
            self.expected(slot, next, relays);
        }
        self.answer(&request, Method::Refresh, result)
    }

    /// Whether the request is its owner's, and about an allocation that can come to its path.
    fn movable(
        &self,
        request: &Request<'_>,
        ticket: Option<(Serial, u32)>,
        found: Option<Mobile>,
    ) -> Result<(Serial, u32, ShardIndex), Outcome> {
        if request.message.not_understood().next().is_some() {
            return Err(Outcome::UnknownAttribute);
        }
        if !self.config.mobility {
            return Err(Outcome::MobilityForbidden);
        }
        let (serial, number) = ticket.ok_or(Outcome::BadRequest)?;
        let Mobile { owner, username, .. } = found.ok_or(Outcome::AllocationMismatch)?;
        if username != request.identity.username {
            return Err(Outcome::WrongCredentials);
        }
        if request.slot.is_some_and(|slot| self.mobile.get(&serial) != Some(&slot)) {
            return Err(Outcome::AllocationMismatch);
        }
        Ok((serial, number, owner))
    }

    /// The owner's part of a Refresh with a ticket that is [`movable`](Self::movable): refresh it, and note where the client will be heard.
    fn expect(
        &mut self,
        request: &Request<'_>,
        slot: Slot,
        number: u32,
        shard: ShardIndex,
        relays: &mut impl RelayPorts,
    ) -> Result<Success, Outcome> {
        let (path, now) = (request.path, request.now.instant);
        let allocation = self.allocations.get(slot).ok_or(Outcome::AllocationMismatch)?;
        let here = allocation.path == path && !allocation.orphaned();
        let mobility = allocation.mobility.as_ref().ok_or(Outcome::BadRequest)?;
        let number = mobility.answer(number, &path, &allocation.path, now).ok_or(Outcome::BadRequest)?;
        let serial = mobility.serial;
        let success = self.refresh(request, slot, relays)?;
        let Success::Refreshed { lifetime: lifetime @ 1.., .. } = success else { return Ok(success) };
        if !here && let Some(mobility) = self.mobility_mut(slot) {
            let before = mobility.next;
            mobility.expect(Next { path, shard }, number, now);
            self.call_off(serial, before.filter(|before| before.path != path));
            if shard != self.shard {
                self.forget_arrival_of(serial);
            }
        }
        Ok(Success::Refreshed { lifetime, ticket: Some(self.shared.tickets.make(serial, number)) })
    }

    /// The owner has answered a Refresh from a path of its own.
    fn expected(&mut self, slot: Slot, next: Next, relays: &mut impl RelayPorts) {
        let Some(allocation) = self.allocations.get(slot) else { return };
        if allocation.orphaned() {
            self.arrive(relays, slot, next);
            return;
        }
        if let (Some(until), Some(mobility)) = (allocation.due(), &allocation.mobility) {
            let serial = mobility.serial;
            self.remember_arrival(next.path, Arrival::new(serial, until));
        }
    }

    /// Another shard asks for a client of its own.
    pub(super) fn refresh_for(&mut self, now: Now, relays: &mut impl RelayPorts, asked: Asked) {
        let Asked { from, serial, number, identity, request: bytes } = asked;
        let Ok(message) = Message::decode(&bytes.0) else { return };
        // Gone meanwhile: the client asks again, and is told.
        let Some(slot) = self.live_mobile(now, relays, serial) else { return };
        let request = Request { now, path: from.path, message, identity, slot: Some(slot) };
        let result = self.expect(&request, slot, number, from.shard, relays);
        let Reaction::Reply(answer) = self.answer(&request, Method::Refresh, result) else { return };
        let answer = Waiting(answer.into());
        let next = self.next_at(slot, &from.path).filter(|_| result.is_ok());
        let expected = next.and_then(|_| self.allocations.get(slot)?.due());
        let ended = matches!(result, Ok(Success::Refreshed { lifetime: 0, .. }));
        let answered = Answered { path: from.path, serial, answer, expected, deletion: ended.then_some(bytes) };
        if !self.write_to(from.shard, || Some(Letter::Answer(Box::new(answered)))) {
            self.counters().dropped(Drop::HandoverFull);
        }
        if let Some(next) = next
            && self.allocations.get(slot).is_some_and(Allocation::orphaned)
        {
            self.arrive(relays, slot, next);
        }
    }

    pub(super) fn answered(&mut self, now: Now, answered: Answered) {
        let Answered { path, serial, answer, expected, deletion } = answered;
        if let Some(Ok(request)) = deletion.as_ref().map(|request| Message::decode(&request.0)) {
            self.deletions.remember(now.instant, path, &request, &answer.0);
        }
        if let Some(until) = expected.filter(|_| self.allocations.slot(&path).is_none()) {
            // What waits there already goes on waiting.
            let known = self.forget_arrival(&path).filter(|arrival| arrival.serial == serial);
            let mut arrival = known.unwrap_or_else(|| Arrival::new(serial, until));
            arrival.until = until;
            self.remember_arrival(path, arrival);
        }
        self.post.read.push_back(Mail::Reply { path, bytes: answer.0 });
    }
}
