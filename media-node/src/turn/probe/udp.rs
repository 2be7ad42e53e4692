//! A client's socket.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use super::{
    client::{Answer, Request, read},
    reachable,
    round::Exchange,
};

/// Until a request is sent again: a machine's own answers take microseconds, unless its queues are full.
const AGAIN: Duration = Duration::from_millis(200);
const TRIES: usize = 3;
/// Longer answers than a server of ours ever gives.
const LONGEST: usize = 1500;

/// A socket that hears one server only.
pub struct Udp(UdpSocket);

impl Udp {
    /// To a listener that is bound to `server`; one that is bound everywhere is reached on loopback.
    pub async fn connect(server: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(reachable(server)).await?;
        Ok(Self(socket))
    }

    async fn hear(&self, transaction: [u8; 12]) -> io::Result<Answer> {
        let mut buffer = [0; LONGEST];
        loop {
            let len = self.0.recv(&mut buffer).await?;
            if let Some(answer) = read(&buffer[..len], transaction) {
                return Ok(answer);
            }
        }
    }
}

impl Exchange for Udp {
    async fn ask(&mut self, request: &Request) -> Option<Answer> {
        for _ in 0..TRIES {
            self.0.send(&request.bytes).await.ok()?;
            if let Ok(heard) = timeout(AGAIN, self.hear(request.transaction)).await {
                // An error is an ICMP message: nobody listens.
                return heard.ok();
            }
        }
        None
    }
}
