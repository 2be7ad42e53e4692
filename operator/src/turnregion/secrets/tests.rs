use jiff::SignedDuration;
use k8s_openapi::ByteString;

use super::*;
use crate::ca::Ca;
use crate::turnregion::test_support::managed;

fn now() -> Timestamp {
    "2026-02-01T12:00:00Z".parse().unwrap()
}

fn secret(data: &[(&str, &str)]) -> Secret {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    Secret { data: Some(data.collect()), ..Secret::default() }
}

/// A certificate in PEM that holds for so many days.
fn certificate(days: i64) -> String {
    let ca = Ca::generate(now()).unwrap();
    ca.issue_server("turn.example.org", SignedDuration::from_hours(24 * days), now()).unwrap().cert_pem
}

/// What a person reads when the Secrets are these.
fn told(auth: Option<&Secret>, tls: Option<&Secret>) -> Vec<(&'static str, &'static str, String)> {
    let region = managed("{tls: {secretName: turn-tls}}");
    let observed = Observed { auth: AuthSecret::of(auth), tls: Some(TlsSecret::of(tls)), ..Observed::default() };
    let missing = missing(&region, &observed).into_iter();
    missing.map(|MissingSecret { condition, reason, message }| (condition, reason, message)).collect()
}

#[test]
fn a_certificate_holds_until_the_end_of_the_first_in_its_chain() {
    let (leaf, issuer) = (certificate(30), certificate(3650));
    let chain = format!("some text before\n{leaf}{issuer}");
    let found = TlsSecret::of(Some(&secret(&[("tls.crt", &chain), ("tls.key", "a key")])));
    assert_eq!(found, TlsSecret::Ends(now() + SignedDuration::from_hours(24 * 30)));
    let with_parameters =
        format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{leaf}");
    assert_eq!(TlsSecret::of(Some(&secret(&[("tls.crt", &with_parameters), ("tls.key", "a key")]))), found);
}

#[test]
fn what_is_wrong_with_the_certificates_secret_is_told_with_what_to_write() {
    let auth = secret(&[("current", "a secret")]);
    let good = certificate(30);
    for (case, tls, reason, expected) in [
        (
            "there is none",
            None,
            "TlsSecretMissing",
            "Secret turn-tls does not exist: kubectl create secret tls turn-tls --cert=fullchain.pem --key=key.pem, or let cert-manager write it; relays that run keep the last certificate, new ones wait for it",
        ),
        (
            "it has no certificate",
            Some(secret(&[("tls.key", "a key")])),
            "TlsSecretMissing",
            "Secret turn-tls has no key \"tls.crt\", or it is empty: write the certificate and its chain to tls.crt and the private key to tls.key, both PEM, or name another Secret in spec.tls.secretName",
        ),
        (
            "its key is empty",
            Some(secret(&[("tls.crt", &good), ("tls.key", "")])),
            "TlsSecretMissing",
            "Secret turn-tls has no key \"tls.key\", or it is empty: write the certificate and its chain to tls.crt and the private key to tls.key, both PEM, or name another Secret in spec.tls.secretName",
        ),
        (
            "its certificate is none",
            Some(secret(&[("tls.crt", "a certificate"), ("tls.key", "a key")])),
            "TlsSecretUnreadable",
            "Secret turn-tls: tls.crt cannot be read (it holds no CERTIFICATE in PEM): write the server's certificate, then its chain, in PEM; relays that run keep the last certificate",
        ),
    ] {
        assert_eq!(told(Some(&auth), tls.as_ref()), [("TlsSecretMissing", reason, expected.to_owned())], "{case}");
    }
    assert_eq!(told(Some(&auth), Some(&secret(&[("tls.crt", &good), ("tls.key", "a key")]))), []);
}

#[test]
fn a_certificate_that_ended_is_no_missing_one() {
    let auth = secret(&[("current", "a secret")]);
    assert_eq!(told(Some(&auth), Some(&secret(&[("tls.crt", &certificate(-1)), ("tls.key", "a key")]))), []);
}

#[test]
fn both_secrets_are_told_the_credentials_first() {
    let conditions = |auth| told(auth, None).into_iter().map(|(condition, ..)| condition).collect::<Vec<_>>();
    assert_eq!(conditions(None), ["AuthSecretMissing", "TlsSecretMissing"]);
    let empty = secret(&[("current", "")]);
    assert_eq!(conditions(Some(&empty)), ["AuthSecretMissing", "TlsSecretMissing"]);
    assert!(told(Some(&empty), None)[0].2.contains("has no key \"current\", or it is empty"));
}

#[test]
fn a_region_without_a_tls_listener_lacks_no_certificate() {
    let auth = AuthSecret::of(Some(&secret(&[("current", "a secret")])));
    assert_eq!(missing(&managed("{}"), &Observed { auth, ..Observed::default() }), []);
}
