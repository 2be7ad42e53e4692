//! An operator's side of the admin API.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rtcfleet_node_api::{
    CONFIG_PATH, ConfigTaken, NodeStatus, Problem, STATE_PATH, STATUS_PATH, SetState, VERDICTS_PATH, Verdicts,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde::de::DeserializeOwned;
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_rustls::TlsConnector;

use crate::node::{Plan, free_port};

const NAME: &str = "node.internal";

pub struct Admin {
    address: SocketAddr,
    tls: TlsConnector,
    runtime: Runtime,
}

impl Admin {
    /// Makes the certificates of both sides and writes the node's into its plan.
    pub fn new(plan: &mut Plan) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let issue = |purpose| {
            let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
            params.extended_key_usages = vec![purpose];
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, server_key) = issue(ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = issue(ExtendedKeyUsagePurpose::ClientAuth);
        plan.write("tls.crt", &server.pem());
        plan.write("tls.key", &server_key.serialize_pem());
        plan.write("ca.crt", &authority.pem());
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        plan.more = format!("admin: {{address: '{address}', certificate: tls.crt, key: tls.key, clientCa: ca.crt}}");

        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![client.der().clone()];
        let key = PrivateKeyDer::try_from(client_key.serialize_der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { address, tls: TlsConnector::from(Arc::new(config)), runtime }
    }

    /// Of a prober.
    pub fn verdicts(&self) -> Verdicts {
        self.ask(Method::GET, VERDICTS_PATH, Vec::new())
    }

    /// The same without those up to a sequence of a boot.
    pub fn verdicts_after(&self, boot: u64, sequence: u64) -> Verdicts {
        self.ask(Method::GET, &format!("{VERDICTS_PATH}?boot={boot}&after={sequence}"), Vec::new())
    }

    /// Of a prober. The hash of what is in force, or why it was refused.
    pub fn put_config(&self, yaml: &str) -> Result<String, String> {
        let (status, body) = self.exchange(Method::PUT, CONFIG_PATH, yaml.as_bytes().to_vec());
        if status.is_success() {
            return Ok(serde_json::from_slice::<ConfigTaken>(&body).unwrap().config_hash);
        }
        Err(format!("{status}: {}", serde_json::from_slice::<Problem>(&body).unwrap().message))
    }

    pub fn status(&self) -> NodeStatus {
        self.ask(Method::GET, STATUS_PATH, Vec::new())
    }

    pub fn set(&self, state: &SetState) -> NodeStatus {
        self.ask(Method::PUT, STATE_PATH, serde_json::to_vec(state).unwrap())
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> T {
        let (status, body) = self.exchange(method, path, body);
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> (StatusCode, Bytes) {
        self.runtime.block_on(async {
            let stream = TcpStream::connect(self.address).await.unwrap();
            let stream = self.tls.connect(ServerName::try_from(NAME).unwrap(), stream).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let request = Request::builder().method(method).uri(path).header("host", NAME);
            let response = sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
            (response.status(), response.into_body().collect().await.unwrap().to_bytes())
        })
    }
}
