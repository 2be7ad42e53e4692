//! The client's side of TLS: authorities, and what is wrong with a certificate in words.

use std::{io, path::Path, sync::Arc};

use jiff::Timestamp;
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
};

use crate::pem::{PemError, PemFile};

/// Why certificates cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("{key}: {}: {why}: write certificates of authorities", path.display())]
    Authority { key: &'static str, path: std::path::PathBuf, why: String },
    #[error("TLS: {0}")]
    Tls(Error),
}

/// Handshakes are whole each time: a resumed one shows no certificate.
pub fn client_config(ca_file: Option<&Path>, key: &'static str) -> Result<Arc<ClientConfig>, RootsError> {
    let roots = match ca_file {
        Some(path) => from_file(PemFile { key, path })?,
        None => of_system(),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(RootsError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn from_file(file: PemFile<'_>) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    for authority in file.certificates(&file.read()?)? {
        roots.add(authority).map_err(|why| RootsError::Authority {
            key: file.key,
            path: file.path.to_owned(),
            why: why.to_string(),
        })?;
    }
    Ok(roots)
}

/// One that is odd does not take the others away. A system without any, such as an image on an empty base, has those that
/// browsers trusted when this release was made.
fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    roots
}

/// The end of a certificate's validity.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// What a handshake failed by, and of an expired certificate when it ended.
pub fn explain(error: &io::Error) -> (String, Option<Timestamp>) {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(why)) => certificate(why),
        Some(error) => (error.to_string(), None),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            ("the connection was closed in the handshake: no TLS is spoken there".to_owned(), None)
        }
        None => (error.to_string(), None),
    }
}

fn certificate(why: &CertificateError) -> (String, Option<Timestamp>) {
    let time = |time: &UnixTime| i64::try_from(time.as_secs()).ok().and_then(|s| Timestamp::from_second(s).ok());
    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            let ended = time(not_after);
            (format!("the certificate expired at {}", ended.unwrap_or(Timestamp::UNIX_EPOCH)), ended)
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let begins = time(not_before).unwrap_or(Timestamp::UNIX_EPOCH);
            (format!("the certificate is valid from {begins} on: compare the clocks"), None)
        }
        // Of an authority with the name of one that is trusted, the second.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            ("the certificate's chain leads to no authority that is trusted here".to_owned(), None)
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => (
            "the certificate is an authority's (CA:TRUE), which no server may show: make one with CA:FALSE".to_owned(),
            None,
        ),
        other => (other.to_string(), None),
    }
}
