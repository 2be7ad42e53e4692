//! What helm makes of the chart.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    cluster,
    command::{self, Finished},
    operator::NAMESPACE,
};
use serde::Deserialize;
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);
/// The API server's version that is rendered for.
const KUBERNETES: &str = "1.34.4";

pub fn folder() -> PathBuf {
    cluster::repository().join("charts/rtc-fleet")
}

/// The chart's objects with these `--set` values. Fails with helm's message.
pub async fn objects(set: &[&str]) -> Result<Vec<Value>> {
    let text = text(set).await?;
    let documents = serde_yaml::Deserializer::from_str(&text).map(Value::deserialize);
    let objects = documents.collect::<Result<Vec<_>, _>>()?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

pub async fn text(set: &[&str]) -> Result<String> {
    let finished = template(set).await?;
    ensure!(finished.succeeded(), "{}", finished.stderr);
    Ok(finished.stdout)
}

/// Whatever helm says to these values.
pub async fn template(set: &[&str]) -> Result<Finished> {
    let folder = folder();
    let folder = folder.to_str().context("the repository's path is text")?;
    let mut arguments = vec!["template", "rtc-fleet", folder, "-n", NAMESPACE, "--kube-version", KUBERNETES];
    arguments.extend(set.iter().flat_map(|value| ["--set", value]));
    command::output(cluster::helm(), &arguments, LIMIT).await
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

pub fn only<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    let found = of_kind(objects, kind);
    ensure!(found.len() == 1, "{} objects of kind {kind}", found.len());
    Ok(found[0])
}

#[tokio::test]
async fn helm_lint_finds_nothing() -> Result<()> {
    let folder = folder();
    let folder = folder.to_str().context("the repository's path is text")?;
    let finished = command::output(cluster::helm(), &["lint", "--strict", "--quiet", folder], LIMIT).await?;
    ensure!(finished.succeeded(), "{}{}", finished.stdout, finished.stderr);
    Ok(())
}

#[tokio::test]
async fn the_rendered_definitions_are_the_generated_ones_and_outlive_an_uninstall() -> Result<()> {
    let objects = objects(&[]).await?;
    let rendered = of_kind(&objects, "CustomResourceDefinition");
    let wanted = rtcfleet_crds::definition::all();
    ensure!(rendered.len() == wanted.len(), "{} definitions", rendered.len());
    for definition in wanted {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let mut found = (*rendered.iter().find(|crd| crd["metadata"]["name"] == *name).context(name.clone())?).clone();
        let annotations = found["metadata"].as_object_mut().and_then(|metadata| metadata.remove("annotations"));
        ensure!(annotations == Some(serde_json::json!({"helm.sh/resource-policy": "keep"})), "{name}: {annotations:?}");
        let generated = cluster::repository().join(format!("crds/generated/{}.yaml", definition.spec.names.plural));
        let generated: Value = serde_yaml::from_str(&std::fs::read_to_string(generated)?)?;
        ensure!(found == generated, "{name} is not crds/generated: run `make generate`");
    }
    Ok(())
}

#[tokio::test]
async fn definitions_can_be_left_to_somebody_else() -> Result<()> {
    let objects = objects(&["crds.install=false"]).await?;
    ensure!(of_kind(&objects, "CustomResourceDefinition").is_empty());
    ensure!(of_kind(&objects, "Deployment").len() == 1);
    Ok(())
}
