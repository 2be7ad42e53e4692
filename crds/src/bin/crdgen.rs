//! Writes the CustomResourceDefinitions, one file a kind: `crdgen [FOLDER]`, by default `crds/generated`.
//! With `--check` it writes nothing and fails when a file is not what it would write.

use std::{fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = arguments.iter().any(|argument| argument == "--check");
    let folder = arguments.iter().find(|argument| !argument.starts_with("--"));
    let folder = PathBuf::from(folder.map_or("crds/generated", String::as_str));
    match run(&folder, check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("crdgen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &PathBuf, check: bool) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for definition in rtcfleet_crds::definition::all() {
        let path = folder.join(format!("{}.yaml", definition.spec.names.plural));
        let text = serde_yaml::to_string(&definition).map_err(|error| error.to_string())?;
        if check {
            let found = fs::read_to_string(&path).unwrap_or_default();
            if found != text {
                return Err(format!("{} is not what the types say: run `make generate` and commit it", path.display()));
            }
        } else {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}
