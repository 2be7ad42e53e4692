//! Where clients come in: `spec.listeners` and `spec.tls` → ports that a node can open.

use rtcfleet_crds::turn_region::{Listener, Protocol, TurnRegionSpec};

use super::{Check, OWN_PORTS, RelayPorts, ValidateError};
use crate::listener::ListenerPort;

/// The ports of a region's nodes: at least one, each once in its port space (UDP; TCP and TLS together), none of the
/// node's own. By protocol and port, so that another order or name in the spec exchanges no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    ports: Vec<ListenerPort>,
    certificate: Option<String>,
}

impl Listeners {
    pub fn ports(&self) -> &[ListenerPort] {
        &self.ports
    }

    /// The Secret with the certificate. Some when there is a TLS listener, and only then.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Opening one needs a privilege.
    pub fn has_privileged_port(&self) -> bool {
        self.ports.iter().any(|listener| listener.port < 1024)
    }
}

/// What is served when `spec.listeners` is left out.
fn default(tls: bool) -> Vec<Listener> {
    let listener = |name: &str, protocol, port| Listener { name: name.to_owned(), protocol, port };
    let mut listeners = vec![listener("udp", Protocol::Udp, 3478), listener("tcp", Protocol::Tcp, 3478)];
    listeners.extend(tls.then(|| listener("tls", Protocol::Tls, 443)));
    listeners
}

impl Check {
    pub(super) fn listeners(&mut self, spec: &TurnRegionSpec, relay: RelayPorts) -> Listeners {
        let written = spec.listeners.clone().unwrap_or_else(|| default(spec.tls.is_some()));
        if written.is_empty() {
            self.mistakes.push(ValidateError::NoListener);
        }
        let mut known: Vec<(&str, ListenerPort)> = Vec::new();
        for Listener { name, protocol, port } in &written {
            match u16::try_from(*port) {
                Ok(port @ 1..) => {
                    let listener = ListenerPort { protocol: *protocol, port };
                    self.own_place(name, listener, &known, relay);
                    known.push((name, listener));
                }
                _ => self.mistakes.push(ValidateError::NotAPort { name: name.clone(), port: *port }),
            }
        }
        let tls = written.iter().find(|listener| listener.protocol == Protocol::Tls);
        let certificate = tls.and(spec.tls.as_ref()).map(|tls| tls.secret_name.clone());
        if let (Some(Listener { name, .. }), None) = (tls, &certificate) {
            self.mistakes.push(ValidateError::NoCertificate { name: name.clone() });
        }
        let mut ports: Vec<ListenerPort> = known.into_iter().map(|(_, listener)| listener).collect();
        ports.sort_unstable();
        Listeners { ports, certificate }
    }

    /// Nobody else has the listener's port.
    fn own_place(&mut self, name: &str, listener: ListenerPort, others: &[(&str, ListenerPort)], relay: RelayPorts) {
        let ListenerPort { protocol, port } = listener;
        let is_udp = |protocol| protocol == Protocol::Udp;
        if let Some(&(port, what)) = OWN_PORTS.iter().find(|(own, _)| !is_udp(protocol) && *own == port) {
            self.mistakes.push(ValidateError::PortTaken { name: name.to_owned(), port, what });
        }
        let same = |other: &ListenerPort| other.port == port && is_udp(other.protocol) == is_udp(protocol);
        if let Some((other, _)) = others.iter().find(|(_, other)| same(other)) {
            self.mistakes.push(ValidateError::PortTwice { name: name.to_owned(), other: (*other).to_owned(), port });
        }
        if relay.contains(port) {
            let (min, max) = (relay.first(), relay.last());
            self.mistakes.push(ValidateError::ListenerInRange { name: name.to_owned(), port, min, max });
        }
    }
}
