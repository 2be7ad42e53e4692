use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use jiff::SignedDuration;
use rtcfleet_node_api::{Counters, NodeState, Sessions};
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const NAME: &str = "centralindia.media.turn.rtc-fleet";

/// The certificates of these tests are made and used now: TLS looks at the machine's clock.
fn now() -> Timestamp {
    Timestamp::now()
}

struct Fixed(Timestamp);

impl Clock for Fixed {
    fn instant(&self) -> std::time::Instant {
        std::time::Instant::now()
    }

    fn now(&self) -> Timestamp {
        self.0
    }
}

fn ca() -> Arc<Ca> {
    Arc::new(Ca::generate(now()).unwrap())
}

fn client(ca: &Arc<Ca>) -> NodeClient {
    NodeClient::new(Arc::clone(ca), Arc::new(Fixed(now())))
}

fn status() -> NodeStatus {
    NodeStatus {
        state: NodeState::Active,
        version: "1.2.3".into(),
        config_hash: "ab".into(),
        started_at: "2026-01-01T12:00:00Z".parse().unwrap(),
        public_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        drain: None,
        sessions: Sessions { allocations: 3 },
        counters: Counters::default(),
        certificate: None,
        limits: None,
        peer_rules: None,
        relaying: None,
        load: None,
    }
}

fn acceptor(ca: &Ca) -> TlsAcceptor {
    let issued = ca.issue_server(NAME, SignedDuration::from_hours(24), now()).unwrap();
    let cert = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.expose().as_bytes()).unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), Arc::clone(&provider));
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![cert], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(tls))
}

/// A node's admin port: takes one request over mutual TLS, answers with `answer`, and returns the request.
async fn node(ca: &Ca, answer: String) -> (NodeTarget, tokio::task::JoinHandle<String>) {
    let acceptor = acceptor(ca);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = NodeTarget { address: listener.local_addr().unwrap(), server_name: NAME.into() };
    let served = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(tcp).await else { return "no TLS".into() };
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap_or(0);
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (target, served)
}

/// A node that answers `a_connection` requests on each connection and then closes it. Counts the connections.
async fn patient_node(ca: &Ca, a_connection: usize) -> (NodeTarget, Arc<AtomicUsize>) {
    let acceptor = acceptor(ca);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = NodeTarget { address: listener.local_addr().unwrap(), server_name: NAME.into() };
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let mut stream = acceptor.accept(tcp).await.unwrap();
            for _ in 0..a_connection {
                let mut request = vec![0; 4096];
                if stream.read(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
                let answer = http("200 OK", &serde_json::to_string(&status()).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            let _ = stream.shutdown().await;
        }
    });
    (target, connections)
}

#[tokio::test]
async fn a_node_is_asked_again_over_the_same_connection() {
    let ca = ca();
    let (target, connections) = patient_node(&ca, usize::MAX).await;
    let client = client(&ca);
    for _ in 0..3 {
        client.status(&target).await.unwrap();
        client.set_state(&target, SetState::Active).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_that_the_node_closed_meanwhile_is_made_anew_and_nobody_notices() {
    let ca = ca();
    let (target, connections) = patient_node(&ca, 2).await;
    let client = client(&ca);
    for _ in 0..6 {
        client.status(&target).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_node_is_asked_for_its_status_with_certificates_on_both_sides() {
    let ca = ca();
    let (target, served) = node(&ca, http("200 OK", &serde_json::to_string(&status()).unwrap())).await;
    assert_eq!(client(&ca).status(&target).await.unwrap(), status());
    assert!(served.await.unwrap().starts_with("GET /v1/status HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_drain_is_asked_for_with_its_deadline_and_answers_the_state_afterwards() {
    let ca = ca();
    let (target, served) = node(&ca, http("200 OK", &serde_json::to_string(&status()).unwrap())).await;
    let deadline = "2026-01-01T13:00:00Z".parse().unwrap();
    client(&ca).set_state(&target, SetState::Draining { deadline, alternates: Vec::new() }).await.unwrap();
    let request = served.await.unwrap();
    assert!(request.starts_with("PUT /v1/state HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"state":"Draining","deadline":"2026-01-01T13:00:00Z"}"#), "{request}");
}

#[tokio::test]
async fn a_prober_is_brought_its_configuration() {
    let ca = ca();
    let (target, served) = node(&ca, http("200 OK", r#"{"configHash": "ab"}"#)).await;
    assert_eq!(client(&ca).configure(&target, "targets: []\n").await.unwrap().config_hash, "ab");
    let request = served.await.unwrap();
    assert!(request.starts_with("PUT /v1/config HTTP/1.1\r\n") && request.ends_with("\r\ntargets: []\n"), "{request}");
}

#[tokio::test]
async fn a_refusal_carries_the_nodes_own_words() {
    let ca = ca();
    let (target, _served) = node(&ca, http("409 Conflict", r#"{"message":"the process is ending"}"#)).await;
    let error = client(&ca).set_state(&target, SetState::Active).await.unwrap_err();
    assert_eq!(error.refusal(), Some(409));
    assert!(error.to_string().ends_with("refused with 409: the process is ending"), "{error}");
}

#[tokio::test]
async fn a_node_of_another_name_or_another_ca_is_not_trusted() {
    let ours = ca();
    let (mut target, _served) = node(&ours, http("200 OK", "{}")).await;
    target.server_name = "southindia.media.turn.rtc-fleet".into();
    let error = client(&ours).status(&target).await.unwrap_err();
    assert!(matches!(error, NodeError::Tls { .. }), "{error}");

    let (target, served) = node(&ca(), http("200 OK", "{}")).await;
    let error = client(&ours).status(&target).await.unwrap_err();
    assert_eq!(error.reason(), "NodeNotTrusted");
    assert_eq!(served.await.unwrap(), "no TLS");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_at_the_limit() {
    let ca = ca();
    let (target, _served) = node(&ca, http("200 OK", &" ".repeat(MAX_BODY + 1))).await;
    let error = client(&ca).status(&target).await.unwrap_err();
    assert!(matches!(error, NodeError::TooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_node_that_answers_nonsense_is_told_from_one_that_is_away() {
    let ca = ca();
    let (target, _served) = node(&ca, http("200 OK", "[]")).await;
    assert_eq!(client(&ca).status(&target).await.unwrap_err().reason(), "NodeAnswerUnreadable");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = NodeTarget { address: free, server_name: NAME.into() };
    assert_eq!(client(&ca).status(&away).await.unwrap_err().reason(), "NodeUnreachable");
}

#[tokio::test]
async fn a_node_that_accepts_and_then_says_nothing_is_given_up() {
    let ca = ca();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = NodeTarget { address: silent.local_addr().unwrap(), server_name: NAME.into() };
    let client = client(&ca);
    // Stopped only now: the clock runs on by itself when nothing else is left to do.
    tokio::time::pause();
    let error = client.status(&target).await.unwrap_err();
    assert!(matches!(error, NodeError::ConnectTimeout { .. }), "{error}");
}

#[test]
fn the_client_certificate_is_used_again_until_half_of_its_life_is_over() {
    let ca = ca();
    let early = client(&ca);
    let (first, second) = (early.tls().unwrap(), early.tls().unwrap());
    assert!(Arc::ptr_eq(&first, &second));

    let later = NodeClient::new(Arc::clone(&ca), Arc::new(Fixed(now() + SignedDuration::from_hours(13))));
    *later.identity.lock().unwrap() = early.identity.lock().unwrap().clone();
    assert!(!Arc::ptr_eq(&first, &later.tls().unwrap()));
}
