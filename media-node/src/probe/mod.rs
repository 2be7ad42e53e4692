//! The role that tries, from wherever it runs, what a caller needs of TURN servers, and says what it found: in
//! `GET /v1/verdicts`, in metrics, and as a table for people. `docs/probe.md` explains it to those who run it.
//!
//! What decides has no sockets: [`session`] is one caller's call, [`burst`] its packets, [`board`] what is known of
//! targets, [`canary`] whether that counts. [`reach`], [`security`] and [`rounds`] are the shell around them.

mod board;
mod burst;
mod canary;
pub mod config;
pub mod credentials;
mod fault;
mod http;
mod loaded;
mod metrics;
mod once;
mod pace;
mod reach;
mod resolve;
pub mod role;
mod rounds;
mod security;
pub mod session;
pub mod target;
mod tls;
