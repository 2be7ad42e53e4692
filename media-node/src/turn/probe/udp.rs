//! A client's socket.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::UdpSocket;

use super::{line::Line, reachable};

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
}

impl Line for Udp {
    const LOSSY: bool = true;

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send(message).await.map(drop)
    }

    async fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut message = vec![0; LONGEST];
        let len = self.0.recv(&mut message).await?;
        message.truncate(len);
        Ok(message)
    }
}
