//! Rights: each with a reason, none by wildcard, Secrets only by name.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::render::{folder, objects, of_kind};

const ROLES: [&str; 2] = ["Role", "ClusterRole"];

#[test]
fn every_verb_stands_on_a_line_of_its_own_with_its_reason() {
    let mut verbs = 0;
    for entry in fs::read_dir(folder().join("templates/rbac")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let mut below_verbs = false;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), number + 1);
            assert!(!line.contains("verbs: ["), "{place}: one verb a line, with its reason");
            let verb = line.strip_prefix("      - ").filter(|_| below_verbs);
            if let Some(verb) = verb {
                let reason = verb.split_once(" # ").map(|(_, reason)| reason.trim());
                assert!(reason.is_some_and(|reason| reason.len() > 5), "{place}: {verb}: why?");
                verbs += 1;
            }
            below_verbs = line.trim() == "verbs:" || verb.is_some();
        }
    }
    assert!(verbs > 20, "only {verbs} verbs were found: the rules are not where this test looks");
}

#[tokio::test]
async fn no_right_is_given_by_wildcard() -> Result<()> {
    let objects = objects(&[]).await?;
    for rule in rules(&objects) {
        for field in ["apiGroups", "resources", "verbs", "resourceNames"] {
            ensure!(words(&rule[field]).iter().all(|word| !word.contains('*')), "{rule}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn secrets_are_never_listed_or_watched_or_deleted() -> Result<()> {
    let objects = objects(&[]).await?;
    let mut seen = BTreeSet::new();
    for rule in rules(&objects).filter(|rule| words(&rule["resources"]).contains("secrets")) {
        seen.extend(words(&rule["verbs"]));
    }
    ensure!(seen == ["create", "get", "patch"].map(str::to_owned).into(), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn secrets_can_be_limited_to_named_namespaces() -> Result<()> {
    let objects = objects(&["rbac.secretNamespaces={rtc,media}"]).await?;
    for role in of_kind(&objects, "ClusterRole") {
        let rules = role["rules"].as_array().context("rules")?;
        ensure!(rules.iter().all(|rule| !words(&rule["resources"]).contains("secrets")), "{role}");
    }
    for kind in ["Role", "RoleBinding"] {
        let namespaces: BTreeSet<_> = of_kind(&objects, kind)
            .into_iter()
            .filter(|object| object["metadata"]["name"] == "rtc-fleet-operator-secrets")
            .filter_map(|object| object["metadata"]["namespace"].as_str())
            .collect();
        ensure!(namespaces == ["rtc", "media"].into(), "{kind}: {namespaces:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_binding_names_a_role_and_the_account_that_exist() -> Result<()> {
    for set in [&[][..], &["rbac.secretNamespaces={rtc}"], &["fullnameOverride=other"]] {
        let objects = objects(set).await?;
        for binding in ["RoleBinding", "ClusterRoleBinding"].iter().flat_map(|kind| of_kind(&objects, kind)) {
            let role = &binding["roleRef"];
            ensure!(
                objects.iter().any(|object| object["kind"] == role["kind"]
                    && object["metadata"]["name"] == role["name"]
                    && object["metadata"]["namespace"] == binding["metadata"]["namespace"]),
                "{binding}"
            );
            for account in binding["subjects"].as_array().context("subjects")? {
                ensure!(
                    of_kind(&objects, "ServiceAccount").iter().any(|object| {
                        object["metadata"]["name"] == account["name"]
                            && object["metadata"]["namespace"] == account["namespace"]
                    }),
                    "{binding}"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn users_of_the_clusters_own_roles_can_use_the_custom_resources() -> Result<()> {
    let objects = objects(&[]).await?;
    for (name, aggregated_to, verb) in [("rtc-fleet-view", "view", "get"), ("rtc-fleet-edit", "edit", "create")] {
        let role =
            of_kind(&objects, "ClusterRole").into_iter().find(|role| role["metadata"]["name"] == name).context(name)?;
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{aggregated_to}");
        ensure!(role["metadata"]["labels"][label] == "true", "{role}");
        let kinds = rtcfleet_crds::definition::all();
        for plural in kinds.iter().map(|definition| definition.spec.names.plural.as_str()) {
            let rules = role["rules"].as_array().context("rules")?;
            ensure!(
                rules
                    .iter()
                    .any(|rule| words(&rule["resources"]).contains(plural) && words(&rule["verbs"]).contains(verb)),
                "{name}: {plural}"
            );
        }
    }
    Ok(())
}

fn rules(objects: &[Value]) -> impl Iterator<Item = &Value> {
    let roles = objects.iter().filter(|object| ROLES.iter().any(|kind| object["kind"] == *kind));
    roles.flat_map(|role| role["rules"].as_array().into_iter().flatten())
}

fn words(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
