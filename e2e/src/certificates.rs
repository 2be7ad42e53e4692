//! Certificates for relays, from an authority that only the scenario's clients trust.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::NamedTempFile;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::scenario::HOST;

const HANDSHAKE: Duration = Duration::from_secs(5);

/// A certificate authority, gone with the scenario.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    file: NamedTempFile,
}

/// A certificate with its key, as a kubernetes.io/tls Secret holds them.
pub struct Issued {
    pub certificate: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

impl Authority {
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority of the scenarios");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let file = NamedTempFile::with_suffix(".pem")?;
        std::fs::write(&file, certificate.pem())?;
        Ok(Self { der: certificate.der().clone(), file, issuer: Issuer::new(params, key) })
    }

    /// The authority's own certificate, PEM.
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// A new certificate for [`HOST`] and these addresses, for the next 90 days.
    pub fn issue(&self, addresses: &[String]) -> Result<Issued> {
        self.issue_for(addresses, 90)
    }

    /// The same for so many days, as dates of UTC have them.
    pub fn issue_for(&self, addresses: &[String], days: i32) -> Result<Issued> {
        let names: Vec<String> = addresses.iter().cloned().chain([HOST.to_owned()]).collect();
        let mut params = CertificateParams::new(names)?;
        let end = Timestamp::now().to_zoned(TimeZone::UTC).date().checked_add(days.days())?;
        params.not_after = date_time_ymd(end.year().into(), end.month().cast_unsigned(), end.day().cast_unsigned());
        params.distinguished_name.push(DnType::CommonName, HOST);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() })
    }

    /// The certificate that a new connection is shown. It must be of this authority, and for [`HOST`].
    pub async fn served(&self, address: SocketAddr) -> Result<CertificateDer<'static>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let handshake = async {
            let stream = TcpStream::connect(address).await?;
            TlsConnector::from(Arc::new(config))
                .connect(ServerName::try_from(HOST)?, stream)
                .await
                .map_err(anyhow::Error::from)
        };
        let stream = timeout(HANDSHAKE, handshake).await;
        let stream = stream.with_context(|| format!("{address}: no TLS within {HANDSHAKE:?}"))?;
        let stream = stream.with_context(|| format!("{address}: no TLS"))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Ok(shown.context("a handshake without a certificate")?.clone().into_owned())
    }
}
