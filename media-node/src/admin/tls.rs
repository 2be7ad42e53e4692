//! The admin API's side of mutual TLS: certificate, key and client authorities from files, read again when they change.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tokio_rustls::TlsAcceptor;

use crate::config::Admin;

/// Largest PEM file, bytes.
const MAX_PEM: u64 = 256 * 1024;

/// Why there is no TLS. The path in front is the configuration's.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{key}: {} cannot be read: {source}: write the PEM file there", path.display())]
    Unreadable { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{key}: {} holds no {holds} in PEM: write one there", path.display())]
    Empty { key: &'static str, path: PathBuf, holds: &'static str },
    #[error("admin.key: {} does not go with {}: {why}: write a pair that belongs together", key.display(), certificate.display())]
    Pair { certificate: PathBuf, key: PathBuf, why: rustls::Error },
    #[error("admin.clientCa: {}: {why}: write certificates of authorities", path.display())]
    ClientCa { path: PathBuf, why: String },
}

/// The three files as they were read.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

/// TLS that follows its files.
pub struct TlsFiles {
    admin: Admin,
    now: RwLock<(Contents, Arc<ServerConfig>)>,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").field("admin", &self.admin).finish_non_exhaustive()
    }
}

impl TlsFiles {
    pub fn load(admin: &Admin) -> Result<Self, TlsError> {
        let contents = read(admin)?;
        let config = build(admin, &contents)?;
        Ok(Self { admin: admin.clone(), now: RwLock::new((contents, config)) })
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&now.1))
    }

    /// Reads the files again. True if they changed; an error leaves what was.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let contents = read(&self.admin)?;
        if self.now.read().unwrap_or_else(PoisonError::into_inner).0 == contents {
            return Ok(false);
        }
        let config = build(&self.admin, &contents)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = (contents, config);
        Ok(true)
    }
}

fn read(admin: &Admin) -> Result<Contents, TlsError> {
    let file = |key: &'static str, path: &Path| {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_PEM).read_to_end(&mut bytes))
            .map_err(|source| TlsError::Unreadable { key, path: path.to_owned(), source })?;
        Ok(bytes)
    };
    Ok(Contents {
        certificate: file("admin.certificate", &admin.certificate)?,
        key: file("admin.key", &admin.key)?,
        client_ca: file("admin.clientCa", &admin.client_ca)?,
    })
}

fn build(admin: &Admin, contents: &Contents) -> Result<Arc<ServerConfig>, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let chain = certificates("admin.certificate", &admin.certificate, &contents.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| TlsError::Empty {
        key: "admin.key",
        path: admin.key.clone(),
        holds: "private key",
    })?;
    let client_ca = |why: String| TlsError::ClientCa { path: admin.client_ca.clone(), why };
    let mut authorities = RootCertStore::empty();
    for authority in certificates("admin.clientCa", &admin.client_ca, &contents.client_ca)? {
        authorities.add(authority).map_err(|why| client_ca(why.to_string()))?;
    }
    // A certificate that says what it is for has to say clientAuth: the nodes' own certificates do not open this door.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
        .build()
        .map_err(|why| client_ca(why.to_string()))?;
    let pair = |why| TlsError::Pair { certificate: admin.certificate.clone(), key: admin.key.clone(), why };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would outlive the authority that vouched for its client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn certificates(key: &'static str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
    if found.is_empty() {
        return Err(TlsError::Empty { key, path: path.to_owned(), holds: "certificate" });
    }
    Ok(found)
}
