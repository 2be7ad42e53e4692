//! One shard: datagrams and time in, decisions out.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::allocation::{Allocation, Allocations, Granted, Slot};
use super::alternates::Redirection;
use super::arrivals::Arrivals;
use super::attribute::{
    ADDRESS_ERROR_CODE, ALTERNATE_SERVER, LIFETIME, MOBILITY_TICKET, NONCE, PASSWORD_ALGORITHMS, REALM,
    RESERVATION_TOKEN, UNKNOWN_ATTRIBUTES, XOR_MAPPED_ADDRESS, XOR_RELAYED_ADDRESS, family_number,
};
use super::auth::{Denied, Identity, Sign, authenticate, proves_address};
use super::config::{Family, ServerConfig};
use super::counters::{Drop, Method, Outcome, ShardCounters};
use super::credentials::PasswordAlgorithm;
use super::data::Head;
use super::encode::{Writer, error_code};
use super::handover::FirstHeard;
use super::message::method::{ALLOCATE, BINDING, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND};
use super::message::{Class, Message};
use super::mobility::{Serial, Ticket};
use super::post::Post;
use super::refresh::Deletions;
use super::shared::Shared;
use super::strangers::Strangers;
use super::terms::InForce;
use super::timers::Timer;
use super::timers::Timers;

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
    Tcp,
    Tls,
}

impl Transport {
    /// Messages follow each other without anything between them (see [`framing`](super::framing)), in order, and from
    /// an address that is proven.
    pub fn is_stream(self) -> bool {
        match self {
            Self::Udp => false,
            Self::Tcp | Self::Tls => true,
        }
    }
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

/// A relay socket on its way from one shard to another, by a number that the shell chooses. Each is attached once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parcel(pub u64);

/// Opens and closes relay sockets. Called inside the methods that take it only.
pub trait RelayPorts {
    /// Bind a UDP socket to exactly this address and port.
    fn open(&mut self, address: IpAddr, port: u16) -> Result<RelayId, OpenError>;
    /// Close it. Packets that wait in it are lost.
    fn close(&mut self, relay: RelayId);
    /// Take a socket out, to be attached on another shard. Packets that wait in it go with it.
    fn detach(&mut self, relay: RelayId) -> Parcel;
    /// Take in what another shard has detached. On an error it is closed.
    fn attach(&mut self, parcel: Parcel) -> Result<RelayId, OpenError>;
}

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has the port: another one is tried.
    #[error("the port is in use")]
    InUse,
    /// There are no more file descriptors, so no other port would help: the request gets a 508.
    #[error("there are no more file descriptors")]
    Exhausted,
    /// No other port would help for another reason (no such address, no memory): the request gets a 508.
    #[error("the kernel gives no socket")]
    Failed,
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

/// A message for a client: head, payload (a slice of the peer's datagram), tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToClient<'i> {
    pub path: ClientPath,
    pub(super) head: Head,
    pub payload: &'i [u8],
}

impl ToClient<'_> {
    /// Longest head, bytes.
    pub const HEAD_MAX: usize = Head::MAX;

    /// A channel data header (4 bytes) or a Data indication up to its payload.
    pub fn head(&self) -> &[u8] {
        self.head.as_bytes()
    }

    /// Padding: 0 to 3 zero bytes. Channel data over UDP has none.
    pub fn tail(&self) -> &'static [u8] {
        &[0; 3][..usize::from(self.head.padding)]
    }

    /// Length of the whole message.
    pub fn total_len(&self) -> usize {
        self.head().len() + self.payload.len() + self.tail().len()
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

/// A request of somebody who is authenticated.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) now: Now,
    pub(super) path: ClientPath,
    pub(super) message: Message<'a>,
    pub(super) identity: Identity,
    /// The allocation of the 5-tuple, if there is one. Nothing of it has expired.
    pub(super) slot: Option<Slot>,
}

/// What a successful answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Success {
    Allocated(Granted, Option<Ticket>),
    Refreshed {
        /// Seconds; 0 for a deletion.
        lifetime: u32,
        ticket: Option<Ticket>,
    },
    /// CreatePermission and ChannelBind answer without attributes.
    Done,
}

/// What an error answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    With(Outcome),
    TryAlternate(Redirection),
}

impl From<Outcome> for Refused {
    fn from(outcome: Outcome) -> Self {
        Self::With(outcome)
    }
}

/// TURN on one thread. See the module's documentation for the loop around it.
pub struct Server {
    pub(super) config: Arc<ServerConfig>,
    /// As of the datagram that arrived last.
    pub(super) terms: InForce,
    pub(super) shared: Arc<Shared>,
    pub(super) shard: ShardIndex,
    pub(super) rng: StdRng,
    pub(super) hasher: RandomState,
    pub(super) allocations: Allocations,
    pub(super) timers: Timers,
    pub(super) deletions: Deletions,
    /// None: all of them are answered.
    pub(super) strangers: Option<Strangers>,
    /// The allocations of this shard that can move.
    pub(super) mobile: HashMap<Serial, Slot, RandomState>,
    pub(super) arrivals: Arrivals,
    pub(super) post: Post,
    /// The answer being sent. Kept, so that it need not be allocated again.
    reply: Vec<u8>,
}

/// Nothing that was sent or is kept for clients: there are tickets, nonces and random numbers inside.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allocations = self.allocations.len();
        f.debug_struct("Server").field("shard", &self.shard).field("allocations", &allocations).finish_non_exhaustive()
    }
}

impl Server {
    /// `seed` is random, and different for every shard and process: ports, tokens and hash keys come from it.
    pub fn new(config: Arc<ServerConfig>, shared: Arc<Shared>, index: ShardIndex, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let hasher = RandomState::with_seeds(rng.random(), rng.random(), rng.random(), rng.random());
        let mut server = Self {
            config,
            terms: shared.terms.get(),
            shared,
            strangers: None,
            shard: index,
            rng,
            allocations: Allocations::new(hasher.clone()),
            mobile: HashMap::with_hasher(hasher.clone()),
            arrivals: Arrivals::new(hasher.clone()),
            post: Post::default(),
            timers: Timers::default(),
            deletions: Deletions::new(hasher.clone()),
            hasher,
            reply: Vec::with_capacity(512),
        };
        server.strangers = server.strangers_within(server.terms.limits.unauthenticated_per_prefix);
        server
    }

    /// A datagram arrived on a listener, or a frame on a connection. RFC 7983 tells channel data and STUN apart by the first byte.
    pub fn handle_client<'s, 'i>(
        &'s mut self,
        now: Now,
        relays: &mut impl RelayPorts,
        path: ClientPath,
        bytes: &'i [u8],
    ) -> Reaction<'s, 'i> {
        self.heed_terms();
        if let Some(0x40..=0x7F) = bytes.first() {
            return self.data(now, &path, bytes, |server| server.channel_data(now, &path, bytes));
        }
        match Message::decode(bytes) {
            Err(_) => self.drop(Drop::Malformed),
            Ok(message) if !message.fingerprint_is_right() => self.drop(Drop::Fingerprint),
            Ok(message) => match (message.class(), method(message.method())) {
                (Class::Indication, None) if message.method() == SEND => {
                    self.data(now, &path, bytes, |server| server.send(now, &path, &message))
                }
                (Class::Request, Some(Method::Binding)) => self.binding(now, &path, &message),
                (Class::Request, Some(method)) => self.request(now, relays, path, message, method),
                // Browsers keep NAT bindings open with Binding indications: nothing to do, and no fault either.
                (Class::Indication, Some(Method::Binding)) => Reaction::None,
                (Class::Indication | Class::Success | Class::Error, _) | (Class::Request, None) => {
                    self.drop(Drop::NotForUs)
                }
            },
        }
    }

    /// A datagram arrived on a relay socket.
    pub fn handle_peer<'i>(
        &mut self,
        now: Now,
        relay: RelayId,
        from: SocketAddr,
        payload: &'i [u8],
    ) -> Option<ToClient<'i>> {
        self.heed_terms();
        match self.peer_data(now, relay, from, payload) {
            Ok(to_client) => {
                self.counters().to_client(payload.len());
                Some(to_client)
            }
            Err(why) => {
                self.counters().dropped(why);
                None
            }
        }
    }

    /// A relay socket reported an ICMP error.
    pub fn handle_peer_error(&mut self, now: Now, relay: RelayId, error: PeerError) -> Option<ToClient<'static>> {
        self.heed_terms();
        self.peer_error(now, relay, error).inspect_err(|why| self.counters().dropped(*why)).ok()
    }

    /// Something may have expired. Bounded per call: while more is due, `poll_timeout` returns an instant in the past.
    pub fn handle_timeout(&mut self, now: Now, relays: &mut impl RelayPorts) {
        for _ in 0..EXPIRIES_PER_CALL {
            match self.timers.pop(now.instant) {
                None => return,
                Some(Timer::Reservation(token)) => self.shared.expire_reservation(token),
                Some(Timer::Allocation(slot)) => self.expire(slot, now.instant, relays),
                Some(Timer::Arrival(serial)) => drop(self.arrivals.remove_of(serial)),
            }
        }
    }

    /// The connection of a 5-tuple is gone, and its allocation with it (RFC 8656 section 4); unless that can move (RFC
    /// 8016). Then it lives on for a minute at the most, until its client comes back with its ticket; what peers send is
    /// dropped meanwhile.
    pub fn handle_closed(&mut self, now: Now, relays: &mut impl RelayPorts, path: &ClientPath) {
        if self.orphan(now, relays, path) {
            return;
        }
        if let Some(slot) = self.allocations.slot(path) {
            self.end(slot, relays);
        }
    }

    /// Whether this 5-tuple has an allocation, or is about to have one that moves.
    pub fn has_allocation(&self, path: &ClientPath) -> bool {
        self.allocations.slot(path).is_some() || self.arrivals.contains(path)
    }

    /// Whether the process is near its memory limit: who comes now would get no allocation, and should take no memory either.
    pub fn is_memory_full(&self) -> bool {
        self.shared.is_memory_full()
    }

    /// When to call `handle_timeout`. O(1).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// End every allocation of this shard and close its relay sockets: the deadline of a drain has passed.
    pub fn close_all(&mut self, relays: &mut impl RelayPorts) {
        self.close_post(relays);
        while let Some(timer) = self.timers.pop_any() {
            match timer {
                Timer::Reservation(token) => self.shared.expire_reservation(token),
                Timer::Arrival(serial) => drop(self.arrivals.remove_of(serial)),
                Timer::Allocation(slot) => self.end(slot, relays),
            }
        }
    }

    pub(super) fn end(&mut self, slot: Slot, relays: &mut impl RelayPorts) {
        self.close_relay(slot, Family::V4, relays);
        self.close_relay(slot, Family::V6, relays);
        self.settle(slot);
    }

    /// Allocations of this shard that live.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    pub(super) fn counters(&self) -> &ShardCounters {
        self.shared.counters(self.shard)
    }

    pub(super) fn count_allocations(&self) {
        self.counters().set_allocations(self.allocations.len());
    }

    pub(super) fn drop<'s, 'i>(&self, why: Drop) -> Reaction<'s, 'i> {
        self.counters().dropped(why);
        Reaction::None
    }

    /// Close the relays of an allocation that have expired. Its timer is popped or cancelled.
    pub(super) fn expire(&mut self, slot: Slot, now: Instant, relays: &mut impl RelayPorts) {
        for family in [Family::V4, Family::V6] {
            let relay = self.allocations.get(slot).and_then(|allocation| allocation.relay(family));
            if relay.is_some_and(|relay| relay.until <= now) {
                self.close_relay(slot, family, relays);
            }
        }
        self.settle(slot);
    }

    /// Close one relayed address, with the permissions and channels of its family. [`settle`](Self::settle) must
    /// follow.
    pub(super) fn close_relay(&mut self, slot: Slot, family: Family, relays: &mut impl RelayPorts) {
        let Some(allocation) = self.allocations.get_mut(slot) else { return };
        let Some(relay) = allocation.relay_mut(family).take() else { return };
        allocation.permissions.forget(family);
        allocation.channels.forget(family);
        self.timers.cancel(relay.until, Timer::Allocation(slot));
        self.allocations.forget_relay(relay.id);
        relays.close(relay.id);
        self.shared.ports.release(family, relay.port);
    }

    /// Set the timer of an allocation anew or, if it has no relayed address left, end it.
    pub(super) fn settle(&mut self, slot: Slot) {
        let Some(allocation) = self.allocations.get(slot) else { return };
        if let Some(due) = allocation.due() {
            self.timers.set(due, Timer::Allocation(slot));
            return;
        }
        if let Some(gone) = self.allocations.remove(slot) {
            self.shared.leave(&gone.user);
            self.end_mobility(&gone);
        }
        self.count_allocations();
    }

    /// Give relayed addresses of an allocation another expiry.
    pub(super) fn prolong(&mut self, slot: Slot, families: &[Family], until: Instant) {
        let Some(allocation) = self.allocations.get_mut(slot) else { return };
        let due = allocation.due();
        for family in families {
            if let Some(relay) = allocation.relay_mut(*family) {
                relay.until = until;
            }
        }
        if let Some(due) = due {
            self.timers.cancel(due, Timer::Allocation(slot));
        }
        self.settle(slot);
    }

    /// Binding (RFC 8489 section 3): for anyone, without state.
    fn binding<'s, 'i>(&'s mut self, now: Now, path: &ClientPath, message: &Message<'_>) -> Reaction<'s, 'i> {
        if !self.answers_stranger(now, path, message) {
            return self.drop(Drop::RateLimited);
        }
        let refused = message.not_understood().next().is_some();
        let class = if refused { Class::Error } else { Class::Success };
        let mut writer = Writer::start(&mut self.reply, class, message.method(), message.transaction());
        let outcome = if refused {
            write_error(&mut writer, message, Outcome::UnknownAttribute);
            Outcome::UnknownAttribute
        } else {
            writer.address(XOR_MAPPED_ADDRESS, path.remote);
            Outcome::Success
        };
        finish(writer, message);
        self.reply_to_stranger(path, message, Method::Binding, outcome)
    }

    fn request<'s, 'i>(
        &'s mut self,
        now: Now,
        relays: &mut impl RelayPorts,
        path: ClientPath,
        message: Message<'_>,
        method: Method,
    ) -> Reaction<'s, 'i> {
        if method == Method::Refresh
            && let Some(answer) = self.deletions.answer(now.instant, &path, &message)
        {
            self.reply.clear();
            self.reply.extend_from_slice(answer);
            return self.reply_to_stranger(&path, &message, method, Outcome::Success);
        }
        let arriving = method == Method::Refresh && message.has(MOBILITY_TICKET);
        if !arriving && self.first_heard(now, &path, message.bytes()) == FirstHeard::Fetching {
            return Reaction::None;
        }
        if let Some(slot) = self.allocations.slot(&path) {
            // An allocation that has expired but was not swept must not be met by its successor.
            self.expire(slot, now.instant, relays);
            self.renew(slot, now.instant);
        }
        let proven = proves_address(now, path.remote, &message, &self.shared);
        if !proven && !self.answers_stranger(now, &path, &message) {
            return self.drop(Drop::RateLimited);
        }
        if method == Method::Refresh
            && let Some(ticket) = message.attribute(MOBILITY_TICKET)
        {
            return self.refresh_by_ticket(now, relays, (path, proven), message, ticket);
        }
        let slot = self.allocations.slot(&path);
        let live = slot.and_then(|slot| self.allocations.get(slot)).map(Allocation::owner);
        match authenticate(now, &message, proven, &self.config, &self.terms, &self.shared, live) {
            Err(denied) => self.deny(now, &path, &message, method, denied),
            Ok(identity) => {
                let request = Request { now, path, message, identity, slot };
                let result = self.process(&request, relays, method);
                self.answer(&request, method, result)
            }
        }
    }

    /// Whether somebody gets an answer who has no nonce of ours: see [`Strangers`]. Decided before passwords are looked
    /// at, which cost much more.
    fn answers_stranger(&mut self, now: Now, path: &ClientPath, message: &Message<'_>) -> bool {
        let Some(strangers) = &mut self.strangers else { return true };
        let proven = path.transport != Transport::Udp || self.allocations.slot(path).is_some();
        proven || strangers.admit(now.instant, path, message.transaction())
    }

    fn process(
        &mut self,
        request: &Request<'_>,
        relays: &mut impl RelayPorts,
        method: Method,
    ) -> Result<Success, Refused> {
        if request.message.not_understood().next().is_some() {
            return Err(Outcome::UnknownAttribute.into());
        }
        if method == Method::Allocate {
            return self.allocate(request, relays);
        }
        let Some(slot) = request.slot else {
            return Err(Outcome::AllocationMismatch.into());
        };
        // RFC 8656 section 5.
        if self.allocations.get(slot).is_none_or(|allocation| allocation.username != request.identity.username) {
            return Err(Outcome::WrongCredentials.into());
        }
        let result = match method {
            Method::Refresh => self.refresh(request, slot, relays),
            Method::CreatePermission => self.create_permission(request, slot),
            Method::ChannelBind => self.channel_bind(request, slot),
            Method::Binding | Method::Allocate => unreachable!("handled above"),
        };
        result.map_err(Refused::With)
    }

    pub(super) fn answer<'s, 'i>(
        &'s mut self,
        request: &Request<'_>,
        method: Method,
        result: Result<Success, impl Into<Refused>>,
    ) -> Reaction<'s, 'i> {
        let result = result.map_err(Into::into);
        let Request { now, message, path, identity, slot: _ } = request;
        let class = if result.is_ok() { Class::Success } else { Class::Error };
        let mut writer = Writer::start(&mut self.reply, class, message.method(), message.transaction());
        let outcome = match result {
            Ok(success) => {
                write_success(&mut writer, path, success);
                Outcome::Success
            }
            Err(Refused::With(outcome)) => {
                write_error(&mut writer, message, outcome);
                outcome
            }
            Err(Refused::TryAlternate(Redirection { same, other })) => {
                write_error(&mut writer, message, Outcome::TryAlternate);
                for address in [Some(same), other].into_iter().flatten() {
                    writer.plain_address(ALTERNATE_SERVER, address);
                }
                Outcome::TryAlternate
            }
        };
        match identity.sign {
            Sign::Sha1 => writer.sha1(identity.key.as_bytes()),
            Sign::Sha256 => writer.sha256(identity.key.as_bytes()),
        };
        finish(writer, message);
        if result == Ok(Success::Refreshed { lifetime: 0, ticket: None }) {
            self.deletions.remember(now.instant, *path, message, &self.reply);
        }
        self.counters().answered(method, outcome);
        Reaction::Reply(&self.reply)
    }

    /// An answer to somebody who is not authenticated: unsigned, and small.
    pub(super) fn deny<'s, 'i>(
        &'s mut self,
        now: Now,
        path: &ClientPath,
        message: &Message<'_>,
        method: Method,
        denied: Denied,
    ) -> Reaction<'s, 'i> {
        let outcome = match denied {
            Denied::Unauthenticated => Outcome::Unauthenticated,
            Denied::BadRequest => Outcome::BadRequest,
            Denied::StaleNonce => Outcome::StaleNonce,
        };
        // With the password algorithms if they fit (see `Realm::MAX`), else as a server of RFC 5389.
        for algorithms in [true, false] {
            let mut writer = Writer::start(&mut self.reply, Class::Error, message.method(), message.transaction());
            write_error(&mut writer, message, outcome);
            if denied != Denied::BadRequest {
                let expiry = now.unix + self.config.lifetimes.nonce.as_secs();
                let nonce = self.shared.nonces.make(path.remote, expiry, algorithms);
                writer.attribute(REALM, self.config.realm.as_str().as_bytes());
                writer.attribute(NONCE, nonce.as_bytes());
                if algorithms {
                    writer.attribute(PASSWORD_ALGORITHMS, &PasswordAlgorithm::OFFERED);
                }
            }
            finish(writer, message);
            if !amplifies(path, message.bytes().len(), self.reply.len()) {
                break;
            }
        }
        self.reply_to_stranger(path, message, method, outcome)
    }

    /// Nobody who may have forged its address is helped to more than three times what it sent, IP and UDP headers
    /// counted.
    fn reply_to_stranger<'s, 'i>(
        &'s mut self,
        path: &ClientPath,
        message: &Message<'_>,
        method: Method,
        outcome: Outcome,
    ) -> Reaction<'s, 'i> {
        if amplifies(path, message.bytes().len(), self.reply.len()) {
            return self.drop(Drop::Amplification);
        }
        self.counters().answered(method, outcome);
        Reaction::Reply(&self.reply)
    }
}

/// How many allocations and reservations one `handle_timeout` ends: each may close two sockets.
const EXPIRIES_PER_CALL: usize = 64;

/// Methods that have requests.
fn method(number: u16) -> Option<Method> {
    match number {
        BINDING => Some(Method::Binding),
        ALLOCATE => Some(Method::Allocate),
        REFRESH => Some(Method::Refresh),
        CREATE_PERMISSION => Some(Method::CreatePermission),
        CHANNEL_BIND => Some(Method::ChannelBind),
        _ => None,
    }
}

/// Bytes of UDP and IP headers around each datagram of a path.
fn headers(path: &ClientPath) -> usize {
    8 + if path.remote.is_ipv4() { 20 } else { 40 }
}

/// On a stream nobody gets what somebody else asked for.
fn amplifies(path: &ClientPath, request: usize, reply: usize) -> bool {
    !path.transport.is_stream() && reply + headers(path) > 3 * (request + headers(path))
}

/// Unknown attributes named in one answer. A client that sends more learns of the others the next time.
const UNKNOWN_NAMED: usize = 16;

fn write_error(writer: &mut Writer<'_>, message: &Message<'_>, outcome: Outcome) {
    writer.error(outcome.code());
    if outcome == Outcome::UnknownAttribute {
        let mut kinds = [0; 2 * UNKNOWN_NAMED];
        let mut len = 0;
        for kind in message.not_understood().take(UNKNOWN_NAMED) {
            kinds[len..len + 2].copy_from_slice(&kind.to_be_bytes());
            len += 2;
        }
        writer.attribute(UNKNOWN_ATTRIBUTES, &kinds[..len]);
    }
}

fn write_success(writer: &mut Writer<'_>, path: &ClientPath, success: Success) {
    match success {
        Success::Done => {}
        Success::Refreshed { lifetime, ticket } => {
            writer.number(LIFETIME, lifetime);
            write_ticket(writer, ticket);
        }
        Success::Allocated(Granted { relayed, lifetime, token, missing }, ticket) => {
            for address in relayed.into_iter().flatten() {
                writer.address(XOR_RELAYED_ADDRESS, address);
            }
            writer.address(XOR_MAPPED_ADDRESS, path.remote);
            writer.number(LIFETIME, lifetime);
            if let Some(token) = token {
                writer.attribute(RESERVATION_TOKEN, &token);
            }
            if let Some((family, why)) = missing {
                let [class, number] = error_code(why.code());
                writer.attribute(ADDRESS_ERROR_CODE, &[family_number(family), 0, class, number]);
            }
            write_ticket(writer, ticket);
        }
    }
}

fn write_ticket(writer: &mut Writer<'_>, ticket: Option<Ticket>) {
    if let Some(ticket) = ticket {
        writer.attribute(MOBILITY_TICKET, ticket.as_bytes());
    }
}

/// FINGERPRINT answers FINGERPRINT.
fn finish(mut writer: Writer<'_>, message: &Message<'_>) {
    if message.has_fingerprint() {
        writer.fingerprint();
    }
    writer.finish();
}
