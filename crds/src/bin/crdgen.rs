//! Writes what follows from the types: the CustomResourceDefinitions, one file a kind, plain into `crds/generated` and as
//! templates of the Helm chart into `charts/rtc-fleet/templates/crds`, and the API reference into `docs/reference`.
//! `crdgen [ROOT]`; ROOT is the repository, by default the present folder. With `--check` it writes nothing and fails
//! when a file is not what it would write.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

const PLAIN: &str = "crds/generated";
const CHART: &str = "charts/rtc-fleet/templates/crds";
const REFERENCE: &str = "docs/reference";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.iter().any(|argument| argument == "--check");
    let root = arguments.iter().find(|argument| !argument.starts_with("--"));
    let root = PathBuf::from(root.map_or(".", String::as_str));
    match run(&root, check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("crdgen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path, check: bool) -> Result<(), String> {
    if !root.join("crds").is_dir() {
        return Err(format!(
            "{}: not the repository: it has no folder crds; name the repository's root",
            root.display()
        ));
    }
    for (path, text) in files()? {
        let path = root.join(path);
        if check { compare(&path, &text)? } else { write(&path, &text)? }
    }
    Ok(())
}

/// Every file, relative to the repository's root.
fn files() -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = Vec::new();
    for definition in rtcfleet_crds::definition::all() {
        let name = format!("{}.yaml", definition.spec.names.plural);
        files.push((Path::new(PLAIN).join(&name), yaml(&definition)?));
        let page = format!("{}.md", definition.spec.names.kind.to_lowercase());
        files.push((Path::new(REFERENCE).join(page), rtcfleet_crds::reference::markdown(&definition)));
        files.push((Path::new(CHART).join(&name), template(definition)?));
    }
    Ok(files)
}

/// The definition as a template: left out with `crds.install: false`, and kept by `helm uninstall`, which would
/// otherwise take every custom resource with it.
fn template(mut definition: CustomResourceDefinition) -> Result<String, String> {
    let annotations = definition.metadata.annotations.get_or_insert_default();
    annotations.insert("helm.sh/resource-policy".into(), "keep".into());
    Ok(format!(
        "{{{{- /* Written by crdgen from the types in crds/src: `make generate` writes it again. */ -}}}}\n\
         {{{{- if .Values.crds.install }}}}\n{}{{{{- end }}}}\n",
        escaped(&yaml(&definition)?)
    ))
}

/// Text that a Go template prints as it is.
fn escaped(text: &str) -> String {
    text.replace("{{", r#"{{ "{{" }}"#)
}

fn yaml(definition: &CustomResourceDefinition) -> Result<String, String> {
    serde_yaml::to_string(definition).map_err(|error| error.to_string())
}

fn compare(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).unwrap_or_default() == text {
        return Ok(());
    }
    Err(format!("{} is not what the types say: run `make generate` and commit it", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let described = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(described)?;
    }
    fs::write(path, text).map_err(described)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_a_description_are_not_taken_for_a_template() {
        assert_eq!(escaped("a {b} {{c}} {{{d"), r#"a {b} {{ "{{" }}c}} {{ "{{" }}{d"#);
    }

    #[test]
    fn a_file_that_differs_is_named_with_the_command_that_writes_it() {
        let error = compare(Path::new("crds/generated/nothing.yaml"), "text").unwrap_err();
        assert_eq!(error, "crds/generated/nothing.yaml is not what the types say: run `make generate` and commit it");
    }

    #[test]
    fn every_kind_is_written_plain_as_a_template_and_as_a_page() {
        let paths: Vec<_> = files().unwrap().into_iter().map(|(path, _)| path.display().to_string()).collect();
        for folder in [PLAIN, CHART] {
            assert!(paths.contains(&format!("{folder}/turnregions.yaml")), "{paths:?}");
        }
        assert!(paths.contains(&format!("{REFERENCE}/turnregion.md")), "{paths:?}");
    }
}
