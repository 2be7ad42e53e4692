//! The documents hold what they say: every object of ours in them is one, and every link between files leads somewhere.
#![allow(clippy::unwrap_used, reason = "clippy knows functions of tests by their attribute only")]

use std::fs;
use std::path::{Path, PathBuf};

use rtcfleet_crds::{DnsFailover, TurnRegion, unknown};
use serde::Deserialize as _;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below `folder` with this ending, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry, ending));
        } else if entry.extension().is_some_and(|extension| extension == ending) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// Every Markdown file that people read: the root's, those of `docs`, and the READMEs of parts.
fn documents() -> Vec<PathBuf> {
    let root = repository();
    let mut found: Vec<PathBuf> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    found.extend(files(&root.join("docs"), "md"));
    found.extend(["charts/rtc-fleet/README.md", "e2e/cluster/README.md"].map(|path| root.join(path)));
    found
}

/// The fenced blocks of a language, without the fences.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(opened), None) => open = Some((opened.trim() == language, String::new())),
            (Some(_), Some((wanted, block))) => found.extend(wanted.then_some(block)),
            (None, Some((wanted, block))) => open = Some((wanted, block + line + "\n")),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// The text without fenced blocks and code spans: where links are links.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut lines = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.extend(line.split('`').step_by(2));
            lines.push('\n');
        }
    }
    lines
}

/// Kinds of the objects of ours in `yaml`; panics at one that is not as the API has it.
fn checked(file: &Path, yaml: &str) -> Vec<String> {
    let definitions = rtcfleet_crds::definition::all();
    let mut kinds = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let value = Value::deserialize(document).unwrap_or_else(|error| panic!("{}: {error}\n{yaml}", file.display()));
        let Some(definition) = definitions.iter().find(|one| value["kind"] == *one.spec.names.kind) else { continue };
        let told = |what: &dyn std::fmt::Display| format!("{}: {what}\n{yaml}", file.display());
        assert_eq!(value["apiVersion"], "rtcfleet.dev/v1alpha1", "{}", told(&"apiVersion"));
        let found = unknown::fields(definition, &value);
        assert!(found.is_empty(), "{}", told(&format!("unknown fields {found:?}")));
        let kind = definition.spec.names.kind.clone();
        let read = match kind.as_str() {
            "TurnRegion" => serde_json::from_value::<TurnRegion>(value).map(drop),
            "DnsFailover" => serde_json::from_value::<DnsFailover>(value).map(drop),
            other => panic!("{other}: name its type here"),
        };
        if let Err(error) = read {
            panic!("{}", told(&error));
        }
        kinds.push(kind);
    }
    kinds
}

#[test]
fn every_object_in_a_document_is_one_and_every_kind_is_shown() {
    let mut kinds = Vec::new();
    for file in documents() {
        for block in blocks(&fs::read_to_string(&file).unwrap(), "yaml") {
            kinds.extend(checked(&file, &block));
        }
    }
    for definition in rtcfleet_crds::definition::all() {
        assert!(kinds.contains(&definition.spec.names.kind), "no document shows a {}", definition.spec.names.kind);
    }
}

#[test]
fn every_object_in_an_example_file_is_one() {
    let examples = files(&repository().join("docs/examples"), "yaml");
    let kinds: usize = examples.iter().map(|file| checked(file, &fs::read_to_string(file).unwrap()).len()).sum();
    assert!(kinds > 0, "no example shows an object of ours");
}

/// As GitHub makes them: letters, digits, hyphens and underscores; a space becomes a hyphen.
fn anchors(text: &str) -> Vec<String> {
    let heading = |line: &str| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.to_lowercase();
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        Some(kept.collect::<String>().replace(' ', "-"))
    };
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    outside.filter_map(heading).collect()
}

#[test]
fn every_link_between_files_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        for link in prose(&text).split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let leads_to = if path.is_empty() { file.clone() } else { file.with_file_name("").join(path) };
            let heading_is_there = || {
                let text = fs::read_to_string(&leads_to).unwrap_or_default();
                anchor.is_empty() || anchors(&text).iter().any(|known| known == anchor)
            };
            if !leads_to.exists() || !heading_is_there() {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_parser_of_documents_sees_what_it_should() {
    let text = "# A (b) c\n[x](y.md#z) `[no](no.md)`\n```yaml\nkind: X\n```\n```\n[no](no.md)\n```\n";
    assert_eq!(blocks(text, "yaml"), ["kind: X\n"]);
    assert_eq!(prose(text).matches("](").count(), 1);
    assert_eq!(anchors(text), ["a-b-c"]);
}
