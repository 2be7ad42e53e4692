//! One name for two regions, on real name servers: what callers are told while regions die, and while everything else does.

mod cuts;
mod ending;
mod external_dns;
mod gray;
mod name;
mod soak;
mod steady;
