//! Makes probers what they should be. Writes only what differs.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt};

use super::build::{Objects, admin_meta, admin_server_name};
use super::observed::Observed;
use super::validate::ManagedName;
use crate::admin_port::{self, ApplyError};
use crate::context::Ctx;
use crate::kube_io;

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
    let kept = admin_port::keep(admin_meta(&name.identity), &admin_server_name(&name.identity), admin, ctx).await?;
    let written = kept.map(|(due, secret)| {
        tracing::info!(%namespace, secret = secret.name_any(), reason = due.reason(), "the certificate of probers' admin ports is made");
        secret
    });
    let maps = Api::<ConfigMap>::namespaced(ctx.client.clone(), namespace);
    kube_io::apply(&maps, &objects.config, observed.config.as_ref()).await?;
    for one in desired {
        let live = observed.deployments.iter().find(|live| live.name_any() == one.name_any());
        kube_io::apply(&deployments, one, live).await?;
    }
    Ok(written)
}
