//! How a round gets through where there is no listener for UDP: one connection, over which requests follow each other. A
//! listener for TLS takes plain TCP as well.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    client::{Answer, Request, read},
    reachable,
    round::Exchange,
};
use crate::turn::proto::framing::{self, Next};

/// For one answer. It is on this machine.
const PATIENCE: Duration = Duration::from_millis(250);
/// Of an answer; those of requests are far shorter.
const LONGEST: usize = 2048;

/// A connection to one server.
pub struct Tcp(TcpStream);

impl Tcp {
    /// To a listener that is bound to `server`; one that is bound everywhere is reached on loopback.
    pub async fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(reachable(server))).await??;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    async fn exchange(&mut self, request: &Request) -> Option<Answer> {
        self.0.write_all(&request.bytes).await.ok()?;
        loop {
            let answer = self.frame().await?;
            if let Some(answer) = read(&answer, request.transaction) {
                return Some(answer);
            }
        }
    }

    async fn frame(&mut self) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        loop {
            match framing::next(&frame, LONGEST).ok()? {
                Next::Frame(_) => return Some(frame),
                Next::Missing(missing) => {
                    let have = frame.len();
                    frame.resize(have + missing, 0);
                    self.0.read_exact(&mut frame[have..]).await.ok()?;
                }
            }
        }
    }
}

impl Exchange for Tcp {
    async fn ask(&mut self, request: &Request) -> Option<Answer> {
        timeout(PATIENCE, self.exchange(request)).await.ok()?
    }
}
