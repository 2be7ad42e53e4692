//! The definition itself: it is the one of the types, it is accepted without a warning, and it says what `kubectl
//! explain`, `kubectl get` and `kubectl scale` show.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::{cluster, command::kubectl, namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::PostParams,
    runtime::{conditions::is_crd_established, wait::Condition},
};
use rtcfleet_crds::TurnRegion;
use serde_json::{Value, json};

use crate::rules;

#[tokio::test]
async fn the_cluster_has_the_definitions_of_the_types() -> Result<()> {
    let installed = Api::<CustomResourceDefinition>::all(cluster::client().await?);
    for wanted in rtcfleet_crds::definition::all() {
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let found = installed.get(&name).await.with_context(|| format!("{name}: run `make up`"))?;
        let differs = difference(&serde_json::to_value(&wanted.spec)?, &serde_json::to_value(&found.spec)?, "spec");
        ensure!(differs.is_none(), "{name}: {} is not what the types say: run `make up`", differs.unwrap_or_default());
        ensure!(is_crd_established().matches_object(Some(&found)), "{name}: not established: {:?}", found.status);
    }
    Ok(())
}

#[tokio::test]
async fn the_generated_files_are_accepted_without_a_warning() -> Result<()> {
    let folder = cluster::repository().join("crds/generated");
    let folder = folder.to_str().context("the repository's path is text")?;
    let applied =
        kubectl(&["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", folder], "").await?;
    ensure!(applied.succeeded() && applied.stderr.is_empty(), "{}{}", applied.stdout, applied.stderr);
    Ok(())
}

#[tokio::test]
async fn kubectl_get_shows_what_an_sre_wants_at_one_glance() -> Result<()> {
    namespace::with("columns", async |client, namespace| {
        let regions = rules::regions(&client, namespace);
        regions.create(&PostParams::default(), &rules::object("a", "{replicas: 0}")?).await?;
        for (output, columns) in [
            ("", "NAME REGION READY DESIRED SERVING STATE AGE"),
            ("wide", "NAME REGION READY DESIRED SERVING DRAINING STATE FAILOVER ADDRESSES MESSAGE AGE"),
        ] {
            let shown = kubectl(&["get", "tr", "-n", namespace, "-o", output], "").await?.stdout;
            let header: Vec<_> = shown.lines().next().unwrap_or_default().split_whitespace().collect();
            ensure!(header.join(" ") == columns, "{output}: {shown}");
        }
        let by_category = kubectl(&["get", "rtc", "-n", namespace, "-o", "name"], "").await?.stdout;
        ensure!(by_category == "turnregion.rtcfleet.dev/a\n", "{by_category}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn kubectl_explain_has_a_text_for_a_field() -> Result<()> {
    let explained = kubectl(&["explain", "turnregion.spec.relay.allowPeers"], "").await?.stdout;
    ensure!(explained.contains("Networks that are opened in the standing deny list"), "{explained}");
    Ok(())
}

#[tokio::test]
async fn an_external_scaler_reads_and_writes_the_number_of_relays() -> Result<()> {
    namespace::with("scale", async |client, namespace| {
        let untyped = rules::regions(&client, namespace);
        untyped.create(&PostParams::default(), &rules::object("a", "{replicas: 0}")?).await?;
        let regions = Api::<TurnRegion>::namespaced(client, namespace);
        let scaled = kubectl(&["scale", "tr/a", "-n", namespace, "--replicas=1", "--current-replicas=0"], "").await?;
        ensure!(scaled.succeeded(), "{}", scaled.stderr);
        ensure!(regions.get("a").await?.spec.replicas == Some(1), "kubectl scale does not reach spec.replicas");
        let scale = regions.get_scale("a").await?;
        ensure!(scale.spec.as_ref().and_then(|spec| spec.replicas) == Some(1), "{scale:?}");
        Ok(())
    })
    .await
}

/// The first field of `wanted` that `found` has not or has another value for. What `found` has besides is the API
/// server's.
fn difference(wanted: &Value, found: &Value, path: &str) -> Option<String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            found.get(name).map_or(Some(path.clone()), |found| difference(value, found, &path))
        }),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            wanted.iter().zip(found).find_map(|(wanted, found)| difference(wanted, found, &format!("{path}[]")))
        }
        // 65535.0 comes back as 65535.
        (Value::Number(wanted), Value::Number(found)) if wanted.as_f64() == found.as_f64() => None,
        _ => (wanted != found).then(|| path.to_owned()),
    }
}

#[test]
fn a_difference_is_named_and_additions_of_the_api_server_are_none() {
    let paths: BTreeSet<_> = [json!({"a": [{"b": 1}]}), json!({"a": [{"b": 2.0, "c": 3}], "d": 4}), json!({"a": []})]
        .iter()
        .filter_map(|found| difference(&json!({"a": [{"b": 2}]}), found, "spec"))
        .collect();
    assert_eq!(paths, ["spec.a", "spec.a[].b"].map(str::to_owned).into());
}
