//! Images of the built programs under names of a scenario's own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{cluster, command};

/// A released program, as `make up` builds it for its image: `operator`, `media-node`.
pub fn program(name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(name.to_uppercase().replace('-', "_")) {
        return Ok(path.into());
    }
    let targets = cluster::repository().join("target");
    let triples = std::fs::read_dir(&targets).into_iter().flatten().flatten();
    let found = triples.map(|triple| triple.path().join("release").join(name)).find(|path| path.is_file());
    let Some(found) = found else { bail!("{}/*/release/{name}: not there: run `make up`", targets.display()) };
    Ok(found)
}

/// Brings the same program to every machine as `rtc-fleet/<program>:<tag>`, and gives that name.
pub async fn retagged(name: &str, tag: &str) -> Result<String> {
    let archive = std::env::temp_dir().join(format!("rtc-fleet-{name}-{}.tar", std::process::id()));
    let loaded = load(name, tag, &archive).await;
    let _ = std::fs::remove_file(&archive); // It is not there if it could not be built.
    loaded
}

async fn load(name: &str, tag: &str, archive: &std::path::Path) -> Result<String> {
    let program = program(name)?;
    let (archive, program) = (archive.to_str().context("no text")?, program.to_str().context("no text")?);
    let image = format!("rtc-fleet/{name}:{tag}");
    let limit = Duration::from_mins(1);
    command::run(cluster::rtc_cluster(), &["image", "build", "--tag", &image, "--file", archive, program], limit)
        .await?;
    command::run(cluster::rtc_cluster(), &["image", "load", archive], limit).await?;
    Ok(image)
}
