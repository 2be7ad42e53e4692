//! Speaks to a node's admin port: HTTPS, both sides with certificates of the operator's CA.

mod pool;

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rtcfleet_node_api::{
    CONFIG_PATH, ConfigTaken, MAX_BODY, MAX_VERDICTS_BODY, NodeStatus, Problem, STATE_PATH, STATUS_PATH, SetState,
    VERDICTS_PATH, Verdicts,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use self::pool::{Connection, Pool};
use crate::{
    ca::{Ca, CaError, needs_renewal},
    clock::Clock,
    error::{Categorised, Category},
};

/// A node in the same cluster answers a SYN in milliseconds; a dead one should not hold a reconcile.
const CONNECT: Duration = Duration::from_secs(2);
/// From the request to the end of the answer.
const READ: Duration = Duration::from_secs(3);

/// Where a node's admin port is, and the name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeTarget {
    pub address: SocketAddr,
    pub server_name: String,
}

/// What the operator asks of a node. A trait, so that tests and the simulator stand in for nodes.
pub trait NodeApi: Send + Sync {
    fn status<'a>(&'a self, node: &'a NodeTarget) -> BoxFuture<'a, Result<NodeStatus, NodeError>>;
    /// The status as it stands afterwards.
    fn set_state<'a>(&'a self, node: &'a NodeTarget, state: SetState) -> BoxFuture<'a, Result<NodeStatus, NodeError>>;
    /// Of a prober: its verdicts, without those that were told before.
    fn verdicts<'a>(&'a self, prober: &'a NodeTarget, told: Option<Told>)
    -> BoxFuture<'a, Result<Verdicts, NodeError>>;
    /// Has a prober run by this YAML, until its file changes.
    fn configure<'a>(&'a self, prober: &'a NodeTarget, yaml: &'a str) -> BoxFuture<'a, Result<ConfigTaken, NodeError>>;
}

/// Up to where a prober has told us: a boot, and a sequence in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub boot: u64,
    pub sequence: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("node {node}: no connection in {CONNECT:?}")]
    ConnectTimeout { node: SocketAddr },
    #[error("node {node}: no connection")]
    Connect { node: SocketAddr, source: std::io::Error },
    #[error("node {node}: no TLS session")]
    Tls { node: SocketAddr, source: std::io::Error },
    #[error("node {node}: no answer in {READ:?}")]
    AnswerTimeout { node: SocketAddr },
    #[error("node {node}: the exchange broke off")]
    Exchange { node: SocketAddr, source: hyper::Error },
    #[error("node {node}: refused with {status}: {message}")]
    Refused { node: SocketAddr, status: u16, message: String },
    #[error("node {node}: the answer is longer than {limit} bytes")]
    TooLong { node: SocketAddr, limit: usize },
    #[error("node {node}: the answer is none to that question; is it a media node of this release?")]
    Unreadable { node: SocketAddr, source: serde_json::Error },
    #[error("node {node}: {name:?} is no server name")]
    ServerName { node: SocketAddr, name: String },
    #[error("the operator's own certificate")]
    Certificate(#[from] CaError),
    #[error("the operator's TLS set-up")]
    Setup(#[source] rustls::Error),
    #[error("the operator's certificates are no PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    #[error("a request cannot be built")]
    Request(#[source] http::Error),
}

impl NodeError {
    /// The node was reached and said no.
    pub fn refusal(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl Categorised for NodeError {
    fn category(&self) -> Category {
        match self {
            Self::ConnectTimeout { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::AnswerTimeout { .. }
            | Self::Exchange { .. }
            | Self::Refused { .. }
            | Self::TooLong { .. }
            | Self::Unreadable { .. } => Category::Retry,
            Self::Certificate(error) => error.category(),
            Self::ServerName { .. } | Self::Setup(_) | Self::Pem(_) | Self::Request(_) => Category::Bug,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::ConnectTimeout { .. } | Self::Connect { .. } => "NodeUnreachable",
            Self::Tls { .. } => "NodeNotTrusted",
            Self::AnswerTimeout { .. } | Self::Exchange { .. } => "NodeUnresponsive",
            Self::Refused { .. } => "NodeRefused",
            Self::TooLong { .. } | Self::Unreadable { .. } => "NodeAnswerUnreadable",
            Self::Certificate(error) => error.reason(),
            Self::ServerName { .. } | Self::Setup(_) | Self::Pem(_) | Self::Request(_) => "InternalError",
        }
    }
}

/// The real one. Asks over the connection of the last time where that still works.
pub struct NodeClient {
    ca: Arc<Ca>,
    clock: Arc<dyn Clock>,
    identity: Mutex<Option<Identity>>,
    pool: Pool,
}

/// The client certificate in use, and the TLS set-up that presents it.
#[derive(Clone)]
struct Identity {
    cert_pem: String,
    tls: Arc<ClientConfig>,
}

impl NodeClient {
    pub fn new(ca: Arc<Ca>, clock: Arc<dyn Clock>) -> Self {
        Self { ca, clock, identity: Mutex::new(None), pool: Pool::default() }
    }

    /// The TLS set-up, with a new client certificate when half of the old one's life is over.
    fn tls(&self) -> Result<Arc<ClientConfig>, NodeError> {
        let now = self.clock.now();
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = identity.as_ref().filter(|current| !needs_renewal(&current.cert_pem, now)) {
            return Ok(Arc::clone(&current.tls));
        }
        let new = Identity::issue(&self.ca, now)?;
        let tls = Arc::clone(&new.tls);
        *identity = Some(new);
        Ok(tls)
    }

    /// Every request may be made twice: where a connection of an earlier one broke, nobody knows whether the node has heard it.
    async fn exchange<T: DeserializeOwned>(&self, node: &NodeTarget, ask: &Ask) -> Result<T, NodeError> {
        if let Some(used) = self.pool.take(node, self.clock.instant()) {
            match self.ask(node, used, ask).await {
                // The node has closed it meanwhile, or another process has its address.
                Err(NodeError::Exchange { .. }) => {}
                other => return other,
            }
        }
        let connection = self.connect(node).await?;
        self.ask(node, connection, ask).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        node: &NodeTarget,
        connection: Connection,
        ask: &Ask,
    ) -> Result<T, NodeError> {
        let Connection { stream, opened } = connection;
        let address = node.address;
        let conversation = converse(address, TokioIo::new(stream), ask.request(node)?, ask.longest);
        let (answer, stream) = tokio::time::timeout(READ, conversation)
            .await
            .map_err(|_| NodeError::AnswerTimeout { node: address })??;
        if let Some(stream) = stream {
            self.pool.put(node, Connection { stream, opened }, self.clock.instant());
        }
        answer.read(address)
    }

    async fn connect(&self, node: &NodeTarget) -> Result<Connection, NodeError> {
        let address = node.address;
        let name = ServerName::try_from(node.server_name.clone())
            .map_err(|_| NodeError::ServerName { node: address, name: node.server_name.clone() })?;
        let connector = TlsConnector::from(self.tls()?);
        let connect = async {
            let tcp =
                TcpStream::connect(address).await.map_err(|source| NodeError::Connect { node: address, source })?;
            connector.connect(name, tcp).await.map_err(|source| NodeError::Tls { node: address, source })
        };
        let stream =
            tokio::time::timeout(CONNECT, connect).await.map_err(|_| NodeError::ConnectTimeout { node: address })??;
        Ok(Connection { stream, opened: self.clock.instant() })
    }
}

impl Identity {
    fn issue(ca: &Ca, now: Timestamp) -> Result<Self, NodeError> {
        let issued = ca.issue_client(now)?;
        let cert = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).map_err(NodeError::Pem)?;
        let key = PrivateKeyDer::from_pem_slice(issued.key.expose().as_bytes()).map_err(NodeError::Pem)?;
        let mut trusted = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).map_err(NodeError::Pem)?;
        trusted.add(root).map_err(NodeError::Setup)?;
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_root_certificates(trusted).with_client_auth_cert(vec![cert], key))
            .map_err(NodeError::Setup)?;
        Ok(Self { cert_pem: issued.cert_pem, tls: Arc::new(tls) })
    }
}

/// What is asked. A request is made of it for each try.
struct Ask {
    method: Method,
    path: Cow<'static, str>,
    body: Bytes,
    /// Bytes of the answer.
    longest: usize,
}

impl Ask {
    fn get(path: Cow<'static, str>, longest: usize) -> Self {
        Self { method: Method::GET, path, body: Bytes::new(), longest }
    }

    fn request(&self, node: &NodeTarget) -> Result<Request<Full<Bytes>>, NodeError> {
        Request::builder()
            .method(self.method.clone())
            .uri(self.path.as_ref())
            .header(header::HOST, &node.server_name)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))
            .map_err(NodeError::Request)
    }
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    fn read<T: DeserializeOwned>(&self, node: SocketAddr) -> Result<T, NodeError> {
        if self.status.is_success() {
            return serde_json::from_slice(&self.body).map_err(|source| NodeError::Unreadable { node, source });
        }
        let message = serde_json::from_slice::<Problem>(&self.body)
            .map_or_else(|_| "it did not say why".to_owned(), |problem| problem.message);
        Err(NodeError::Refused { node, status: self.status.as_u16(), message })
    }
}

/// One request and its answer, and the stream if it can take another. It is taken back from hyper between two requests: a
/// stream alone takes a third of the memory, and there is one for every node of the fleet.
async fn converse(
    node: SocketAddr,
    stream: TokioIo<TlsStream<TcpStream>>,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<(Answer, Option<TlsStream<TcpStream>>), NodeError> {
    let broken = |source| NodeError::Exchange { node, source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
    let ask = async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let stays = answer.headers().get(header::CONNECTION).is_none_or(|value| value != "close");
        let body = Limited::new(answer.into_body(), limit).collect().await.map_err(|error| {
            match error.downcast::<hyper::Error>() {
                Ok(source) => broken(*source),
                Err(other) => {
                    debug_assert!(other.is::<LengthLimitError>(), "{other}");
                    NodeError::TooLong { node, limit }
                }
            }
        })?;
        // Its end is what lets go of the stream.
        drop(sender);
        Ok::<_, NodeError>((Answer { status, body: body.to_bytes() }, stays))
    };
    let (answer, stream) = tokio::join!(ask, connection.without_shutdown());
    let (answer, stays) = answer?;
    let stream = stream.ok().filter(|parts| stays && parts.read_buf.is_empty()).map(|parts| parts.io.into_inner());
    Ok((answer, stream))
}

impl NodeApi for NodeClient {
    fn status<'a>(&'a self, node: &'a NodeTarget) -> BoxFuture<'a, Result<NodeStatus, NodeError>> {
        Box::pin(async move { self.exchange(node, &Ask::get(STATUS_PATH.into(), MAX_BODY)).await })
    }

    fn set_state<'a>(&'a self, node: &'a NodeTarget, state: SetState) -> BoxFuture<'a, Result<NodeStatus, NodeError>> {
        Box::pin(async move {
            let body =
                serde_json::to_vec(&state).map_err(|source| NodeError::Unreadable { node: node.address, source })?;
            let ask = Ask { method: Method::PUT, path: STATE_PATH.into(), body: body.into(), longest: MAX_BODY };
            self.exchange(node, &ask).await
        })
    }

    fn verdicts<'a>(
        &'a self,
        prober: &'a NodeTarget,
        told: Option<Told>,
    ) -> BoxFuture<'a, Result<Verdicts, NodeError>> {
        Box::pin(async move {
            let query =
                told.map_or_else(String::new, |Told { boot, sequence }| format!("?boot={boot}&after={sequence}"));
            self.exchange(prober, &Ask::get(format!("{VERDICTS_PATH}{query}").into(), MAX_VERDICTS_BODY)).await
        })
    }

    fn configure<'a>(&'a self, prober: &'a NodeTarget, yaml: &'a str) -> BoxFuture<'a, Result<ConfigTaken, NodeError>> {
        Box::pin(async move {
            let body = Bytes::copy_from_slice(yaml.as_bytes());
            let ask = Ask { method: Method::PUT, path: CONFIG_PATH.into(), body, longest: MAX_BODY };
            self.exchange(prober, &ask).await
        })
    }
}

#[cfg(test)]
mod tests;
