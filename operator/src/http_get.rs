//! One GET over a plain connection, bounded in time and size: loopback, a forwarded port, or another pod.

use std::{net::SocketAddr, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

const WAIT: Duration = Duration::from_secs(5);
/// 32 decisions of a few hundred bytes each, and inputs of any sensible size.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("nothing in {WAIT:?}")]
    Timeout,
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    #[error("the exchange broke off")]
    Broken(#[source] hyper::Error),
    #[error("the answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the question cannot be written")]
    Request(#[source] http::Error),
}

/// Connects, asks and reads the answer to its end.
pub async fn from_address(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), GetError> {
    let connection = tokio::time::timeout(WAIT, TcpStream::connect(address)).await.map_err(|_| GetError::Timeout)?;
    over(connection.map_err(GetError::Connect)?, path).await
}

/// Asks over a connection that stands, and reads the answer to its end.
pub async fn over<S>(stream: S, path: &str) -> Result<(StatusCode, Bytes), GetError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    tokio::time::timeout(WAIT, exchange(stream, path)).await.unwrap_or(Err(GetError::Timeout))
}

async fn exchange<S>(stream: S, path: &str) -> Result<(StatusCode, Bytes), GetError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(GetError::Broken)?;
    let request = Request::get(path)
        .header(http::header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(GetError::Request)?;
    let question = async move {
        let answer = sender.send_request(request).await.map_err(GetError::Broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await.map_err(GetError::Body)?;
        Ok((status, body.to_bytes()))
    };
    tokio::select! {
        biased;
        answer = question => answer,
        Err(error) = connection => Err(GetError::Broken(error)),
    }
}
