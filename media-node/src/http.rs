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

use crate::admin::tls::TlsFiles;

/// Connections at one time; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;
/// A client that has not finished its TLS handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A request's head has to be here by then; also how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(30);
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
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
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
    let Some(tls) = tls else { return exchange(stream, app).await };
    match timeout(HANDSHAKE, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => exchange(stream, app).await,
        // Anyone can send this: a counter's worth, not a line's.
        Ok(Err(error)) => tracing::debug!(%from, %error, "TLS handshake refused"),
        Err(_) => tracing::debug!(%from, "TLS handshake not finished in time"),
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, app: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
