//! The operator's certificate authority for the nodes' admin port: one for the fleet, in a Secret of the operator's
//! namespace. Nodes get server certificates; the operator makes its own client certificate and keeps it in memory.

mod issue;
mod store;

pub use issue::{Ca, CaError, Issued, PrivateKey, needs_renewal};
pub use store::{SECRET, load_or_create};
