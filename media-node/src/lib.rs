//! The media node: one process that relays, and later forwards and probes, real-time media.

pub mod admin;
pub mod cli;
pub mod config;
pub mod credentials;
mod health;
mod http;
mod life;
mod log;
mod machine;
mod metrics;
mod node;
mod pem;
pub mod probe;
mod process;
pub mod turn;
