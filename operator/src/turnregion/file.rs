//! A TurnRegion as a file has it, checked as in the cluster, for those who ask without one. Touches nothing: text in,
//! values out.

use rtcfleet_crds::{TurnRegion, definition, unknown};
use serde_json::Value;

use super::KIND;
use super::validate::{ManagedRegion, Mistakes, Validated, validate};
use crate::fleet::policy::Policy;
use crate::yaml::{self, YamlError};

/// What the deciding code needs of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRegion {
    pub name: String,
    pub failover_group: Option<String>,
    pub fleet: Policy,
    pub not_in_effect: Vec<String>,
}

/// Why a file gives no region to decide about.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("no YAML that can be read")]
    Yaml(#[from] YamlError),
    #[error("no TurnRegion: write one with apiVersion: rtcfleet.dev/v1alpha1 and kind: TurnRegion")]
    NoRegion,
    #[error("no TurnRegion is called {name}: there is {}", found.join(", "))]
    NoSuchRegion { name: String, found: Vec<String> },
    #[error("metadata.name: missing in a TurnRegion: write one, such as centralindia")]
    Unnamed,
    #[error("TurnRegion {name}: apiVersion {found:?} is not known: write rtcfleet.dev/v1alpha1")]
    OtherVersion { name: String, found: String },
    #[error(
        "TurnRegion {name}: {} is no field: kubectl explain turnregion.spec lists those there are",
        fields.join(", ")
    )]
    Unknown { name: String, fields: Vec<String> },
    #[error("TurnRegion {name}")]
    Malformed { name: String, source: YamlError },
    #[error("TurnRegion {name}: {mistakes}")]
    Invalid { name: String, mistakes: Mistakes },
    #[error("TurnRegion {name}: its relays run elsewhere (spec.mode: External), and nobody decides their number here")]
    External { name: String },
}

/// The TurnRegion called `name`, or the first of `text`.
pub fn read(text: &str, name: Option<&str>) -> Result<FileRegion, FileError> {
    let documents = yaml::documents(text)?;
    let (number, name) = chosen(&documents, name)?;
    let document = &documents[number];
    let version = document["apiVersion"].as_str().unwrap_or_default();
    if version != "rtcfleet.dev/v1alpha1" {
        return Err(FileError::OtherVersion { name, found: version.to_owned() });
    }
    let fields: Vec<String> = definition::all()
        .iter()
        .filter(|one| one.spec.names.kind == KIND)
        .flat_map(|one| unknown::fields(one, document))
        .collect();
    if !fields.is_empty() {
        return Err(FileError::Unknown { name, fields });
    }
    let region = yaml::document::<TurnRegion>(text, number);
    match region.map_err(|source| FileError::Malformed { name: name.clone(), source })? {
        Some(region) => checked(region, name),
        None => Err(FileError::NoRegion),
    }
}

fn chosen(documents: &[Value], name: Option<&str>) -> Result<(usize, String), FileError> {
    let regions = documents.iter().enumerate().filter(|(_, document)| document["kind"] == KIND);
    let named = |(number, document): (usize, &Value)| {
        let name = document["metadata"]["name"].as_str().ok_or(FileError::Unnamed)?;
        Ok((number, name.to_owned()))
    };
    let regions: Vec<(usize, String)> = regions.map(named).collect::<Result<_, FileError>>()?;
    let first = regions.iter().find(|(_, found)| name.is_none_or(|name| name == found)).cloned();
    first.ok_or_else(|| match name {
        Some(name) if !regions.is_empty() => FileError::NoSuchRegion {
            name: name.to_owned(),
            found: regions.into_iter().map(|(_, found)| found).collect(),
        },
        _ => FileError::NoRegion,
    })
}

fn checked(mut region: TurnRegion, name: String) -> Result<FileRegion, FileError> {
    // What the API server gives every object.
    region.metadata.namespace.get_or_insert_with(|| "default".into());
    region.metadata.uid.get_or_insert_default();
    match validate(&region, &[]) {
        Ok(Validated::Managed(region)) => {
            let ManagedRegion { failover_group, fleet, not_in_effect, .. } = *region;
            Ok(FileRegion { name, failover_group, fleet, not_in_effect })
        }
        Ok(Validated::External { .. }) => Err(FileError::External { name }),
        Err(mistakes) => Err(FileError::Invalid { name, mistakes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::with_causes;

    fn region(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: rtcfleet.dev/v1alpha1\nkind: TurnRegion\nmetadata: {{name: {name}}}\nspec:\n  region: a\n  auth: {{realm: r, secretRef: {{name: s}}}}\n{spec}"
        )
    }

    #[test]
    fn the_first_region_is_taken_or_the_one_that_is_named() {
        let text = format!("kind: Secret\n---\n{}---\n---\n{}", region("a", ""), region("b", "  failoverGroup: g\n"));
        assert_eq!(read(&text, None).unwrap().name, "a");
        assert_eq!(read(&text, Some("b")).unwrap().failover_group.as_deref(), Some("g"));
        let none = read(&text, Some("c")).unwrap_err().to_string();
        assert_eq!(none, "no TurnRegion is called c: there is a, b");
    }

    #[test]
    fn a_file_that_gives_no_region_says_what_to_write() {
        for (case, text, expected) in [
            ("nothing", String::new(), "no TurnRegion: write one with apiVersion"),
            ("another kind", "kind: Secret\n".into(), "no TurnRegion: write one with apiVersion"),
            ("no YAML", "a: [\n".into(), "no YAML that can be read: "),
            ("no name", "kind: TurnRegion\n".into(), "metadata.name: missing"),
            ("another version", region("a", "").replace("v1alpha1", "v2"), "write rtcfleet.dev/v1alpha1"),
            ("a field that is none", region("a", "  scalling: {}\n"), "TurnRegion a: spec.scalling is no field"),
            (
                "a word for a number",
                region("a", "  scaling: {min: two}\n"),
                "spec.scaling.min: invalid type: string \"two\", expected i32 at line",
            ),
            (
                "what the cluster refuses, in the cluster's words",
                region("a", "  scaling: {min: 5, max: 3}\n"),
                "TurnRegion a: spec.scaling: min 5 is more than max 3: write min <= max",
            ),
            (
                "relays elsewhere",
                region("a", "  mode: External\n  endpoints: [{host: h, protocol: UDP, port: 1}]\n"),
                "its relays run elsewhere",
            ),
        ] {
            let said = with_causes(&read(&text, None).unwrap_err());
            assert!(said.contains(expected), "{case}: {said}");
        }
    }
}
