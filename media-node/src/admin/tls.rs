//! The admin API's side of mutual TLS: certificate, key and client authorities from files, read again when they change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::{
    config::Admin,
    pem::{Latest, PairContents, PairFiles, PemError, PemFile},
};

/// Between two looks at the files.
const AGAIN: Duration = Duration::from_secs(5);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("admin.clientCa: {}: {why}: write certificates of authorities", path.display())]
    ClientCa { path: PathBuf, why: String },
    #[error("admin: {0}")]
    Tls(rustls::Error),
}

/// The three files as they were read.
#[derive(PartialEq, Eq)]
struct Contents {
    pair: PairContents,
    client_ca: Vec<u8>,
}

/// TLS that follows its files.
pub struct TlsFiles {
    admin: Admin,
    latest: Latest<Contents, ServerConfig>,
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
        Ok(Self { admin: admin.clone(), latest: Latest::new(contents, config) })
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.latest.get())
    }

    /// Reads the files again. True if they changed; an error leaves what was.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        self.latest.renew(read(&self.admin)?, |contents| build(&self.admin, contents))
    }
}

fn pair(admin: &Admin) -> PairFiles<'_> {
    PairFiles {
        certificate: PemFile { key: "admin.certificate", path: &admin.certificate },
        key: PemFile { key: "admin.key", path: &admin.key },
    }
}

fn client_ca(admin: &Admin) -> PemFile<'_> {
    PemFile { key: "admin.clientCa", path: &admin.client_ca }
}

fn read(admin: &Admin) -> Result<Contents, TlsError> {
    Ok(Contents { pair: pair(admin).read()?, client_ca: client_ca(admin).read()? })
}

fn build(admin: &Admin, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let certified = pair(admin).certified(&contents.pair, &provider)?;
    let refused = |why: String| TlsError::ClientCa { path: admin.client_ca.clone(), why };
    let mut authorities = RootCertStore::empty();
    for authority in client_ca(admin).certificates(&contents.client_ca)? {
        authorities.add(authority).map_err(|why| refused(why.to_string()))?;
    }
    // A certificate that says what it is for has to say clientAuth: the nodes' own certificates do not open this door.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider))
        .build()
        .map_err(|why| refused(why.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would outlive the authority that vouched for its client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Looks at the files from now on. What is wrong with them is said once.
pub async fn follow(tls: Arc<TlsFiles>) {
    let mut said = String::new();
    loop {
        sleep(AGAIN).await;
        match tls.refresh() {
            Ok(false) => said.clear(),
            Ok(true) => tracing::info!("admin certificates have changed: new connections use them"),
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                tracing::warn!(%error, "admin certificates cannot be used: the last ones stay in force");
            }
            Err(_) => {}
        }
    }
}
