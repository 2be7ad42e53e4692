//! Over real TLS on loopback, with certificates made here.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rtcfleet_node_api::{MAX_ALTERNATES, MAX_BODY, NodeState, NodeStatus, Problem, SetState};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::{
    router,
    tls::{TlsError, TlsFiles},
};
use crate::{config::Admin, http, node::Node, pem::PemError};

/// An authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, purpose: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::new(vec!["node.internal".to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    fn server(&self) -> Identity {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> Identity {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// A served admin API.
struct World {
    authority: Authority,
    directory: tempfile::TempDir,
    node: Arc<Node>,
    tls: Arc<TlsFiles>,
    address: SocketAddr,
}

fn write(directory: &Path, server: &Identity, authority: &Authority) -> Admin {
    let file = |name: &str, text: &str| -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    Admin {
        address: "127.0.0.1:0".parse().unwrap(),
        certificate: file("tls.crt", &server.certificate),
        key: file("tls.key", &server.key),
        client_ca: file("ca.crt", &authority.pem),
    }
}

impl World {
    async fn new() -> Self {
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        let admin = write(directory.path(), &authority.server(), &authority);
        let tls = Arc::new(TlsFiles::load(&admin).unwrap());
        let node = Node::new("ab".repeat(32), Timestamp::now());
        let listener = TcpListener::bind(admin.address).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, Some(Arc::clone(&tls)), router(Arc::clone(&node))));
        Self { authority, directory, node, tls, address }
    }

    /// One request on a connection of its own; `Err` if TLS or the connection refuses.
    async fn ask(
        &self,
        client: Option<&Identity>,
        (method, path): (Method, &str),
        body: impl Into<Bytes>,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
        let name = ServerName::try_from("node.internal").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "node.internal");
        let request = request.body(Full::new(body.into())).unwrap();
        // In TLS 1.3 the client hears of its refusal only when it reads.
        let response = sender.send_request(request).await.map_err(|e| format!("{e:?}"))?;
        let status = response.status();
        Ok((status, response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes().to_vec()))
    }

    async fn problem(&self, request: (Method, &str), body: impl Into<Bytes>) -> (StatusCode, String) {
        let (status, body) = self.ask(Some(&self.authority.client()), request, body).await.unwrap();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        (status, problem.message)
    }
}

#[tokio::test]
async fn a_client_of_the_authority_reads_the_status() {
    let world = World::new().await;
    let (status, body) = world.ask(Some(&world.authority.client()), (Method::GET, "/v1/status"), "").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let status: NodeStatus = serde_json::from_slice(&body).unwrap();
    assert_eq!((status.state, status.config_hash), (NodeState::Starting, "ab".repeat(32)));
}

#[tokio::test]
async fn a_client_without_a_certificate_of_the_authority_is_refused() {
    let world = World::new().await;
    let stranger = Authority::new();
    for (case, client, alert) in [
        ("no certificate", None, "AlertReceived(CertificateRequired)"),
        // The stranger's certificate names the same issuer, so that only its signature gives it away.
        ("another authority", Some(stranger.client()), "AlertReceived(DecryptError)"),
        ("a server's certificate", Some(world.authority.server()), "AlertReceived("),
    ] {
        let refused = world.ask(client.as_ref(), (Method::GET, "/v1/status"), "").await.unwrap_err();
        assert!(refused.contains(alert), "{case}: {refused}");
    }
}

#[tokio::test]
async fn the_state_is_set_and_taken_back() {
    let world = World::new().await;
    let client = world.authority.client();
    world.node.open_without_role();
    let deadline = Timestamp::now() + Duration::from_mins(1);
    let alternate = IpAddr::from([192, 0, 2, 1]);
    for (wanted, expected) in [
        (SetState::Draining { deadline, alternates: vec![alternate] }, NodeState::Draining),
        (SetState::Active, NodeState::Active),
    ] {
        let body = serde_json::to_vec(&wanted).unwrap();
        let (status, body) = world.ask(Some(&client), (Method::PUT, "/v1/state"), body).await.unwrap();
        let answer: NodeStatus = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, answer.state), (StatusCode::OK, expected));
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_answered_with_what_to_do_instead() {
    let world = World::new().await;
    let put = (Method::PUT, "/v1/state");
    for (request, body, status, message) in [
        (put.clone(), b"{\"state\":\"Active\"}".to_vec(), StatusCode::CONFLICT, "state: the node is starting"),
        (put.clone(), b"{}".to_vec(), StatusCode::BAD_REQUEST, "body: missing field `state`"),
        (put.clone(), b"{\"state\":\"Asleep\"}".to_vec(), StatusCode::BAD_REQUEST, "body: unknown variant `Asleep`"),
        (
            put.clone(),
            b"{\"state\":\"Draining\",\"deadline\":\"2026-01-31T12:00:00Z\",\"force\":true}".to_vec(),
            StatusCode::BAD_REQUEST,
            "body: unknown field `force`",
        ),
        (put, vec![b' '; MAX_BODY + 1], StatusCode::PAYLOAD_TOO_LARGE, "body: did not arrive, or is larger than 65536"),
        ((Method::POST, "/v1/state"), Vec::new(), StatusCode::METHOD_NOT_ALLOWED, "/v1/state: POST is not taken here"),
        ((Method::GET, "/v2/status"), Vec::new(), StatusCode::NOT_FOUND, "/v2/status: there is no such path"),
    ] {
        let (got, problem) = world.problem(request.clone(), body).await;
        assert_eq!(got, status, "{request:?}: {problem}");
        assert!(problem.starts_with(message), "{request:?}: {problem}");
    }
}

#[tokio::test]
async fn alternates_that_cannot_be_right_are_refused_and_the_node_does_not_drain() {
    let world = World::new().await;
    world.node.open_without_role();
    let too_many = ["\"192.0.2.1\""; MAX_ALTERNATES + 1].join(",");
    for (alternates, message) in [
        (too_many.as_str(), "alternates: 9 addresses are too many: send at most 8"),
        ("\"192.0.2.1\",\"0.0.0.0\"", "alternates[1]: 0.0.0.0 is not an address of one machine"),
        ("\"node.example.org\"", "body: invalid IP address"),
    ] {
        let body = format!(r#"{{"state":"Draining","deadline":"2026-01-31T12:00:00Z","alternates":[{alternates}]}}"#);
        let (status, problem) = world.problem((Method::PUT, "/v1/state"), body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert!(problem.starts_with(message), "{problem}");
        assert_eq!(world.node.state(), NodeState::Active);
    }
}

#[tokio::test]
async fn renewed_certificates_are_used_without_a_restart_and_broken_ones_are_not() {
    let mut world = World::new().await;
    let old_client = world.authority.client();
    let renewed = Authority::new();
    assert!(!world.tls.refresh().unwrap(), "nothing has changed");

    std::fs::write(world.directory.path().join("tls.key"), "not a key").unwrap();
    assert!(matches!(world.tls.refresh(), Err(TlsError::Pem(PemError::Empty { key: "admin.key", .. }))));
    world.ask(Some(&old_client), (Method::GET, "/v1/status"), "").await.expect("the last ones are in force");

    write(world.directory.path(), &renewed.server(), &renewed);
    assert!(world.tls.refresh().unwrap());
    world.authority = renewed;
    let client = world.authority.client();
    world.ask(Some(&client), (Method::GET, "/v1/status"), "").await.expect("the new ones are in force");
    world.ask(Some(&old_client), (Method::GET, "/v1/status"), "").await.expect_err("of the old authority");
}

#[test]
fn files_that_cannot_be_used_are_named_with_their_key() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let good = write(directory.path(), &authority.server(), &authority);
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let other = directory.path().join("other.key");
    std::fs::write(&other, authority.server().key).unwrap();
    for (admin, expected) in [
        (Admin { certificate: "/nowhere".into(), ..good.clone() }, "admin.certificate: /nowhere cannot be read: "),
        (Admin { certificate: empty.clone(), ..good.clone() }, "holds no certificate in PEM"),
        (Admin { key: empty.clone(), ..good.clone() }, "holds no private key in PEM"),
        (Admin { key: other, ..good.clone() }, "does not go with"),
        (Admin { client_ca: empty, ..good.clone() }, "admin.clientCa: "),
    ] {
        let error = TlsFiles::load(&admin).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
