//! Making and reading certificates. Pure, except that keys and serial numbers are random.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, pem::parse_x509_pem};

use crate::error::{Categorised, Category};

/// Clocks of machines differ: a certificate is valid from a little before it is made.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
const CA_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// The client certificate lives in this process only, so it can be short.
const CLIENT_VALIDITY: SignedDuration = SignedDuration::from_hours(24);
/// No certificate outlives the CA; with less than this left, it says so.
const CA_ENDS_SOON: SignedDuration = SignedDuration::from_hours(90 * 24);
const CA_NAME: &str = "rtc-fleet admin CA";
const CLIENT_NAME: &str = "rtc-fleet-operator";

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("{what} cannot be read ({why}): delete the Secret, and the operator makes a new CA and new certificates")]
    Unreadable { what: &'static str, why: String },
    #[error(
        "the key does not belong to the CA certificate: delete the Secret, and the operator makes a new CA and new certificates"
    )]
    WrongKey,
    #[error("the CA ended at {at}: delete the Secret, and the operator makes a new CA and new certificates")]
    Expired { at: Timestamp },
    #[error("a certificate cannot be made")]
    Making(#[source] rcgen::Error),
    #[error("{at} is out of the range of certificate times")]
    Time { at: Timestamp },
}

impl Categorised for CaError {
    fn category(&self) -> Category {
        match self {
            Self::Unreadable { .. } | Self::WrongKey | Self::Expired { .. } => Category::UserMustAct,
            Self::Making(_) | Self::Time { .. } => Category::Bug,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } | Self::WrongKey => "AdminCaUnreadable",
            Self::Expired { .. } => "AdminCaExpired",
            Self::Making(_) | Self::Time { .. } => "InternalError",
        }
    }
}

/// A private key in PEM. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

impl PrivateKey {
    /// The PEM text, for a Secret or a TLS stack.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub cert_pem: String,
    pub key: PrivateKey,
}

/// The certificate authority. `Debug` shows the certificate only.
pub struct Ca {
    cert_pem: String,
    key: PrivateKey,
    issuer: Issuer<'static, KeyPair>,
    not_after: Timestamp,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Ca {
    /// A new CA: ECDSA P-256, ten years, for signing certificates only.
    pub fn generate(now: Timestamp) -> Result<Self, CaError> {
        let key = new_key()?;
        let mut params = params(CA_NAME, now, now + CA_VALIDITY)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key).map_err(CaError::Making)?;
        Self::from_pem(&cert.pem(), &key.serialize_pem(), now)
    }

    /// A CA that was made before. Refused when it is over or the key is another one's.
    pub fn from_pem(cert_pem: &str, key_pem: &str, now: Timestamp) -> Result<Self, CaError> {
        let unreadable = |what| move |why: rcgen::Error| CaError::Unreadable { what, why: why.to_string() };
        let key = KeyPair::from_pem(key_pem).map_err(unreadable("the CA's key"))?;
        let (_, not_after) = validity(cert_pem)?;
        if not_after <= now {
            return Err(CaError::Expired { at: not_after });
        }
        if public_key(cert_pem)? != key.subject_public_key_info() {
            return Err(CaError::WrongKey);
        }
        let key_pem = PrivateKey(key_pem.to_owned());
        let issuer = Issuer::from_ca_cert_pem(cert_pem, key).map_err(unreadable("the CA's certificate"))?;
        Ok(Self { cert_pem: cert_pem.to_owned(), key: key_pem, issuer, not_after })
    }

    /// For `ca.crt` and the trust store.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    pub(super) fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// True with less than 90 days left: somebody should plan to delete the Secret.
    pub fn ends_soon(&self, now: Timestamp) -> bool {
        self.not_after.duration_since(now) < CA_ENDS_SOON
    }

    /// A certificate for a node's admin port: a TLS server called `dns_name`, and nothing else.
    pub fn issue_server(&self, dns_name: &str, validity: SignedDuration, now: Timestamp) -> Result<Issued, CaError> {
        self.issue(dns_name, Some(dns_name), ExtendedKeyUsagePurpose::ServerAuth, validity, now)
    }

    /// A certificate for the operator as a TLS client, and nothing else. A day long; replace it when [`needs_renewal`].
    pub fn issue_client(&self, now: Timestamp) -> Result<Issued, CaError> {
        self.issue(CLIENT_NAME, None, ExtendedKeyUsagePurpose::ClientAuth, CLIENT_VALIDITY, now)
    }

    fn issue(
        &self,
        name: &str,
        dns_name: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
        validity: SignedDuration,
        now: Timestamp,
    ) -> Result<Issued, CaError> {
        let key = new_key()?;
        let mut params = params(name, now, (now + validity).min(self.not_after))?;
        params.subject_alt_names = dns_name
            .map(|name| name.try_into().map(rcgen::SanType::DnsName))
            .transpose()
            .map_err(CaError::Making)?
            .into_iter()
            .collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer).map_err(CaError::Making)?;
        Ok(Issued { cert_pem: cert.pem(), key: PrivateKey(key.serialize_pem()) })
    }
}

/// True when more than half of the certificate's life is over, or when it cannot be read.
pub fn needs_renewal(cert_pem: &str, now: Timestamp) -> bool {
    let Ok((not_before, not_after)) = validity(cert_pem) else { return true };
    let half = not_after.duration_since(not_before) / 2;
    now.duration_since(not_before) >= half
}

fn new_key() -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Making)
}

fn params(name: &str, now: Timestamp, not_after: Timestamp) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = certificate_time(now - SKEW)?;
    params.not_after = certificate_time(not_after)?;
    Ok(params)
}

fn certificate_time(at: Timestamp) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| CaError::Time { at })
}

fn validity(cert_pem: &str) -> Result<(Timestamp, Timestamp), CaError> {
    read(cert_pem, |cert| {
        let validity = cert.validity();
        let from = Timestamp::from_second(validity.not_before.timestamp()).ok()?;
        let to = Timestamp::from_second(validity.not_after.timestamp()).ok()?;
        Some((from, to))
    })
}

fn public_key(cert_pem: &str) -> Result<Vec<u8>, CaError> {
    read(cert_pem, |cert| Some(cert.public_key().raw.to_vec()))
}

fn read<T>(cert_pem: &str, take: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Result<T, CaError> {
    let unreadable = |why: String| CaError::Unreadable { what: "the certificate", why };
    let (_, pem) = parse_x509_pem(cert_pem.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    let cert = pem.parse_x509().map_err(|error| unreadable(error.to_string()))?;
    take(&cert).ok_or_else(|| unreadable("its times are out of range".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn noon() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn ca() -> Ca {
        Ca::generate(noon()).unwrap()
    }

    #[test]
    fn a_server_certificate_serves_one_name_and_cannot_be_a_client_or_a_ca() {
        let issued = ca().issue_server("centralindia.media.turn.rtc-fleet", DAY * 30, noon()).unwrap();
        read(&issued.cert_pem, |cert| {
            let usage = cert.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.server_auth && !usage.client_auth && !usage.any);
            let names = &cert.subject_alternative_name().unwrap().unwrap().value.general_names;
            assert_eq!(names, &[GeneralName::DNSName("centralindia.media.turn.rtc-fleet")]);
            assert!(!cert.is_ca());
            Some(())
        })
        .unwrap();
    }

    #[test]
    fn a_client_certificate_cannot_serve() {
        let issued = ca().issue_client(noon()).unwrap();
        read(&issued.cert_pem, |cert| {
            let usage = cert.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.client_auth && !usage.server_auth && !usage.any);
            Some(())
        })
        .unwrap();
    }

    #[test]
    fn a_certificate_is_renewed_when_half_of_its_life_is_over() {
        let issued = ca().issue_server("a", DAY * 30, noon()).unwrap();
        assert!(!needs_renewal(&issued.cert_pem, noon()));
        assert!(!needs_renewal(&issued.cert_pem, noon() + DAY * 14));
        assert!(needs_renewal(&issued.cert_pem, noon() + DAY * 15));
        assert!(needs_renewal(&issued.cert_pem, noon() + DAY * 31));
        assert!(needs_renewal("not a certificate", noon()));
    }

    #[test]
    fn no_certificate_outlives_its_ca() {
        let ca = ca();
        let late = ca.not_after() - DAY;
        let issued = ca.issue_server("a", DAY * 30, late).unwrap();
        assert_eq!(validity(&issued.cert_pem).unwrap().1, ca.not_after());
        assert!(ca.ends_soon(late) && !ca.ends_soon(noon()));
    }

    #[test]
    fn a_ca_survives_the_round_trip_through_its_secret_and_a_wrong_or_old_one_is_refused() {
        let (ca, other) = (ca(), ca());
        let again = Ca::from_pem(ca.cert_pem(), ca.key().expose(), noon()).unwrap();
        assert_eq!(again.cert_pem(), ca.cert_pem());
        let wrong = Ca::from_pem(ca.cert_pem(), other.key().expose(), noon()).unwrap_err();
        assert!(matches!(wrong, CaError::WrongKey), "{wrong}");
        let old = Ca::from_pem(ca.cert_pem(), ca.key().expose(), ca.not_after()).unwrap_err();
        assert!(matches!(old, CaError::Expired { .. }), "{old}");
        let broken = Ca::from_pem("x", ca.key().expose(), noon()).unwrap_err();
        assert!(matches!(broken, CaError::Unreadable { .. }), "{broken}");
    }

    #[test]
    fn debug_shows_no_key() {
        let ca = ca();
        let issued = ca.issue_client(noon()).unwrap();
        for text in [format!("{ca:?}"), format!("{issued:?}"), format!("{:?}", ca.key())] {
            assert!(!text.contains("PRIVATE KEY"), "{text}");
        }
    }
}
