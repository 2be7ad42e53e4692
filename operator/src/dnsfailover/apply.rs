//! Makes probers what they should be. Writes only what differs.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt};

use super::build::{Objects, admin_secret, admin_secret_name, admin_server_name};
use super::observed::Observed;
use super::validate::ManagedName;
use crate::ca::CaError;
use crate::context::Ctx;
use crate::error::{Categorised, Category};
use crate::kube_io::{self, IoError};
use crate::turnregion::build::certificate::{self, CA, CERTIFICATE, KEY};

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("the certificate of the probers' admin ports cannot be made")]
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

/// Without `objects`, no prober is left. The Secret of the admin ports, if it was written.
pub async fn apply(
    name: &ManagedName,
    objects: Option<&Objects>,
    observed: &Observed,
    admin: Option<&Secret>,
    ctx: &Ctx,
) -> Result<Option<Secret>, ApplyError> {
    let namespace = &name.identity.namespace;
    let deployments = Api::<Deployment>::namespaced(ctx.client.clone(), namespace);
    let desired = objects.map_or(&[][..], |objects| &objects.deployments);
    let is_desired = |live: &Deployment| desired.iter().any(|one| one.name_any() == live.name_any());
    for live in observed.deployments.iter().filter(|live| !is_desired(live)) {
        kube_io::delete(&deployments, live).await?;
    }
    let Some(objects) = objects else { return Ok(None) };
    let written = admin_certificate(name, admin, ctx).await?;
    let maps = Api::<ConfigMap>::namespaced(ctx.client.clone(), namespace);
    kube_io::apply(&maps, &objects.config, observed.config.as_ref()).await?;
    for one in desired {
        let live = observed.deployments.iter().find(|live| live.name_any() == one.name_any());
        kube_io::apply(&deployments, one, live).await?;
    }
    Ok(written)
}

async fn admin_certificate(
    name: &ManagedName,
    secret: Option<&Secret>,
    ctx: &Ctx,
) -> Result<Option<Secret>, ApplyError> {
    let now = ctx.clock.now();
    let Some(due) = certificate::due(secret, ctx.ca.cert_pem(), now) else { return Ok(None) };
    let issued = ctx.ca.issue_server(&admin_server_name(&name.identity), certificate::VALIDITY, now)?;
    let data = BTreeMap::from([
        (CERTIFICATE.to_owned(), issued.cert_pem.clone()),
        (KEY.to_owned(), issued.key.expose().to_owned()),
        (CA.to_owned(), ctx.ca.cert_pem().to_owned()),
    ]);
    let desired = admin_secret(&name.identity, data);
    let secrets = Api::<Secret>::namespaced(ctx.client.clone(), &name.identity.namespace);
    kube_io::apply(&secrets, &desired, secret).await?;
    tracing::info!(
        namespace = name.identity.namespace,
        secret = admin_secret_name(&name.identity),
        reason = due.reason(),
        "the certificate of probers' admin ports is made"
    );
    Ok(Some(desired))
}
