//! What the scenarios in `tests/` share. Every scenario has a namespace of its own, waits on conditions with a
//! deadline, and prints conditions, Events and logs when it fails.

pub mod cluster;
pub mod command;
pub mod diagnostics;
pub mod namespace;
pub mod wait;
