//! The publisher of DNS answers against real name servers on loopback: BIND, Knot and PowerDNS.

#![allow(clippy::unwrap_used)]

mod behaviours;
mod check;
mod faults;
mod harness;
mod secondary;
mod writers;
