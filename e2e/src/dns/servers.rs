//! The two servers of a zone: a primary that takes updates, and a secondary that follows it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::{address::BridgeAddress, bind::Pair, key::Key, named::Named, question, update};
use crate::wait;

/// Of the primary and the secondary, where no machine of the cluster is.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 200, 0, 53), Ipv4Addr::new(10, 200, 0, 54)];
pub const PORT: u16 = 53;
/// The secondary looks every second, should a NOTIFY be lost.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(10);

/// Runs `body` beside name servers, and shows their logs when it fails.
pub async fn with(body: impl AsyncFnOnce(&mut DnsServers) -> Result<()>) -> Result<()> {
    let mut servers = DnsServers::start().await?;
    let outcome = body(&mut servers).await;
    if outcome.is_err() {
        eprintln!("{}", servers.logs());
    }
    outcome
}

/// BIND twice, for as long as this lives: killed, and without their addresses, when it is dropped, also by a panic.
pub struct DnsServers {
    // Before the addresses that they listen on.
    primary: Named,
    secondary: Named,
    key: Key,
    _addresses: Vec<BridgeAddress>,
}

impl DnsServers {
    /// At [`ADDRESSES`], where the machines of the cluster reach them.
    pub async fn start() -> Result<Self> {
        let addresses = ADDRESSES.into_iter().map(BridgeAddress::new).collect::<Result<Vec<_>>>()?;
        Self::start_at(ADDRESSES.map(|address| SocketAddrV4::new(address, PORT)), addresses).await
    }

    pub(super) async fn start_at(
        [primary, secondary]: [SocketAddrV4; 2],
        addresses: Vec<BridgeAddress>,
    ) -> Result<Self> {
        let pair = Pair { primary, secondary };
        let key = Key::new();
        let mut servers = Self {
            primary: Named::new(primary.into(), |directory| pair.primary_config(directory, &key))?,
            secondary: Named::new(secondary.into(), |directory| pair.secondary_config(directory))?,
            key,
            _addresses: addresses,
        };
        servers.primary.write("zone", &pair.zone())?;
        servers.start_again().await?;
        Ok(servers)
    }

    pub fn primary(&self) -> SocketAddr {
        self.primary.address
    }

    pub fn secondary(&self) -> SocketAddr {
        self.secondary.address
    }

    /// The primary first.
    pub fn both(&self) -> [SocketAddr; 2] {
        [self.primary(), self.secondary()]
    }

    /// Of the TSIG key, hmac-sha256.
    pub fn key_name(&self) -> &'static str {
        Key::NAME
    }

    /// Of the TSIG key: base64, as it belongs into a Secret.
    pub fn secret(&self) -> &str {
        self.key.secret()
    }

    /// As if the machines of both failed.
    pub async fn stop_all(&mut self) -> Result<()> {
        self.secondary.kill().await?;
        self.primary.kill().await
    }

    pub async fn stop_secondary(&mut self) -> Result<()> {
        self.secondary.kill().await
    }

    /// Starts what does not run, with what it has stored, and waits until both tell the same zone.
    pub async fn start_again(&mut self) -> Result<()> {
        self.primary.start().await?;
        self.secondary.start().await?;
        wait::until("the secondary has followed", FOLLOWS_WITHIN, async || {
            let (primary, secondary) =
                futures::try_join!(question::serial(self.primary()), question::serial(self.secondary()))?;
            ensure!(primary == secondary, "the primary has serial {primary}, the secondary {secondary}");
            Ok(())
        })
        .await
    }

    /// Replaces all addresses of a name at the primary, in one update; none removes them. What rtc-fleet notes about owners
    /// stays.
    pub async fn update(&self, name: &str, addresses: &[IpAddr]) -> Result<()> {
        update::addresses(self.primary(), &self.key, name, addresses).await
    }

    /// The ends of what both have logged.
    pub fn logs(&self) -> String {
        self.primary.log() + &self.secondary.log()
    }
}

impl Drop for DnsServers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
