//! Addresses of our own on the bridge that the cluster's machines hang on.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use crate::netns::{BRIDGE, ip};

/// An address that this machine has for as long as this lives. What an aborted run left is taken over.
pub struct BridgeAddress(Ipv4Addr);

impl BridgeAddress {
    /// Alone in its network: packets that name no sender still come from the bridge's first address.
    pub fn new(address: Ipv4Addr) -> Result<Self> {
        ip(&format!("address replace {address}/32 dev {BRIDGE}")).context("is the cluster up? run `make up`")?;
        Ok(Self(address))
    }
}

impl Drop for BridgeAddress {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("address delete {}/32 dev {BRIDGE}", self.0)) {
            eprintln!("an address is left behind: {error:#}");
        }
    }
}
