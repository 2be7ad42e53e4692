//! The certificate that TLS listeners show, followed while its files change.
//!
//! Handshakes take the latest one that could be used; what is open already is not touched. Sessions are resumed across a
//! change: a ticket proves a handshake with this process, whatever certificate it had then.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rtcfleet_node_api as api;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::sleep;

use crate::{
    config::Tls,
    pem::{Latest, PairContents, PairFiles, PemError, PemFile},
};

/// Between two looks at the files.
const AGAIN: Duration = Duration::from_secs(5);
/// RFC 7443. A client that offers neither offers something else: it has come to the wrong place.
const ALPN: [&[u8]; 2] = [b"stun.turn", b"stun.nat-discovery"];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("tls.certificate: {0}: write a certificate of X.509, in PEM")]
    X509(String),
}

/// One that can be shown.
struct Shown {
    certified: Arc<CertifiedKey>,
    not_after: Timestamp,
}

/// The latest that could be used, and how the files are now.
pub struct Certificate {
    files: Tls,
    latest: Latest<PairContents, Shown>,
    problem: Mutex<Option<String>>,
    errors: AtomicU64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificate {
    pub fn load(files: &Tls) -> Result<Self, CertificateError> {
        let contents = pair(files).read()?;
        let shown = shown(files, &contents)?;
        Ok(Self {
            files: files.clone(),
            latest: Latest::new(contents, shown),
            problem: Mutex::default(),
            errors: AtomicU64::new(0),
        })
    }

    /// Reads the files again. True if they changed; an error leaves what was.
    pub fn refresh(&self) -> Result<bool, CertificateError> {
        let contents = pair(&self.files).read().map_err(CertificateError::from);
        let renewed =
            contents.and_then(|contents| self.latest.renew(contents, |contents| shown(&self.files, contents)));
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = renewed.as_ref().err().map(ToString::to_string);
        if renewed.is_err() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        renewed
    }

    pub fn status(&self) -> api::Certificate {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        api::Certificate { not_after: self.latest.get().not_after, problem }
    }

    /// Looks at the files that failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

impl ResolvesServerCert for Certificate {
    /// Whatever name was asked for: clients reach a relay by its address as well.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.latest.get().certified))
    }
}

fn pair(files: &Tls) -> PairFiles<'_> {
    PairFiles {
        certificate: PemFile { key: "tls.certificate", path: &files.certificate },
        key: PemFile { key: "tls.key", path: &files.key },
    }
}

fn shown(files: &Tls, contents: &PairContents) -> Result<Shown, CertificateError> {
    let certified = pair(files).certified(contents, &ring::default_provider())?;
    let x509 = |error: &dyn fmt::Display| CertificateError::X509(format!("{}: {error}", files.certificate.display()));
    let leaf = certified.end_entity_cert().map_err(|error| x509(&error))?;
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).map_err(|error| x509(&error))?;
    let not_after = Timestamp::from_second(leaf.validity().not_after.timestamp()).map_err(|error| x509(&error))?;
    Ok(Shown { certified: Arc::new(certified), not_after })
}

/// TLS 1.2 and 1.3 as listeners speak it. Tickets carry sessions, so that threads have nothing in common but the keys
/// for these, which rustls exchanges every six hours.
pub fn server_config(certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()?;
    // One is enough: a client holds one connection.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// Looks at the files from now on. What is wrong with them is said once.
pub async fn follow(certificate: Arc<Certificate>) {
    let mut said = String::new();
    loop {
        sleep(AGAIN).await;
        match certificate.refresh() {
            Ok(false) => said.clear(),
            Ok(true) => {
                let not_after = certificate.status().not_after;
                tracing::info!(%not_after, "the certificate has changed: new connections are shown it");
            }
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                tracing::warn!(%error, "the certificate's files cannot be used: the last one stays in force");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    struct Files {
        directory: tempfile::TempDir,
        tls: Tls,
    }

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let [certificate, key] = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
            Self { directory, tls: Tls { certificate, key } }
        }

        /// A new pair that is good until 1 January of `year`.
        fn write(&self, year: i32) {
            let mut params = CertificateParams::new(vec!["turn.example.org".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = KeyPair::generate().unwrap();
            std::fs::write(&self.tls.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
            std::fs::write(&self.tls.key, key.serialize_pem()).unwrap();
        }
    }

    fn year(certificate: &Certificate) -> i16 {
        certificate.status().not_after.to_zoned(jiff::tz::TimeZone::UTC).year()
    }

    #[test]
    fn the_files_are_followed_and_the_last_good_pair_stays_while_they_are_broken() {
        let files = Files::new();
        let error = Certificate::load(&files.tls).unwrap_err().to_string();
        assert!(error.starts_with("tls.certificate: ") && error.contains("cannot be read"), "{error}");
        files.write(2035);
        let certificate = Certificate::load(&files.tls).unwrap();
        assert_eq!((year(&certificate), certificate.refresh().unwrap()), (2035, false));
        assert_eq!(certificate.status().problem, None);

        let old_key = std::fs::read(&files.tls.key).unwrap();
        files.write(2036);
        let new_key = std::fs::read(&files.tls.key).unwrap();
        std::fs::write(&files.tls.key, old_key).unwrap();
        let error = certificate.refresh().unwrap_err().to_string();
        assert!(error.starts_with("tls.key: ") && error.contains("does not go with"), "{error}");
        assert_eq!((year(&certificate), certificate.errors()), (2035, 1));
        assert_eq!(certificate.status().problem, Some(error));

        std::fs::write(&files.tls.key, new_key).unwrap();
        assert!(certificate.refresh().unwrap());
        assert_eq!((year(&certificate), certificate.status().problem), (2036, None));

        std::fs::remove_dir_all(files.directory.path()).unwrap();
        assert!(certificate.refresh().is_err());
        assert_eq!((year(&certificate), certificate.errors()), (2036, 2));
    }

    #[test]
    fn a_certificate_that_is_none_is_refused_with_its_key_of_the_configuration() {
        let files = Files::new();
        files.write(2035);
        std::fs::write(&files.tls.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        let error = Certificate::load(&files.tls).unwrap_err().to_string();
        assert!(error.starts_with("tls."), "{error}");
    }
}
