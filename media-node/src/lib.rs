//! The media node: one process that relays, and later forwards and probes, real-time media.

pub mod turn;
