//! HTTP/1.1 with every resource bounded: connections, head, body, time. Under the admin API and under metrics.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rtcfleet_node_api::Problem;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use crate::{admin::tls::TlsFiles, cli::Failure};

/// Connections at one time from other machines; one more is closed.
const FROM_OTHERS: usize = 64;
/// Connections at one time from this machine, apart from the others: the kubelet's probes come from here, and must get
/// through whoever else holds connections open.
const FROM_HERE: usize = 32;
/// A client that has not finished its TLS handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A request's head has to be here by then; also how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(10);
/// The same for one who has shown a certificate: the operator, who asks again every 15 s over the connection that it has.
const HEAD_OF_OPERATOR: Duration = Duration::from_mins(1);
/// From a request's head to the end of its answer.
const REQUEST: Duration = Duration::from_secs(10);
/// A connection ends after this, whatever it does.
const CONNECTION: Duration = Duration::from_mins(10);
/// Bytes for a request's head.
const MAX_HEAD: usize = 16 * 1024;
/// After a failed `accept`, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a refused request is answered with.
pub fn problem(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(Problem { message: message.into() })).into_response()
}

/// Opens the address that stands at `key` of the configuration.
pub async fn listen(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Running(format!("{key}: {address}: {error}: end what listens there, or write another address"))
    })
}

/// Serves until the process ends. With `tls` every connection is mutual TLS.
pub async fn serve(listener: TcpListener, tls: Option<Arc<TlsFiles>>, app: Router) {
    let app = app
        .fallback(|request: Request| async move {
            problem(StatusCode::NOT_FOUND, format!("{}: there is no such path", request.uri().path()))
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let message = format!("{}: {} is not taken here", request.uri().path(), request.method());
            problem(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(middleware::from_fn(in_time));
    let (here, others) = (Arc::new(Semaphore::new(FROM_HERE)), Arc::new(Semaphore::new(FROM_OTHERS)));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let is_here = stream.local_addr().is_ok_and(|own| own.ip() == from.ip());
        let Ok(place) = Arc::clone(if is_here { &here } else { &others }).try_acquire_owned() else {
            tracing::debug!(%from, "a connection was closed: there are too many");
            continue;
        };
        let (tls, app) = (tls.clone(), app.clone());
        tokio::spawn(async move {
            let _ = timeout(CONNECTION, connection(stream, from, tls, app)).await;
            drop(place);
        });
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            problem(StatusCode::REQUEST_TIMEOUT, format!("the request took longer than {REQUEST:?}: send it whole"))
        }
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, tls: Option<Arc<TlsFiles>>, app: Router) {
    let Some(tls) = tls else { return exchange(stream, app, HEAD).await };
    match timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => exchange(stream, app, HEAD_OF_OPERATOR).await,
        // Anyone can send this: a counter's worth, not a line's.
        Ok(Err(error)) => tracing::debug!(%from, %error, "TLS handshake refused"),
        Err(_) => tracing::debug!(%from, "TLS handshake not finished in time"),
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, app: Router, head: Duration) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;

    async fn connect(from: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap()
    }

    /// What is answered, or nothing where the connection is closed.
    async fn get(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        let _ = timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await;
        answer
    }

    #[tokio::test]
    async fn probes_of_this_machine_get_through_whoever_else_holds_connections_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, None, Router::new()));
        let mut idle = Vec::new();
        for _ in 0..FROM_OTHERS {
            idle.push(connect("127.0.0.2:0", address).await);
        }
        assert_eq!(get(connect("127.0.0.2:0", address).await).await, "", "one too many from elsewhere");
        assert!(get(connect("127.0.0.1:0", address).await).await.starts_with("HTTP/1.1 404"));
        server.abort();
    }
}
