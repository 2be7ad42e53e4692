//! Which addresses this machine has, and which of them relays when the configuration leaves it open.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use super::proto::{RelayAddress, RelayAddresses, Shared};
use crate::config::Listener;

/// Somewhere beyond the default route. Nothing is ever sent there (RFC 5737, RFC 3849).
const FAR_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const FAR_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

/// Between two looks at the interfaces.
const AGAIN: Duration = Duration::from_secs(5);

/// For each family that has a listener: the address of the first listener bound to one, or else the address that the
/// default route leaves from.
pub fn choose(listeners: &[Listener], default_route: impl Fn(SocketAddr) -> Option<IpAddr>) -> Option<RelayAddresses> {
    let of_family = |far: SocketAddr| {
        let mut of_family = listeners
            .iter()
            .map(|listener| listener.address.ip())
            .filter(|ip| ip.is_ipv4() == far.is_ipv4())
            .peekable();
        of_family.peek()?;
        of_family.find(|ip| !ip.is_unspecified()).or_else(|| default_route(far))
    };
    let found = [FAR_V4, FAR_V6].into_iter().filter_map(of_family);
    let pairs: Vec<_> = found.map(|ip| RelayAddress { local: ip, public: ip }).collect();
    RelayAddresses::new(&pairs).ok()
}

/// The source address that the kernel would use for `far`.
pub fn default_route(far: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(far).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified()).then_some(ip)
}

/// A relay address that no relayed port could ever be opened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "relay.addresses: {address}: {source}: write an address of this machine, and what clients are told instead into \
     publicAddresses"
)]
pub struct NotOurs {
    address: IpAddr,
    source: std::io::Error,
}

/// Whether every relay address can be bound here: clients would only ever see a 508.
pub fn check(relays: &RelayAddresses) -> Result<(), NotOurs> {
    relays
        .iter()
        .map(|relay| relay.local)
        .try_for_each(|address| UdpSocket::bind((address, 0)).map(drop).map_err(|source| NotOurs { address, source }))
}

/// Every address of every interface, now.
pub fn own() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut own: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect();
    own.sort_unstable();
    own.dedup();
    own
}

/// Tells the servers what addresses this machine has, now and whenever it gets others: a virtual one that is moved here, or the
/// next temporary one of IPv6. On a thread of its own, as the kernel keeps who asks waiting while interfaces are being changed.
pub fn follow(shared: Arc<Shared>) {
    tell(&shared, &own());
    let looking = thread::Builder::new().name("addresses".to_owned()).spawn(move || {
        loop {
            thread::sleep(AGAIN);
            tell(&shared, &own());
        }
    });
    if let Err(error) = looking {
        tracing::warn!(%error, "addresses that this machine gets later may be peers: raise the limit on threads");
    }
}

/// No machine is without an address: none is a look that failed, and what was known stays.
fn tell(shared: &Shared, own: &[IpAddr]) {
    if !own.is_empty() && *shared.own_addresses() != *own {
        shared.set_own_addresses(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Protocol, turn::proto::test_support::World};

    #[test]
    fn a_look_that_failed_does_not_forget_the_addresses_of_this_machine() {
        let world = World::new();
        let own = own();
        assert!(own.iter().any(IpAddr::is_loopback), "{own:?}");
        tell(&world.shared, &own);
        tell(&world.shared, &[]);
        assert_eq!(*world.shared.own_addresses(), *own);
        tell(&world.shared, &own[..1]);
        assert_eq!(*world.shared.own_addresses(), own[..1]);
    }

    #[test]
    fn relay_addresses_that_nobody_wrote_are_those_of_the_listeners_or_of_the_default_route() {
        let route = |far: SocketAddr| {
            let v4: IpAddr = "10.0.0.9".parse().unwrap();
            far.is_ipv4().then_some(v4)
        };
        for (case, listeners, expected) in [
            ("bound to an address", vec!["127.0.0.1:3478", "[::1]:3478"], vec!["127.0.0.1", "::1"]),
            ("bound to all", vec!["0.0.0.0:3478"], vec!["10.0.0.9"]),
            ("no default route", vec!["[::]:3478"], vec![]),
            ("one of two families has a route", vec!["0.0.0.0:3478", "[::]:3478"], vec!["10.0.0.9"]),
            ("an address before all", vec!["0.0.0.0:3478", "10.0.0.7:3479"], vec!["10.0.0.7"]),
        ] {
            let listener = |address: &&str| Listener { protocol: Protocol::Tls, address: address.parse().unwrap() };
            let listeners: Vec<Listener> = listeners.iter().map(listener).collect();
            let chosen = choose(&listeners, route);
            let got: Vec<_> = chosen.iter().flat_map(RelayAddresses::iter).map(|a| a.local.to_string()).collect();
            assert_eq!(got, expected, "{case}");
        }
    }
}
