//! STUN and TURN (RFC 8489, RFC 8656) without sockets, clocks or ambient randomness.
//!
//! One [`Server`] belongs to one thread (a shard). What shards have in common is in [`Shared`], and is touched once
//! per request at the most; a relayed packet costs an atomic read of it, to know whether other [`Terms`] are in force, and
//! another if it is for the node's own addresses.
//!
//! # The loop of a shard
//!
//! 1. A datagram arrived on a listener: [`Server::handle_client`]. Do what the [`Reaction`] says: send the reply on the
//!    same path, or the payload (a slice of the input) from a relay socket to a peer.
//! 2. A datagram arrived on a relay socket: [`Server::handle_peer`]. If it returns a [`ToClient`], send `head`, the
//!    payload and `tail` as one datagram on its path (three iovecs; `tail` is 0 to 3 bytes).
//! 3. A relay socket reported an ICMP error: [`Server::handle_peer_error`], same result.
//! 4. On a stream (TCP, TLS) messages are told apart by [`framing`], and each is handed on as if it were a datagram. When
//!    a connection ends, for whatever reason: [`Server::handle_closed`].
//! 5. [`Server::poll_timeout`] says when to call [`Server::handle_timeout`]. It is O(1). Early, late or repeated calls
//!    are harmless: whatever has expired is treated as gone from its instant on, swept or not.
//!
//! Relay sockets are opened, closed, detached and attached through [`RelayPorts`], synchronously, inside the methods that
//! take it only. A [`RelayId`] is the shell's; it should be small and reused (a slab index),
//! because the core keeps a table as long as the largest one. After `close` an id may be reused at once.
//!
//! A 5-tuple must stay on its shard (`SO_REUSEPORT` does that): another shard does not know its allocation. A client that
//! changes its 5-tuple (RFC 8016) may come to another one:
//!
//! 5. [`Server::poll_wake`], after everything else: wake those shards.
//! 6. [`Server::poll_mail`], when woken: do what the [`Mail`] says, until there is none.
//!
//! # Time
//!
//! Every call takes [`Now`]: intervals are measured with `instant`; the expiry of credentials and nonces, which others
//! than this process read or made, with `unix`.
//!
//! # Retransmissions
//!
//! A client repeats a request until it is answered, so every request is answered alike when it comes again: an Allocate
//! from what was granted, a deletion from the bytes of its answer, kept for 40 s, and all others by doing again what
//! changes nothing the second time.
//!
//! # What is left out
//!
//! - DTLS between client and server (RFC 7350): no browser asks a TURN server for it, and what is relayed is encrypted
//!   end to end anyway.
//! - Anonymous usernames are not offered; a USERHASH is served if the name behind it is known. `usernames.rs` says why.
//! - SOFTWARE: it tells attackers more than clients, and costs room in the challenge.
//! - TCP relaying (RFC 6062): browsers gather no such candidates, and a server that opens connections into networks is
//!   worth far more to an attacker than one that sends datagrams.
//! - Third-party authorisation (RFC 7635), RFC 3489 clients.
//!
//! # Requests that are not authenticated
//!
//! Each is answered with at most one datagram of less than three times its size, and over UDP so many a second for each
//! network: `strangers.rs` says how, and who is not limited. It costs one HMAC for a nonce that comes, one for a nonce
//! that goes, and no memory. Passwords are looked at only if the nonce is good or the answer is within the limit.

mod allocate;
mod allocation;
mod alternates;
mod arrivals;
pub mod attribute;
mod auth;
mod bucket;
mod channel_bind;
mod channels;
pub mod config;
pub mod counters;
mod create_permission;
pub mod credentials;
mod data;
pub mod encode;
pub mod framing;
#[cfg(any(test, feature = "test-support"))]
pub mod fuzzing;
mod handover;
pub mod integrity;
pub mod message;
mod mobility;
mod moving;
mod nonce;
mod pace;
pub mod peer;
mod permissions;
mod ports;
mod post;
mod refresh;
pub mod server;
pub mod shared;
mod strangers;
pub mod terms;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
#[cfg(test)]
mod tests;
mod timers;
mod usernames;

pub use alternates::{Alternates, AlternatesError};
pub use config::{
    ConfigError, Lifetimes, Limits, PortRange, Quotas, Realm, RelayAddress, RelayAddresses, ServerConfig,
};
pub use counters::{Drop, Method, Move, Outcome, Refusal, ShardCounters, ShardSnapshot};
pub use credentials::{Secret, SecretError, Secrets};
pub use peer::PeerPolicy;
pub use post::Mail;
pub use server::{
    ClientPath, Now, OpenError, Parcel, PeerError, Reaction, RelayId, RelayPorts, Server, ShardIndex, ToClient, ToPeer,
    Transport,
};
pub use shared::Shared;
pub use terms::Terms;
