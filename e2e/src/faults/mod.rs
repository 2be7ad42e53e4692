//! Faults that end when they are dropped, also by a panic. Machines that are cut off are [`crate::cut`].

mod bad_network;
mod blocked;
mod paused;

pub use self::{
    bad_network::BadNetwork,
    blocked::{Blocked, RELAYED, remove_leftovers},
    paused::{Paused, kill_pod},
};
