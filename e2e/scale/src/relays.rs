//! The admin ports of all relays: one server that knows every region's certificate, and says what a busy relay would.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::routing::{get, put};
use axum::{Json, Router};
use futures::{StreamExt, pin_mut};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use rtcfleet_crds::labels;
use rtcfleet_node_api::{
    CapacitySource, Counters, CpuLoad, Load, NicCapacity, NicLoad, NodeState, NodeStatus, Rate, Relaying, STATE_PATH,
    STATUS_PATH, Sessions,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const ADMIN_PORT: u16 = 9443;
const CAPACITY: u64 = 10_000_000_000;
/// Of the capacity: low enough that no fleet grows.
const USED_PERCENT: u64 = 30;

/// The certificates of the regions' admin ports, by the name that the operator asks for.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<RwLock<BTreeMap<String, Arc<CertifiedKey>>>>);

impl Certificates {
    /// Follows the Secrets, as the kubelets do that mount them.
    pub fn watched(client: &Client) -> Self {
        let found = Self::default();
        let mine = found.clone();
        let config = watcher::Config::default().labels(labels::TURN_REGION);
        let secrets = watcher(Api::<Secret>::all(client.clone()), config).default_backoff().applied_objects();
        tokio::spawn(async move {
            pin_mut!(secrets);
            while let Some(next) = secrets.next().await {
                match next.map_err(anyhow::Error::from).and_then(|secret| mine.take(&secret)) {
                    Ok(()) => {}
                    Err(error) => eprintln!("a certificate cannot be read: {error:#}"),
                }
            }
        });
        found
    }

    fn take(&self, secret: &Secret) -> Result<()> {
        let Some(region) = secret.labels().get(labels::TURN_REGION) else { return Ok(()) };
        let part = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).context("a key is missing");
        let certificate = CertificateDer::from_pem_slice(&part("tls.crt")?.0)?;
        let key = PrivateKeyDer::from_pem_slice(&part("tls.key")?.0)?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        let name = format!("{region}.{}.turn.rtcfleet.dev", secret.namespace().unwrap_or_default());
        let certified = Arc::new(CertifiedKey::new(vec![certificate], key));
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, certified);
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hello.server_name()?).cloned()
    }
}

/// What was asked of the relays so far.
#[derive(Debug, Default)]
pub struct Asked {
    pub connections: AtomicU64,
    pub looks: AtomicU64,
}

/// Answers on every address of this machine. Clients are not authenticated, which would measure this server.
pub async fn serve(certificates: Certificates) -> Result<Arc<Asked>> {
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ADMIN_PORT)).await?;
    let asked = Arc::new(Asked::default());
    let (counts, started) = (Arc::clone(&asked), Timestamp::now());
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            counts.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(converse(stream, acceptor.clone(), Arc::clone(&counts), started));
        }
    });
    Ok(asked)
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor, asked: Arc<Asked>, started: Timestamp) {
    let Ok(local) = stream.local_addr() else { return };
    let Ok(tls) = acceptor.accept(stream).await else { return };
    let answer = move || std::future::ready(Json(status(local, started)));
    let look = move || {
        asked.looks.fetch_add(1, Ordering::Relaxed);
        answer()
    };
    let router = Router::new().route(STATUS_PATH, get(look)).route(STATE_PATH, put(answer));
    // A client that leaves is no error of ours.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(tls), TowerToHyperService::new(router))
        .await;
}

/// A relay that is as busy as the others and as it was, give or take what traffic does from one second to the next.
fn status(address: SocketAddr, started: Timestamp) -> NodeStatus {
    let now = Timestamp::now();
    let noise = u64::try_from(now.as_second()).unwrap_or(0).wrapping_mul(2_654_435_761) % 100;
    let bits = CAPACITY / 10_000 * (USED_PERCENT * 100 - 50 + noise);
    let rate = Rate { bits_per_second: bits, packets_per_second: bits / 8 / 1000, drops_per_second: 0 };
    NodeStatus {
        state: NodeState::Active,
        version: env!("CARGO_PKG_VERSION").into(),
        config_hash: "0".repeat(64),
        started_at: started,
        public_addresses: vec![address.ip()],
        drain: None,
        sessions: Sessions { allocations: 1000 + noise },
        counters: Counters::default(),
        certificate: None,
        peer_rules: None,
        limits: None,
        relaying: Some(Relaying { checked_at: now, problem: None }),
        load: Some(Load {
            window_seconds: 10.0,
            cpu: CpuLoad { process_percent: 20.0, machine_percent: 25.0, softirq_percent: 5.0 },
            nic: Some(NicLoad {
                interface: "eth0".into(),
                sent: rate,
                received: rate,
                capacity: NicCapacity {
                    source: CapacitySource::Configured,
                    sent_bits_per_second: Some(CAPACITY),
                    received_bits_per_second: Some(CAPACITY),
                    packets_per_second: None,
                },
            }),
        }),
    }
}
