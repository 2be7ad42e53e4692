//! `operator simulate`: whole days of calls, failures and upgrades in seconds, decided by the code that decides in the
//! cluster, beside an autoscaler that people know.
//!
//! | file | is |
//! |---|---|
//! | `time`, `random` | a clock that is a variable, and numbers that a seed decides |
//! | `calls` | when calls begin, and how long they last |
//! | `node`, `region` | nodes, machines, and what Kubernetes does with them |
//! | `rtcfleet`, `hpa` | who decides the number of nodes |
//! | `traces` | what happens, by name |
//! | `world` | one policy lives through one trace |
//! | `tally`, `report`, `svg` | what it came to, in numbers and as a picture |
//! | `many` | how long it takes to decide about many regions |
//! | `dns` | which regions a name should answer with, in many short histories |

#![allow(clippy::cast_precision_loss, reason = "counts of calls, nodes and milliseconds are far below 2^52")]

mod calls;
mod dns;
mod hpa;
mod many;
mod node;
mod random;
mod region;
mod report;
mod rtcfleet;
mod svg;
mod tally;
#[cfg(test)]
mod tests;
mod time;
mod traces;
mod world;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use self::report::Report;
use self::traces::Contestant;
use crate::cli::{Output, Simulate};
use crate::turnregion::file::{self, FileError};

#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("{}: cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}", path.display())]
    File { path: PathBuf, source: FileError },
    #[error("{}: cannot be written", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    /// A trace of ours is none.
    #[error("trace {name}")]
    Trace { name: String, source: FileError },
    #[error("{flag} is not for {}: it has no fleets; leave it out", dns::NAME)]
    NotForDns { flag: &'static str },
}

/// Names of traces, for the command line.
pub fn names() -> impl Iterator<Item = &'static str> {
    traces::ALL.iter().map(|known| known.name).chain([dns::NAME])
}

/// What to print. `origin` is any instant: only differences count.
pub fn simulate(args: &Simulate, origin: Instant) -> Result<String, SimulateError> {
    if args.list {
        return Ok(report::list());
    }
    if args.scale {
        return Ok(many::measured());
    }
    if args.trace.as_deref() == Some(dns::NAME) {
        let given = [("--file", args.file.is_some()), ("--svg", args.svg.is_some())];
        return match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(SimulateError::NotForDns { flag }),
            None => Ok(dns::compared(args.seed, args.output, origin)),
        };
    }
    let report = lived(args, origin)?;
    if let Some(path) = &args.svg {
        let unwritable = |source| SimulateError::Unwritable { path: path.clone(), source };
        fs::write(path, svg::draw(&report)).map_err(unwritable)?;
    }
    Ok(match args.output {
        Output::Text => report.text(),
        Output::Json => report.json(),
    })
}

fn lived(args: &Simulate, origin: Instant) -> Result<Report, SimulateError> {
    // Clap lets through names of traces only.
    let known = args.trace.as_deref().and_then(traces::named).unwrap_or(&traces::ALL[0]);
    let mut trace = known.trace().map_err(|source| SimulateError::Trace { name: known.name.to_owned(), source })?;
    if let Some(path) = &args.file {
        trace.contestants.insert(0, own(path)?);
    }
    let outcomes = trace.contestants.iter().map(|one| world::live(&trace, one, args.seed, origin).outcome()).collect();
    Ok(Report { trace: known.name, about: known.about, seed: args.seed, outcomes })
}

/// A policy of somebody's own.
fn own(path: &Path) -> Result<Contestant, SimulateError> {
    let text =
        fs::read_to_string(path).map_err(|source| SimulateError::Unreadable { path: path.to_owned(), source })?;
    let region = file::read(&text, None).map_err(|source| SimulateError::File { path: path.to_owned(), source })?;
    Ok(Contestant::RtcFleet { name: region.name, policy: Box::new(region.fleet) })
}
