//! The admin port of media nodes: how its configuration names files, and how their certificate is kept in a Secret.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde_json::{Value, json};

use crate::ca::{CaError, needs_renewal};
use crate::context::Ctx;
use crate::error::{Categorised, Category};
use crate::kube_io::{self, IoError};
use crate::pod::ADMIN_PORT;

/// Where a pod finds the Secret.
pub const FOLDER: &str = "/etc/rtc-fleet/admin";

/// Nodes read a renewed certificate without a restart, so it can be short.
pub const VALIDITY: SignedDuration = SignedDuration::from_hours(90 * 24);

pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";
pub const CA: &str = "ca.crt";

/// Why a certificate must be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Missing,
    /// It was made by another CA.
    OtherCa,
    /// Half of its life is over, or it cannot be read.
    Old,
}

impl Due {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::OtherCa => "OtherCa",
            Self::Old => "Old",
        }
    }
}

/// Why what nodes need in the cluster is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("the certificate of the admin ports cannot be made")]
    Certificate(#[from] CaError),
}

impl Categorised for ApplyError {
    fn category(&self) -> Category {
        match self {
            Self::Io(error) => error.category(),
            Self::Certificate(error) => error.category(),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Io(error) => error.reason(),
            Self::Certificate(error) => error.reason(),
        }
    }
}

/// The group `admin` of a node's configuration. The pod narrows the address to its own by a flag.
pub fn config() -> Value {
    json!({
        "address": format!("127.0.0.1:{ADMIN_PORT}"),
        "certificate": format!("{FOLDER}/{CERTIFICATE}"),
        "key": format!("{FOLDER}/{KEY}"),
        "clientCa": format!("{FOLDER}/{CA}"),
    })
}

/// Makes the certificate for `server_name` (a DNS SAN; nothing resolves it) and writes it to the Secret with this metadata, if
/// the one in `live` is not good any more. Why, and the Secret.
pub async fn keep(
    metadata: ObjectMeta,
    server_name: &str,
    live: Option<&Secret>,
    ctx: &Ctx,
) -> Result<Option<(Due, Secret)>, ApplyError> {
    let (now, ca) = (ctx.clock.now(), &ctx.ca);
    let Some(due) = due(live, ca.cert_pem(), now) else { return Ok(None) };
    let issued = ca.issue_server(server_name, VALIDITY, now)?;
    let data = [(CERTIFICATE, issued.cert_pem.as_str()), (KEY, issued.key.expose()), (CA, ca.cert_pem())];
    let secrets = Api::<Secret>::namespaced(ctx.client.clone(), metadata.namespace.as_deref().unwrap_or_default());
    let secret = Secret {
        metadata,
        type_: Some("kubernetes.io/tls".into()),
        data: Some(data.map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).into()),
        ..Secret::default()
    };
    kube_io::apply(&secrets, &secret, live).await?;
    Ok(Some((due, secret)))
}

/// `None` while the one in `secret` is good.
fn due(secret: Option<&Secret>, ca_pem: &str, now: Timestamp) -> Option<Due> {
    let text = |key: &str| {
        let value = secret?.data.as_ref()?.get(key)?;
        std::str::from_utf8(&value.0).ok()
    };
    let (Some(certificate), Some(_), Some(ca)) = (text(CERTIFICATE), text(KEY), text(CA)) else {
        return Some(Due::Missing);
    };
    if ca != ca_pem {
        return Some(Due::OtherCa);
    }
    needs_renewal(certificate, now).then_some(Due::Old)
}
