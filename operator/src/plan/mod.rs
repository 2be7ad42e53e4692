//! `operator plan`: what would the operator want for nodes as busy as this? The deciding code of the cluster, and no
//! cluster.

mod question;
mod text;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;

pub use self::question::NotAsked;
use self::question::Question;
use crate::cli::{Output, Plan};
use crate::turnregion::file::{self, FileError};

#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("{file}: cannot be read")]
    Unreadable { file: String, source: io::Error },
    #[error("{file}")]
    File { file: String, source: FileError },
    #[error(transparent)]
    NotAsked(#[from] NotAsked),
}

impl PlanError {
    /// The flags do not fit each other or the file: what clap would say if it could see both.
    pub fn is_wrong_usage(&self) -> bool {
        matches!(self, Self::NotAsked(_))
    }
}

/// What to print.
pub fn plan(args: &Plan, now: Timestamp, instant: Instant) -> Result<String, PlanError> {
    let file = || name_of(&args.file);
    let text = text_of(&args.file).map_err(|source| PlanError::Unreadable { file: file(), source })?;
    let region = file::read(&text, args.name.as_deref()).map_err(|source| PlanError::File { file: file(), source })?;
    let loads = args.load.iter().map(|part| part.0).collect();
    let question = Question::new(&region, loads, &args.others, args.machines)?;
    let answer = question.answer(args.at.unwrap_or(now), instant);
    Ok(match args.output {
        Output::Text => text::render(&answer),
        Output::Json => format!("{:#}\n", answer.json()),
    })
}

const STANDARD_INPUT: &str = "-";

fn text_of(path: &Path) -> io::Result<String> {
    if path == Path::new(STANDARD_INPUT) { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) }
}

fn name_of(path: &Path) -> String {
    if path == Path::new(STANDARD_INPUT) { "standard input".to_owned() } else { path.display().to_string() }
}
