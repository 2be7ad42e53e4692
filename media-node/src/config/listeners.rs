//! Where clients are served, and what else has these ports.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    Admin, Listener, Mistakes, Protocol, Tls,
    check::{items, missing},
    raw::{RawListener, RawTls},
    values::{As, List},
};
use crate::turn::proto::PortRange;

const MAX_LISTENERS: usize = 16;

pub fn of(list: Option<List<RawListener>>, m: &mut Mistakes) -> Vec<(usize, Listener)> {
    let instead = "a list such as [{protocol: UDP, address: \"0.0.0.0:3478\"}]";
    match &list {
        None => missing("listeners", instead, m),
        Some(list) if list.0.is_empty() => m.add("listeners", format!("is empty: write {instead}")),
        Some(_) => {}
    }
    let mut found: Vec<(usize, Listener)> = Vec::new();
    for (index, RawListener { protocol, address }) in items("listeners", list, MAX_LISTENERS, m) {
        let path = format!("listeners[{index}].protocol");
        if protocol.is_none() {
            missing(&path, "UDP, TCP or TLS", m);
        }
        let path = format!("listeners[{index}].address");
        let Some(As(address)) = address else {
            missing(&path, "an address and a port such as \"0.0.0.0:3478\"", m);
            continue;
        };
        if address.ip().is_multicast() {
            m.add(path, format!("{} is a multicast address: write one of this machine", address.ip()));
            continue;
        }
        let Some(As(protocol)) = protocol else { continue };
        let same =
            |(_, other): &&(usize, Listener)| other.address == address && other.protocol.is_udp() == protocol.is_udp();
        match found.iter().find(same) {
            None => found.push((index, Listener { protocol, address })),
            Some((first, other)) if other.protocol == protocol => {
                m.add(path, format!("{address} is the address of listeners[{first}] as well: remove one of them"));
            }
            Some((first, other)) => {
                let tls = if protocol == Protocol::Tls { index } else { *first };
                m.add(
                    path,
                    format!(
                        "{address} is the address of listeners[{first}] ({}) as well: TCP and TLS share their ports; keep \
                         listeners[{tls}] alone, since a TLS listener takes plain TCP too, or write another port",
                        other.protocol
                    ),
                );
            }
        }
    }
    found
}

pub fn tls(tls: Option<RawTls>, listeners: &[(usize, Listener)], base: &Path, m: &mut Mistakes) -> Option<Tls> {
    let listener = listeners.iter().find(|(_, listener)| listener.protocol == Protocol::Tls);
    match (tls, listener) {
        (None, None) => None,
        (None, Some((index, _))) => {
            missing("tls", &format!("tls: {{certificate: tls.crt, key: tls.key}} for listeners[{index}]"), m);
            None
        }
        (Some(_), None) => {
            if !m.mention("listeners") {
                m.add("tls", "stands there without a listener for TLS: write one, or remove this group");
            }
            None
        }
        (Some(RawTls { certificate, key }), Some(_)) => {
            let mut file = |name: &str, path: Option<PathBuf>, holds: &str| {
                if path.is_none() {
                    missing(&format!("tls.{name}"), &format!("the PEM file with {holds}"), m);
                }
                path.map(|path| base.join(path))
            };
            let certificate = file("certificate", certificate, "the certificate, then its issuers");
            let key = file("key", key, "the certificate's private key");
            Some(Tls { certificate: certificate?, key: key? })
        }
    }
}

/// A relayed port must never be a port that means something else on this machine: a peer could be led to it. Relayed
/// ports are UDP, so a listener for TCP or TLS may have one of their numbers; admin and metrics have no need to.
pub fn overlaps(
    ports: PortRange,
    listeners: &[(usize, Listener)],
    admin: Option<&Admin>,
    metrics: SocketAddr,
    m: &mut Mistakes,
) {
    let others = listeners
        .iter()
        .filter(|(_, listener)| listener.protocol.is_udp())
        .map(|(index, listener)| (format!("listeners[{index}].address"), listener.address))
        .chain(admin.map(|admin| ("admin.address".to_owned(), admin.address)))
        .chain([("metrics.address".to_owned(), metrics)]);
    for (path, address) in others.filter(|(_, address)| ports.contains(address.port())) {
        let (port, first, last) = (address.port(), ports.first(), ports.last());
        m.add(
            path,
            format!("port {port} is one of the relayed ports {first}-{last}: write one outside, or narrow the range"),
        );
    }
}

/// Admin and metrics are TCP, too.
pub fn clashes(listeners: &[(usize, Listener)], admin: Option<&Admin>, metrics: SocketAddr, m: &mut Mistakes) {
    let others = [("metrics.address", Some(metrics)), ("admin.address", admin.map(|admin| admin.address))];
    for (name, other) in others.into_iter().filter_map(|(name, address)| Some((name, address?))) {
        for (index, Listener { address, .. }) in listeners.iter().filter(|(_, listener)| !listener.protocol.is_udp()) {
            let everywhere = address.ip().is_unspecified() || other.ip().is_unspecified();
            let meets = address.ip() == other.ip() || everywhere && address.is_ipv4() == other.is_ipv4();
            if address.port() == other.port() && meets {
                m.add(
                    format!("listeners[{index}].address"),
                    format!("{address} takes {name} {other} as well: write another port for one of them"),
                );
            }
        }
    }
}
