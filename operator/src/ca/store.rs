//! The CA's Secret. Two operators that start at once end with one CA: who creates the Secret second takes the first's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::ObjectMeta};

use super::issue::{Ca, CaError};
use crate::{
    error::{Categorised, Category},
    kube_io::{self, IoError},
};

/// The Secret's name, in the operator's namespace.
pub const SECRET: &str = "rtc-fleet-admin-ca";
const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("Secret {namespace}/{SECRET}")]
    Content { namespace: String, source: CaError },
    #[error(
        "Secret {namespace}/{SECRET} has no key {key:?}: delete it, and the operator makes a new CA and new certificates"
    )]
    KeyMissing { namespace: String, key: &'static str },
    #[error(
        "Secret {namespace}/{SECRET} is created and deleted by somebody else all the time: leave it to the operator"
    )]
    Unsteady { namespace: String },
    #[error("the CA cannot be kept")]
    Io(#[from] IoError),
}

impl Categorised for StoreError {
    fn category(&self) -> Category {
        match self {
            Self::Content { source, .. } => source.category(),
            Self::KeyMissing { .. } => Category::UserMustAct,
            Self::Unsteady { .. } => Category::Retry,
            Self::Io(error) => error.category(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Content { source, .. } => source.reason(),
            Self::KeyMissing { .. } | Self::Unsteady { .. } => "AdminCaUnreadable",
            Self::Io(error) => error.reason(),
        }
    }
}

/// The fleet's CA: the one in the Secret, or a new one that is there afterwards.
pub async fn load_or_create(client: Client, namespace: &str, now: Timestamp) -> Result<Ca, StoreError> {
    let api = Api::<Secret>::namespaced(client, namespace);
    // Twice: the Secret can go between being refused as existing and being read.
    for _ in 0..2 {
        if let Some(secret) = kube_io::get(&api, SECRET).await? {
            return read(&secret, namespace, now);
        }
        let made = Ca::generate(now).map_err(|source| StoreError::Content { namespace: namespace.into(), source })?;
        if kube_io::create(&api, &secret(&made, namespace)).await?.is_some() {
            tracing::info!(namespace, name = SECRET, not_after = %made.not_after(), "made the CA for the nodes' admin port");
            return Ok(made);
        }
    }
    Err(StoreError::Unsteady { namespace: namespace.into() })
}

fn read(secret: &Secret, namespace: &str, now: Timestamp) -> Result<Ca, StoreError> {
    let content = |source| StoreError::Content { namespace: namespace.into(), source };
    let text = |key| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let bytes = bytes.ok_or_else(|| StoreError::KeyMissing { namespace: namespace.into(), key })?;
        String::from_utf8(bytes.0.clone())
            .map_err(|_| content(CaError::Unreadable { what: key, why: "it is not text".into() }))
    };
    let ca = Ca::from_pem(&text(CERT)?, &text(KEY)?, now).map_err(content)?;
    if ca.ends_soon(now) {
        tracing::warn!(
            namespace,
            name = SECRET,
            not_after = %ca.not_after(),
            "the CA for the nodes' admin port ends soon: delete its Secret and restart the operator, which makes a new one"
        );
    }
    Ok(ca)
}

fn secret(ca: &Ca, namespace: &str) -> Secret {
    let labels = [("app.kubernetes.io/name", "rtc-fleet"), ("app.kubernetes.io/managed-by", "rtc-fleet")];
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.into()),
            namespace: Some(namespace.into()),
            labels: Some(labels.map(|(key, value)| (key.into(), value.into())).into()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".into()),
        data: Some(BTreeMap::from([
            (CERT.to_owned(), ByteString(ca.cert_pem().as_bytes().to_vec())),
            (KEY.to_owned(), ByteString(ca.key().expose().as_bytes().to_vec())),
        ])),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::kube_io::testing::{Scenario, answer, refusal};

    fn noon() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    /// Holds one Secret, as the API server does.
    fn server(stored: Arc<Mutex<Option<Secret>>>, hidden_reads: usize) -> (Client, Scenario) {
        let mut hidden_reads = hidden_reads;
        Scenario::start(move |request| {
            let mut stored = stored.lock().unwrap();
            match (request.method.as_str(), stored.as_ref()) {
                ("GET", Some(secret)) if hidden_reads == 0 => answer(secret),
                ("GET", _) => {
                    hidden_reads = hidden_reads.saturating_sub(1);
                    refusal(404, "NotFound")
                }
                ("POST", Some(_)) => refusal(409, "AlreadyExists"),
                ("POST", None) => {
                    let created: Secret = request.json();
                    *stored = Some(created.clone());
                    answer(&created)
                }
                (method, _) => panic!("{method} is not expected"),
            }
        })
    }

    #[tokio::test]
    async fn the_ca_is_made_once_and_read_afterwards() {
        let stored = Arc::default();
        let (client, scenario) = server(Arc::clone(&stored), 0);
        let first = load_or_create(client.clone(), "rtc-fleet-system", noon()).await.unwrap();
        let second = load_or_create(client, "rtc-fleet-system", noon()).await.unwrap();
        assert_eq!(first.cert_pem(), second.cert_pem());
        scenario.expect_requests(3).await;
    }

    #[tokio::test]
    async fn of_two_operators_that_start_at_once_the_second_takes_the_first_ones_ca() {
        let first = Ca::generate(noon()).unwrap();
        let stored = Arc::new(Mutex::new(Some(secret(&first, "rtc-fleet-system"))));
        // The second looked before the first had written.
        let (client, _scenario) = server(stored, 1);
        let second = load_or_create(client, "rtc-fleet-system", noon()).await.unwrap();
        assert_eq!(first.cert_pem(), second.cert_pem());
    }

    #[tokio::test]
    async fn a_secret_without_a_key_says_what_to_do() {
        let mut broken = secret(&Ca::generate(noon()).unwrap(), "rtc-fleet-system");
        broken.data.as_mut().unwrap().remove(KEY);
        let (client, _scenario) = server(Arc::new(Mutex::new(Some(broken))), 0);
        let error = load_or_create(client, "rtc-fleet-system", noon()).await.unwrap_err();
        assert_eq!(error.category(), Category::UserMustAct);
        assert!(error.to_string().contains("delete it"), "{error}");
    }
}
