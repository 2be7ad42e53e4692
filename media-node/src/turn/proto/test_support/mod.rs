//! The other side of the protocol, for tests and fuzzing: a client that writes requests, a world without sockets and
//! with a clock that is a variable, and events that happen in it at random.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "here a panic is a test's failure")]

mod client;
mod events;
mod world;

pub use client::{Answer, Client, Draft, Style};
pub use events::{Bytes, Event, Story};
pub use world::{FakeRelays, Heard, SECRET, World};
