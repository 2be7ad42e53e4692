//! Behaviour, in virtual time. A file a topic; what must hold in any order of events is in `properties`.

mod allocating;
mod authentication;
mod changing;
mod channels;
mod codec;
mod draining;
mod floods;
mod mobility;
mod moving_in_any_order;
mod permissions;
mod properties;
mod reflecting;
mod refreshing;
mod refusing;
mod relaying;
mod streams;
mod vectors;

use std::net::SocketAddr;

/// A peer on the Internet.
fn peer() -> SocketAddr {
    "192.0.2.9:4000".parse().unwrap()
}

fn peer_v6() -> SocketAddr {
    "[2001:db8:2::1]:4000".parse().unwrap()
}
