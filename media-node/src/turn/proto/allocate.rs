//! Allocate (RFC 8656 section 7.2), after authentication. The checks stand in the order of the RFC; the quota comes
//! last, so that nothing has to be given back when a check fails.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::allocation::{Allocation, Granted, Relay};
use super::alternates::Redirection;
use super::attribute::{
    ADDITIONAL_ADDRESS_FAMILY, ADDITIONAL_ADDRESS_FAMILY_ONCE, EVEN_PORT, LIFETIME, REQUESTED_ADDRESS_FAMILY,
    REQUESTED_TRANSPORT, RESERVATION_TOKEN, TRANSPORT_UDP, family,
};
use super::channels::Channels;
use super::config::{Family, Lifetimes};
use super::counters::{Outcome, Refusal};
use super::credentials::{RestUsername, userhash};
use super::message::Message;
use super::mobility::Mobility;
use super::pace::Pace;
use super::permissions::Permissions;
use super::ports::{self, Opened, Parity};
use super::server::{ClientPath, Refused, RelayPorts, Request, Server, Success};
use super::shared::Reservation;
use super::timers::Timer;

/// How long a reserved port is kept (section 7.2: at least 30 seconds).
const RESERVATION: Duration = Duration::from_secs(30);

/// What the request asks for, once it is found consistent.
enum Wanted {
    One(Family, Parity),
    /// IPv4 and IPv6, or what can be had of them.
    Both(Parity),
    Reserved([u8; 8]),
}

impl Server {
    pub(super) fn allocate(&mut self, request: &Request<'_>, relays: &mut impl RelayPorts) -> Result<Success, Refused> {
        if let Some(live) = request.slot.and_then(|slot| self.allocations.get(slot)) {
            let retransmitted =
                live.transaction == request.message.transaction() && live.username == request.identity.username;
            let ticket = live.mobility.as_ref().map(|mobility| self.shared.tickets.make(mobility.serial, 0));
            let again = Success::Allocated(live.granted, ticket);
            return if retransmitted { Ok(again) } else { Err(Outcome::AllocationMismatch.into()) };
        }
        let wanted = wanted(&request.message)?;
        let lifetime = granted_lifetime(asked_lifetime(&request.message)?, &self.config.lifetimes);
        let mobile = self.wants_mobility(&request.message)?;
        self.family_is_served(&wanted)?;
        if let Some(redirection) = self.redirection(request, &wanted) {
            return Err(Refused::TryAlternate(redirection));
        }
        if let Some(why) = self.shared.closed() {
            return Err(self.counters().refuse(why).into());
        }
        let user = RestUsername::parse(&request.identity.username).map_or("", |name| name.user);
        let granted = match wanted {
            Wanted::Reserved(token) => self.claim(request, relays, token, user),
            Wanted::One(family, parity) => {
                self.admitted(user, |server| server.open_one(request, relays, user, (family, parity)))
            }
            Wanted::Both(parity) => self.admitted(user, |server| server.open_both(relays, parity)),
        }?;
        let mobility = mobile.then(|| Box::new(self.begin_mobility(request)));
        let ticket = mobility.as_ref().map(|mobility| self.shared.tickets.make(mobility.serial, 0));
        Ok(Success::Allocated(self.create(request, user, granted, lifetime, mobility), ticket))
    }

    /// Where to go instead, while this node drains. A token is good at no other node, so who brings one is refused.
    fn redirection(&self, request: &Request<'_>, wanted: &Wanted) -> Option<Redirection> {
        if matches!(wanted, Wanted::Reserved(_)) {
            return None;
        }
        let ClientPath { local, remote, transport: _ } = request.path;
        let spread = self.hasher.hash_one((remote, request.message.transaction()));
        self.shared.drain().as_ref()?.for_client(remote.ip(), local.port(), spread)
    }

    /// 440, unless something of what is wanted can be had at all.
    fn family_is_served(&self, wanted: &Wanted) -> Result<(), Outcome> {
        match wanted {
            Wanted::One(family, _) if self.config.relays.get(*family).is_none() => {
                Err(Outcome::AddressFamilyNotSupported)
            }
            Wanted::One(..) | Wanted::Both(_) | Wanted::Reserved(_) => Ok(()),
        }
    }

    /// Count it in the quotas, and no more if it then fails.
    fn admitted(
        &mut self,
        user: &str,
        open: impl FnOnce(&mut Self) -> Result<Ports, Outcome>,
    ) -> Result<Ports, Outcome> {
        self.shared.admit(user, &self.terms.quotas).map_err(|why| self.counters().refuse(why))?;
        open(self).inspect_err(|_| self.shared.leave(user))
    }

    fn open_one(
        &mut self,
        request: &Request<'_>,
        relays: &mut impl RelayPorts,
        user: &str,
        (family, parity): (Family, Parity),
    ) -> Result<Ports, Outcome> {
        let opened = self.open(relays, family, parity).map_err(|why| self.counters().refuse(why))?;
        let mut ports = Ports::default();
        *ports.of(family) = Some(opened);
        if parity == Parity::Pair {
            match self.reserve_next(request, user, family, opened.port) {
                Ok(token) => ports.token = Some(token),
                Err(outcome) => {
                    relays.close(opened.relay);
                    self.shared.ports.release(family, opened.port);
                    self.shared.ports.release(family, opened.port + 1);
                    return Err(outcome);
                }
            }
        }
        Ok(ports)
    }

    /// Keep the port behind `port`, which is claimed already.
    fn reserve_next(
        &mut self,
        request: &Request<'_>,
        user: &str,
        family: Family,
        port: u16,
    ) -> Result<[u8; 8], Outcome> {
        // Used reservations leave their timers behind for 30 s: bounded here.
        if self.timers.len() >= 2 * self.terms.quotas.total as usize {
            return Err(self.counters().refuse(Refusal::NodeQuota));
        }
        self.shared.admit(user, &self.terms.quotas).map_err(|why| self.counters().refuse(why))?;
        let token: [u8; 8] = self.rng.random();
        let until = request.now.instant + RESERVATION;
        self.shared.reserve(token, Reservation { family, port: port + 1, user: user.into(), until });
        self.timers.set(until, Timer::Reservation(token));
        Ok(token)
    }

    fn open_both(&mut self, relays: &mut impl RelayPorts, parity: Parity) -> Result<Ports, Outcome> {
        let mut ports = Ports::default();
        let mut refused = Refusal::Ports;
        for family in [Family::V4, Family::V6] {
            let why = match self.config.relays.get(family) {
                None => Outcome::AddressFamilyNotSupported,
                Some(_) => match self.open(relays, family, parity) {
                    Ok(opened) => {
                        *ports.of(family) = Some(opened);
                        continue;
                    }
                    Err(why) => {
                        refused = why;
                        Outcome::InsufficientCapacity
                    }
                },
            };
            ports.missing = Some((family, why));
        }
        if ports.v4.is_none() && ports.v6.is_none() { Err(self.counters().refuse(refused)) } else { Ok(ports) }
    }

    fn open(&mut self, relays: &mut impl RelayPorts, family: Family, parity: Parity) -> Result<Opened, Refusal> {
        ports::open(&self.shared.ports, &self.config, &mut self.rng, relays, family, parity)
    }

    /// Use a reservation: it counts in the quotas already, and its port is claimed.
    fn claim(
        &mut self,
        request: &Request<'_>,
        relays: &mut impl RelayPorts,
        token: [u8; 8],
        user: &str,
    ) -> Result<Ports, Outcome> {
        let Some(kept) = self.shared.take_reservation(token, user, request.now.instant) else {
            return Err(self.counters().refuse(Refusal::Reservation));
        };
        let opened = ports::open_reserved(&self.shared.ports, &self.config, relays, kept.family, kept.port);
        let opened = opened.map_err(|why| {
            self.shared.ports.release(kept.family, kept.port);
            self.shared.leave(user);
            self.counters().refuse(why)
        })?;
        let mut ports = Ports::default();
        *ports.of(kept.family) = Some(opened);
        Ok(ports)
    }

    fn create(
        &mut self,
        request: &Request<'_>,
        user: &str,
        ports: Ports,
        lifetime: Duration,
        mobility: Option<Box<Mobility>>,
    ) -> Granted {
        let serial = mobility.as_ref().map(|mobility| mobility.serial);
        let until = request.now.instant + lifetime;
        let relay = |opened: Option<Opened>| opened.map(|Opened { relay, port }| Relay { id: relay, port, until });
        let relayed = |family, opened: Option<Opened>| {
            let public = self.config.relays.get(family)?.public;
            opened.map(|opened| SocketAddr::new(public, opened.port))
        };
        let Ports { v4, v6, token, missing } = ports;
        let granted = Granted {
            relayed: [relayed(Family::V4, v4), relayed(Family::V6, v6)],
            lifetime: seconds(lifetime),
            token,
            missing,
        };
        let username = request.identity.username.clone();
        self.shared.remember_username(userhash(&username, self.config.realm.as_str()), &username);
        let slot = self.allocations.insert(Box::new(Allocation {
            path: request.path,
            username,
            user: user.into(),
            key: request.identity.key.clone(),
            transaction: request.message.transaction(),
            granted,
            v4: relay(v4),
            v6: relay(v6),
            terms: self.terms.number,
            pace: Pace::within(self.terms.quotas.bandwidth_per_allocation, request.now.instant),
            permissions: Permissions::new(self.hasher.clone()),
            channels: Channels::new(self.hasher.clone()),
            mobility,
        }));
        self.mobile.extend(serial.map(|serial| (serial, slot)));
        self.timers.set(until, Timer::Allocation(slot));
        self.count_allocations();
        granted
    }
}

/// What was opened for a request.
#[derive(Clone, Copy, Default)]
struct Ports {
    v4: Option<Opened>,
    v6: Option<Opened>,
    token: Option<[u8; 8]>,
    missing: Option<(Family, Outcome)>,
}

impl Ports {
    fn of(&mut self, family: Family) -> &mut Option<Opened> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

/// Checks 3 to 9 of section 7.2, as far as they are about the request alone. DONT-FRAGMENT (check 4) is supported.
fn wanted(message: &Message<'_>) -> Result<Wanted, Outcome> {
    match message.attribute(REQUESTED_TRANSPORT) {
        Some(&[TRANSPORT_UDP, _, _, _]) => {}
        Some(&[_, _, _, _]) => return Err(Outcome::UnsupportedTransport),
        Some(_) | None => return Err(Outcome::BadRequest),
    }
    let even = message.attribute(EVEN_PORT);
    let requested = message.attribute(REQUESTED_ADDRESS_FAMILY);
    let additional =
        message.attribute(ADDITIONAL_ADDRESS_FAMILY).or_else(|| message.attribute(ADDITIONAL_ADDRESS_FAMILY_ONCE));
    if let Some(token) = message.attribute(RESERVATION_TOKEN) {
        if even.is_some() || requested.is_some() || additional.is_some() {
            return Err(Outcome::BadRequest);
        }
        return token.try_into().map(Wanted::Reserved).map_err(|_| Outcome::BadRequest);
    }
    let parity = match even {
        None => Parity::Any,
        Some(&[flags]) if flags & 0x80 == 0 => Parity::Even,
        Some(&[_]) => Parity::Pair,
        Some(_) => return Err(Outcome::BadRequest),
    };
    match (requested, additional) {
        (None, None) => Ok(Wanted::One(Family::V4, parity)),
        (Some(&[number, _, _, _]), None) => {
            family(number).map(|family| Wanted::One(family, parity)).ok_or(Outcome::AddressFamilyNotSupported)
        }
        // Only IPv6 can be additional (check 9), and a pair cannot be had of both (check 8).
        (None, Some(&[2, _, _, _])) if parity != Parity::Pair => Ok(Wanted::Both(parity)),
        (Some(_), _) | (None, Some(_)) => Err(Outcome::BadRequest),
    }
}

/// The lifetime that a request asks for, within what is granted; `None` if it does not ask. Zero is given back as it
/// is: it means something in a Refresh, and in an Allocate counts as too short.
pub(super) fn asked_lifetime(message: &Message<'_>) -> Result<Option<u32>, Outcome> {
    message
        .attribute(LIFETIME)
        .map(|value| value.try_into().map(u32::from_be_bytes).map_err(|_| Outcome::BadRequest))
        .transpose()
}

/// Never less than the default, never more than the maximum.
pub(super) fn granted_lifetime(asked: Option<u32>, lifetimes: &Lifetimes) -> Duration {
    let asked = asked.map_or(Duration::ZERO, |seconds| Duration::from_secs(seconds.into()));
    asked.min(lifetimes.allocation_max).max(lifetimes.allocation)
}

pub(super) fn seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
}
