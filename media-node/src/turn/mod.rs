//! TURN: the protocol without sockets ([`proto`]) and, around it, the sockets.

pub mod proto;
