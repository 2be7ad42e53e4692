//! What a server must refuse: a wrong password, and peers that stand behind it. Asked as a client asks, with the code of the
//! node's own probe.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rtcfleet_node_api::Security;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::reach::Way;
use crate::turn::probe::{
    client::{Ask, Client},
    line::{Line, Requests},
    round::{Patience, Questions, round},
    session::{Failure, Session},
    tcp::Stream,
    udp::Udp,
};

/// Nobody waits for it, so it is as patient as a caller.
const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(1)];
const PATIENCE: Patience = Patience { asking: Duration::from_secs(8), closing: Duration::from_secs(2) };
/// For everything, the connection included. Never reached by the parts that have limits of their own.
const WHOLE: Duration = Duration::from_secs(20);

/// Of a wrong password, what is a refusal: everything but the answers that judge no password.
const JUDGES_NO_PASSWORD: [u16; 6] = [300, 437, 438, 440, 486, 508];
const FAMILY_NOT_SUPPORTED: u16 = 440;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Doubts {
    pub client: Client,
    /// The same user with another password.
    pub impostor: Client,
    /// Peers that must be refused. Asked for are those of the family that the server relays in: IPv4, if it has both.
    pub peers: Vec<IpAddr>,
}

/// One look at a server. `None`: it could not be carried out to its end, which is no all-clear and no alarm.
pub async fn look(way: &Way, address: SocketAddr, doubts: &Doubts) -> Option<Security> {
    timeout(WHOLE, over(way, address, doubts)).await.ok().flatten()
}

async fn over(way: &Way, address: SocketAddr, doubts: &Doubts) -> Option<Security> {
    if matches!(way, Way::Udp) {
        return ask(Udp::connect(address).await.ok()?, address, doubts).await;
    }
    let stream = timeout(PATIENCE.closing, TcpStream::connect(address)).await.ok()?.ok()?;
    match way {
        Way::Tls { config, name } => {
            let connector = TlsConnector::from(Arc::clone(config));
            ask(Stream::over(connector.connect(name.clone(), stream).await.ok()?), address, doubts).await
        }
        Way::Udp | Way::Tcp => ask(Stream::over(stream), address, doubts).await,
    }
}

async fn ask<L: Line>(line: L, address: SocketAddr, doubts: &Doubts) -> Option<Security> {
    let mut way = Requests { line, waits: &WAITS };
    let mut impostor = Session { exchange: &mut way, client: doubts.impostor.clone() };
    let accepts_wrong_password = match impostor.allocate(false).await {
        Ok(_) => {
            // What it was given would stay for ten minutes.
            let _ = impostor.ask(Ask::Delete).await;
            true
        }
        Err(Failure::Refused { code, .. }) if !JUDGES_NO_PASSWORD.contains(&code) => false,
        Err(_) => return None,
    };
    let granted = match granted(&mut way, doubts, address, false).await {
        Err(Failure::Refused { code: FAMILY_NOT_SUPPORTED, .. }) => granted(&mut way, doubts, address, true).await,
        granted => granted,
    };
    let granted_peers = granted.ok()?.iter().map(SocketAddr::ip).collect();
    Some(Security { checked_at: Timestamp::now(), granted_peers, accepts_wrong_password })
}

/// Callers of one server reach each other by its own address, so that one is granted, whichever it is.
async fn granted<L: Line>(
    way: &mut Requests<L>,
    doubts: &Doubts,
    server: SocketAddr,
    v6: bool,
) -> Result<Vec<SocketAddr>, Failure> {
    let asked = |peer: &IpAddr| peer.is_ipv6() == v6 && *peer != server.ip();
    let peers = doubts.peers.iter().copied().filter(asked).collect();
    round(way, doubts.client.clone(), &Questions { v6, peers, services: Vec::new() }, PATIENCE).await
}
