//! TURN: the protocol without sockets ([`proto`]) and, around it, the sockets.

pub mod addresses;
pub mod certificate;
pub mod io;
pub mod limits;
pub mod pressure;
pub mod privileges;
pub mod probe;
pub mod proto;
mod refusals;
pub mod role;
pub mod secrets;
