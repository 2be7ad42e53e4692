//! Connections between two looks at their nodes. A fleet of thousands is asked hundreds of times a second, and a handshake
//! costs more than everything else about a look.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::NodeTarget;

/// Unused for longer, a connection is closed: four looks at a steady fleet, and as long as a node waits.
const IDLE: Duration = Duration::from_secs(50);
/// A connection is made anew after this, so that certificates which were exchanged are looked at; less than the 10 minutes
/// after which a node ends it.
const LONGEST: Duration = Duration::from_mins(8);
/// Kept at a time, the rest of a larger fleet is connected to for each look.
const MOST: usize = 8192;

/// One that nobody uses now.
pub struct Connection {
    pub stream: TlsStream<TcpStream>,
    pub opened: Instant,
}

#[derive(Default)]
pub struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    connections: HashMap<NodeTarget, (Connection, Instant)>,
    /// When those that are too old were last looked for.
    swept: Option<Instant>,
}

impl Pool {
    /// The connection to this node, if there is one that may be used.
    pub fn take(&self, node: &NodeTarget, now: Instant) -> Option<Connection> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, since) = idle.connections.remove(node)?;
        is_usable(connection.opened, since, now).then_some(connection)
    }

    pub fn put(&self, node: &NodeTarget, connection: Connection, now: Instant) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.swept.is_none_or(|swept| now.duration_since(swept) > IDLE) {
            idle.connections.retain(|_, (connection, since)| is_usable(connection.opened, *since, now));
            idle.swept = Some(now);
        }
        if idle.connections.len() < MOST {
            idle.connections.insert(node.clone(), (connection, now));
        }
    }
}

fn is_usable(opened: Instant, idle_since: Instant, now: Instant) -> bool {
    now.duration_since(idle_since) <= IDLE && now.duration_since(opened) <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_used_again_until_it_was_idle_or_open_for_too_long() {
        let opened = Instant::now();
        let at = |seconds| opened + Duration::from_secs(seconds);
        assert!(is_usable(opened, at(0), at(50)));
        assert!(!is_usable(opened, at(0), at(51)));
        assert!(is_usable(opened, at(470), at(480)));
        assert!(!is_usable(opened, at(470), at(481)));
    }
}
