//! DNS in scenarios: real name servers of the scenario's own, a process that asks them all the time, and callers that find
//! their relay by a name.

mod address;
mod bind;
mod caller;
mod history;
mod key;
mod named;
mod question;
mod servers;
mod update;
mod watcher;

#[cfg(test)]
mod tests;

pub use self::{
    caller::{Caller, new_caller},
    history::{Answer, Counts, History, Line, Seen},
    question::{PATIENCE, ask, read, write},
    servers::{ADDRESSES, DnsServers, PORT, with},
    watcher::Watcher,
};

/// The zone of the servers. A scenario publishes at names in it.
pub const ZONE: &str = "example.org";
