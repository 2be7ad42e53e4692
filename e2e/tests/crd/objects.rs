//! Whole objects: what a user wrote comes back unchanged, and every example of the documentation is accepted.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::{cluster, command::kubectl, namespace};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use rtcfleet_crds::{Conditions, TurnRegion};
use serde_json::{Value, json};

use crate::rules;

#[tokio::test]
async fn a_new_object_has_the_status_of_one_that_nobody_has_looked_at() -> Result<()> {
    namespace::with("status", async |client, namespace| {
        let regions = rules::regions(&client, namespace);
        let created = rules::create(&regions, "a", "{}").await?;
        ensure!(created.data["status"]["observedGeneration"] == json!(-1), "{}", created.data["status"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_status_is_written_apart_from_the_spec() -> Result<()> {
    namespace::with("apart", async |client, namespace| {
        let untyped = rules::regions(&client, namespace);
        untyped.create(&PostParams::default(), &rules::object("a", "{replicas: 0}")?).await?;
        let regions = Api::<TurnRegion>::namespaced(client, namespace);
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let both =
            Patch::Merge(json!({"spec": {"replicas": 7}, "status": {"revision": "written", "readyReplicas": 7}}));
        let by_user = regions.patch("a", &dry, &both).await?;
        ensure!(by_user.spec.replicas == Some(7) && by_user.status.unwrap_or_default().ready_replicas == 0);
        let by_operator = regions.patch_status("a", &dry, &both).await?;
        ensure!(by_operator.spec.replicas == Some(0) && by_operator.status.unwrap_or_default().ready_replicas == 7);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn conditions_are_merged_by_type() -> Result<()> {
    namespace::with("merge", async |client, namespace| {
        let untyped = rules::regions(&client, namespace);
        untyped.create(&PostParams::default(), &rules::object("a", "{replicas: 0}")?).await?;
        let regions = Api::<TurnRegion>::namespaced(client, namespace);
        let of = |manager: &str, kind: &str| {
            let condition = json!({
                "type": kind, "status": "True", "reason": "Test", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let status = json!({
                "apiVersion": "rtcfleet.dev/v1alpha1", "kind": "TurnRegion", "metadata": {"name": "a"},
                "status": {"conditions": [condition]},
            });
            (PatchParams::apply(manager), Patch::Apply(status))
        };
        let mut conditions = Conditions::new();
        for (manager, kind) in [("one", "OfOne"), ("two", "OfTwo")] {
            let (params, patch) = of(manager, kind);
            conditions = regions.patch_status("a", &params, &patch).await?.status.unwrap_or_default().conditions;
        }
        for kind in ["OfOne", "OfTwo"] {
            ensure!(conditions.iter().any(|condition| condition.type_ == kind), "{kind}: {conditions:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_full_example_comes_back_as_it_was_written() -> Result<()> {
    namespace::with("example", async |client, namespace| {
        let path = cluster::repository().join("docs/examples/full/turnregion-centralindia.yaml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut written: TurnRegion = serde_yaml::from_str(&text)?;
        written.metadata.namespace = Some(namespace.to_owned());
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let kept = Api::<TurnRegion>::namespaced(client.clone(), namespace).create(&dry, &written).await?;
        ensure!(kept.spec == written.spec, "{:#?}", kept.spec);

        let plain: Value = serde_yaml::from_str(&text)?;
        ensure!(serde_json::to_value(&kept.spec)? == plain["spec"], "the types lose or add a field");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_example_is_accepted_as_kubectl_apply_sends_it() -> Result<()> {
    namespace::with("examples", async |_, namespace| {
        for path in examples()? {
            let text =
                std::fs::read_to_string(&path)?.replace("namespace: rtc\n", &format!("namespace: {namespace}\n"));
            let applied = kubectl(&["apply", "--dry-run=server", "-f", "-"], &text).await?;
            ensure!(applied.succeeded() && applied.stderr.is_empty(), "{}: {}", path.display(), applied.stderr);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_named() -> Result<()> {
    namespace::with("unknown", async |_, namespace| {
        let mut region = serde_json::to_value(rules::object("a", "{listenrs: []}")?)?;
        region["metadata"]["namespace"] = json!(namespace);
        let refused = kubectl(&["apply", "--dry-run=server", "-f", "-"], &region.to_string()).await?;
        ensure!(refused.stderr.contains(r#"unknown field "spec.listenrs""#), "{}", refused.stderr);
        Ok(())
    })
    .await
}

/// Every YAML file of the examples that holds a TurnRegion.
fn examples() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in ["docs/examples", "e2e/quickstart"] {
        yaml_below(&cluster::repository().join(folder), &mut found)?;
    }
    let regions = found.into_iter().filter(|path| path.to_string_lossy().contains("turnregion"));
    let regions: Vec<_> = regions.collect();
    ensure!(!regions.is_empty(), "no example found");
    Ok(regions)
}

fn yaml_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            yaml_below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    Ok(())
}
