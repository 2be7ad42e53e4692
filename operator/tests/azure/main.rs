//! The publisher for Azure Traffic Manager against a stand-in that was built from the public reference of its REST API
//! (Microsoft.Network, 2022-04-01) and of OAuth 2.0. It has not been run against the live service.

#![allow(clippy::unwrap_used)]

mod behaviours;
mod faults;
mod harness;
mod leaders;
mod sign_in;
mod stand_in;
