//! Names to addresses, by the system's resolver.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::target::{Host, MAX_ADDRESSES, Place};
use crate::turn::addresses::default_route;

/// Threads that wait for the resolver at one time. It may keep each for many seconds after the probe has given up.
const LOOKUPS: usize = 64;

/// Shared by all probes of a process.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Semaphore>);

impl Default for Resolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LOOKUPS)))
    }
}

impl Resolver {
    /// At most [`MAX_ADDRESSES`], sorted. `Err` says why there is none.
    pub async fn resolve(&self, place: &Place, by: Instant) -> Result<Vec<SocketAddr>, String> {
        let name = match &place.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, place.port)]),
            Host::Name(name) => name.clone(),
        };
        let late = |_| "the name is not resolved in time: look at this machine's resolver".to_owned();
        let permit = timeout_at(by, Arc::clone(&self.0).acquire_owned()).await.map_err(late)?;
        let port = place.port;
        let lookup = tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            drop(permit);
            found
        });
        match timeout_at(by, lookup).await.map_err(late)? {
            Ok(Ok(found)) if !found.is_empty() => Ok(usable(found, |address| default_route(address).is_some())),
            Ok(Ok(_)) => Err("the name has no address".to_owned()),
            Ok(Err(error)) => Err(format!("the name is not resolved: {error}")),
            Err(_) => Err("the resolver broke off".to_owned()),
        }
    }
}

/// A caller tries both families and takes what answers. Where one of them has no route at all from here, its addresses say
/// nothing of the target.
fn usable(mut found: Vec<SocketAddr>, has_route: impl Fn(SocketAddr) -> bool) -> Vec<SocketAddr> {
    found.sort_unstable();
    found.dedup();
    let both = found.iter().any(SocketAddr::is_ipv4) && found.iter().any(SocketAddr::is_ipv6);
    if both && found.iter().any(|address| has_route(*address)) {
        found.retain(|address| has_route(*address));
    }
    found.truncate(MAX_ADDRESSES);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_family_without_a_route_is_left_out_unless_there_is_nothing_else() {
        let both = ["192.0.2.2:1", "[2001:db8::1]:1", "192.0.2.1:1", "192.0.2.1:1"];
        let sorted = addresses(&["192.0.2.1:1", "192.0.2.2:1"]);
        assert_eq!(usable(addresses(&both), |address| address.is_ipv4()), sorted);
        assert_eq!(usable(addresses(&both), |_| false).len(), 3);
        assert_eq!(usable(addresses(&both[2..]), |_| false), sorted[..1]);
    }
}
