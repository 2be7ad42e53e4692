//! One name for two regions, on real name servers: what callers are told while regions die, and while everything else does.

mod cuts;
mod gray;
mod name;
mod steady;
