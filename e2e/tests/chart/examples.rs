//! Examples of TurnRegions, in files and in the chart's notes: each is one for the types, with no field that they do
//! not know.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use e2e::cluster;
use rtcfleet_crds::TurnRegion;
use serde_json::Value;

use crate::render::folder;

#[test]
fn every_example_file_is_a_region_without_unknown_fields() -> Result<()> {
    let root = cluster::repository();
    for path in [
        "docs/examples/turnregion-centralindia.yaml",
        "docs/examples/turnregion-southindia.yaml",
        "docs/examples/full/turnregion-centralindia.yaml",
        "e2e/quickstart/turnregion-centralindia.yaml",
        "e2e/quickstart/turnregion-southindia.yaml",
    ] {
        let text = fs::read_to_string(root.join(path)).context(path)?;
        known(&text).context(path)?;
        let name = Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let region: TurnRegion = serde_yaml::from_str(&text)?;
        ensure!(name == format!("turnregion-{}", region.spec.region), "{path} is about {}", region.spec.region);
        ensure!(region.metadata.namespace.as_deref() == Some("rtc"), "{path}: the namespace of the quick start is rtc");
    }
    Ok(())
}

#[test]
fn the_notes_show_a_region_without_unknown_fields() -> Result<()> {
    let notes = fs::read_to_string(folder().join("templates/NOTES.txt"))?;
    let (_, after) = notes.split_once("<<'EOF'\n").context("no example")?;
    let (example, _) = after.split_once("    EOF\n").context("no end of the example")?;
    known(&example.lines().map(|line| line.trim_start_matches("    ").to_owned() + "\n").collect::<String>())
}

/// What the types write again is what was read: nothing lost, nothing added.
fn known(text: &str) -> Result<()> {
    let plain: Value = serde_yaml::from_str(text)?;
    let region: TurnRegion = serde_yaml::from_str(text)?;
    let again = serde_json::to_value(&region.spec)?;
    ensure!(again == plain["spec"], "the types read {again}");
    Ok(())
}
