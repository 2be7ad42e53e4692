//! Values: the defaults fit the schema, every value is documented, and a wrong one is refused with its path.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::render::{folder, template};

#[tokio::test]
async fn wrong_values_are_refused_with_their_path() -> Result<()> {
    for (mistake, value, message) in [
        ("a misspelt value", "replica=3", "additional properties 'replica' not allowed"),
        ("a misspelt value below another", "image.tagg=1", "at '/image': additional properties 'tagg' not allowed"),
        ("no operator at all", "replicas=0", "at '/replicas': minimum: got 0, want 1"),
        ("a tag in the repository", "image.repository=a/operator:1.0", "at '/image/repository': "),
        ("a tag with a blank", "mediaNode.image.tag=a b", "at '/mediaNode/image/tag': "),
        ("an unknown log format", "logFormat=xml", "at '/logFormat': value must be one of 'json', 'plain'"),
        ("an unknown pull policy", "image.pullPolicy=Sometimes", "at '/image/pullPolicy': value must be one of"),
        ("a text for a switch", "crds.install=maybe", "at '/crds/install': got string, want boolean"),
        ("an address for a network", "clusterNetworks={34.118.224.0}", "at '/clusterNetworks/0': "),
        ("a cloud without encryption", "azure.authority=http://login.example.org", "at '/azure/authority': "),
        ("no namespace's name", "rbac.secretNamespaces={Not_One}", "at '/rbac/secretNamespaces/0': "),
    ] {
        let finished = template(&[value]).await?;
        ensure!(!finished.succeeded(), "{mistake}: --set {value} is accepted");
        ensure!(finished.stderr.contains(message), "{mistake}: the user reads\n{}", finished.stderr);
    }
    Ok(())
}

#[test]
fn every_value_has_a_place_in_the_schema_with_a_description_and_a_row_in_the_readme() -> Result<()> {
    let values: Value = serde_yaml::from_str(&std::fs::read_to_string(folder().join("values.yaml"))?)?;
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(folder().join("values.schema.json"))?)?;
    let readme = std::fs::read_to_string(folder().join("README.md"))?;
    let mut paths = BTreeSet::new();
    leaves("", &values, &schema, &mut paths)?;
    for path in paths {
        ensure!(readme.contains(&format!("`{path}`")), "README.md says nothing about {path}");
    }
    Ok(())
}

/// Names every value that the schema does not take apart, such as `image.tag` and `resources`.
fn leaves(path: &str, value: &Value, schema: &Value, found: &mut BTreeSet<String>) -> Result<()> {
    let described = schema["description"].as_str().is_some_and(|text| !text.is_empty());
    ensure!(path.is_empty() || described, "values.schema.json does not describe {path}");
    let properties = schema["properties"].as_object();
    let (Some(fields), Some(properties)) = (value.as_object(), properties.filter(|_| path != "resources")) else {
        found.insert(path.to_owned());
        return Ok(());
    };
    ensure!(schema["additionalProperties"] == false, "values.schema.json takes anything below {path:?}");
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in properties.keys().filter(|name| *name != "global") {
        ensure!(fields.contains_key(name), "values.yaml has no {}", below(name));
    }
    for (name, field) in fields {
        let inner = properties.get(name).with_context(|| format!("values.schema.json has no {}", below(name)))?;
        leaves(&below(name), field, inner, found)?;
    }
    Ok(())
}
