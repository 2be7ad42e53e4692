//! Objects as an older schema let them in: the CRD's schema of `spec` is taken away for a while.

use std::{panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use futures::FutureExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use rtcfleet_crds::TurnRegion;
use serde_json::{Value, json};

use crate::wait;

const CRD: &str = "turnregions.rtcfleet.dev";
const SPEC_SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";

/// Runs `body` while the API server takes any `spec`, and puts the schema back in every case.
pub async fn without(client: &Client, namespace: &str, body: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let whole = serde_json::to_value(crds.get(CRD).await?)?;
    let strict = whole.pointer(SPEC_SCHEMA).context("a CRD without a schema of spec")?.clone();
    ensure!(strict.get("properties").is_some(), "the schema of {CRD} is loose already: run `make up`");
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    replace(&crds, any).await?;
    let outcome = AssertUnwindSafe(async {
        takes_effect(client, namespace, true).await?;
        body().await
    })
    .catch_unwind()
    .await;
    replace(&crds, strict).await.context("the schema cannot be put back: run `make up`")?;
    takes_effect(client, namespace, false).await?;
    outcome.unwrap_or_else(|_| Err(anyhow!("it panicked; the message is above")))
}

/// Regions of any shape.
pub fn untyped(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<TurnRegion>(&()))
}

async fn replace(crds: &Api<CustomResourceDefinition>, schema: Value) -> Result<()> {
    let patch = json!([{"op": "replace", "path": SPEC_SCHEMA, "value": schema}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch)?);
    crds.patch(CRD, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The API server serves a changed schema a moment after it has taken it.
async fn takes_effect(client: &Client, namespace: &str, loose: bool) -> Result<()> {
    let regions = untyped(client, namespace);
    let probe: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "rtcfleet.dev/v1alpha1", "kind": "TurnRegion", "metadata": {"name": "probe"}, "spec": {"listeners": 7},
    }))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    wait::until("a changed schema takes effect", Duration::from_secs(30), async || {
        let taken = regions.create(&dry, &probe).await;
        ensure!(taken.is_ok() == loose, "an object of any shape: {taken:?}");
        Ok(())
    })
    .await
}
