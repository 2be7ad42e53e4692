//! The Secrets that a region names, as far as the operator looks into them: whether they are there and complete, and
//! until when a certificate holds. Values are never kept.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rtcfleet_crds::condition::{AUTH_SECRET_MISSING, TLS_SECRET_MISSING};
use x509_parser::pem::Pem;

use super::observed::Observed;
use super::validate::ManagedRegion;
use crate::admin_port::{CERTIFICATE, KEY};

/// The Secret that credentials are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthSecret {
    #[default]
    Missing,
    /// The keys that hold anything.
    Keys(BTreeSet<String>),
}

impl AuthSecret {
    pub fn of(secret: Option<&Secret>) -> Self {
        let Some(secret) = secret else { return Self::Missing };
        let filled = secret.data.iter().flatten().filter(|(_, value)| !value.0.is_empty());
        Self::Keys(filled.map(|(key, _)| key.clone()).collect())
    }
}

/// The Secret with the certificate of TLS listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSecret {
    Missing,
    /// It has no such key, or nothing in it.
    Lacks(&'static str),
    /// Its certificate is none that can be read.
    Unreadable {
        why: String,
    },
    /// The end of its certificate's validity (RFC 5280 section 4.1.2.5).
    Ends(Timestamp),
}

impl TlsSecret {
    pub fn of(secret: Option<&Secret>) -> Self {
        let Some(secret) = secret else { return Self::Missing };
        let value =
            |key: &str| secret.data.as_ref()?.get(key).map(|value| value.0.as_slice()).filter(|v| !v.is_empty());
        match (value(CERTIFICATE), value(KEY)) {
            (None, _) => Self::Lacks(CERTIFICATE),
            (_, None) => Self::Lacks(KEY),
            (Some(certificate), Some(_)) => end_of(certificate).map_or_else(|why| Self::Unreadable { why }, Self::Ends),
        }
    }
}

/// The server's own certificate is the first of the chain (RFC 8446 section 4.4.2).
fn end_of(chain: &[u8]) -> Result<Timestamp, String> {
    let mut blocks = Pem::iter_from_buffer(chain).filter_map(Result::ok);
    let first = blocks.find(|block| block.label == "CERTIFICATE").ok_or("it holds no CERTIFICATE in PEM")?;
    let certificate = first.parse_x509().map_err(|error| error.to_string())?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).map_err(|error| error.to_string())
}

/// A Secret without which nodes that start do not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSecret {
    /// The condition that tells it.
    pub condition: &'static str,
    pub reason: &'static str,
    pub message: String,
}

/// What is not there, the credentials' secret first.
pub fn missing(region: &ManagedRegion, observed: &Observed) -> Vec<MissingSecret> {
    let tls = region.listeners.certificate().zip(observed.tls.as_ref());
    let tls = tls.and_then(|(name, secret)| missing_tls(name, secret));
    missing_auth(region, &observed.auth).into_iter().chain(tls).collect()
}

fn missing_auth(region: &ManagedRegion, secret: &AuthSecret) -> Option<MissingSecret> {
    let (name, key) = (&region.secret.name, &region.secret.current);
    let message = match secret {
        AuthSecret::Keys(keys) if keys.contains(key) => return None,
        AuthSecret::Keys(_) => format!(
            "Secret {name} has no key {key:?}, or it is empty: kubectl create secret generic {name} --from-literal={key}=…, or name an existing key in spec.auth.secretRef.keys"
        ),
        AuthSecret::Missing => format!(
            "Secret {name} does not exist: kubectl create secret generic {name} --from-literal={key}=…; relays that run keep the last one, new ones wait for it"
        ),
    };
    Some(MissingSecret { condition: AUTH_SECRET_MISSING, reason: AUTH_SECRET_MISSING, message })
}

fn missing_tls(name: &str, secret: &TlsSecret) -> Option<MissingSecret> {
    let (reason, message) = match secret {
        TlsSecret::Ends(_) => return None,
        TlsSecret::Missing => (
            TLS_SECRET_MISSING,
            format!(
                "Secret {name} does not exist: kubectl create secret tls {name} --cert=fullchain.pem --key=key.pem, or let cert-manager write it; relays that run keep the last certificate, new ones wait for it"
            ),
        ),
        TlsSecret::Lacks(key) => (
            TLS_SECRET_MISSING,
            format!(
                "Secret {name} has no key {key:?}, or it is empty: write the certificate and its chain to {CERTIFICATE} and the private key to {KEY}, both PEM, or name another Secret in spec.tls.secretName"
            ),
        ),
        TlsSecret::Unreadable { why } => (
            "TlsSecretUnreadable",
            format!(
                "Secret {name}: {CERTIFICATE} cannot be read ({why}): write the server's certificate, then its chain, in PEM; relays that run keep the last certificate"
            ),
        ),
    };
    Some(MissingSecret { condition: TLS_SECRET_MISSING, reason, message })
}

#[cfg(test)]
mod tests;
