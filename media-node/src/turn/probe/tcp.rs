//! How a round gets through where there is no listener for UDP: one connection, over which messages follow each other. A
//! listener for TLS takes plain TCP as well.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{line::Line, reachable};
use crate::turn::proto::framing::{self, Next};

/// For the connection. It is to this machine.
const PATIENCE: Duration = Duration::from_millis(500);
/// Of an answer; those of requests are far shorter.
const LONGEST: usize = 2048;

/// A connection to one server, with or without TLS around it.
pub struct Stream<S> {
    stream: S,
    incoming: Vec<u8>,
}

/// One without.
pub type Tcp = Stream<TcpStream>;

impl<S> Stream<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, incoming: Vec::new() }
    }
}

impl Tcp {
    /// To a listener that is bound to `server`; one that is bound everywhere is reached on loopback.
    pub async fn connect(server: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(reachable(server))).await??;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Line for Stream<S> {
    const LOSSY: bool = false;

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await?;
        // TLS keeps what it could not hand on.
        self.stream.flush().await
    }

    async fn hear(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match framing::next(&self.incoming, LONGEST).map_err(|_| ErrorKind::InvalidData)? {
                Next::Frame(len) => return Ok(self.incoming.drain(..len).collect()),
                Next::Missing(_) if self.stream.read_buf(&mut self.incoming).await? == 0 => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Next::Missing(_) => {}
            }
        }
    }
}
