//! `operator simulate dns-failover`: many short histories of failures, and what callers of a name see of them under the code
//! that decides in the cluster, beside what people write themselves.
//!
//! | file | is |
//! |---|---|
//! | `faults` | what goes wrong, and when |
//! | `contestant` | who decides what the answer is |
//! | `callers` | caches, and calls that reach a region or not |
//! | `history` | one contestant lives through one history |
//! | `report` | what it came to |

mod callers;
mod contestant;
mod faults;
mod history;
mod report;
#[cfg(test)]
mod tests;

use std::thread;
use std::time::Instant;

use self::contestant::Kind;
use self::history::Lived;
use self::report::Comparison;
use crate::cli::Output;

/// As on the command line.
pub const NAME: &str = "dns-failover";
/// In a line.
pub const ABOUT: &str =
    "1000 times 40 minutes of two regions that die, flap and lose packets, and of probers that are wrong";

const HISTORIES: u64 = 1000;

/// What to print.
pub fn compared(seed: u64, output: Output, origin: Instant) -> String {
    let comparison = compare(seed, HISTORIES, origin);
    match output {
        Output::Text => comparison.text(),
        Output::Json => comparison.json(),
    }
}

/// Each contestant through so many histories. The number of threads does not show in the result.
fn compare(seed: u64, histories: u64, origin: Instant) -> Comparison {
    let threads = thread::available_parallelism().map_or(1, |number| number.get() as u64).min(histories.max(1));
    let all: Vec<Vec<Lived>> = thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| (histories * part / threads)..(histories * (part + 1) / threads))
            .map(|range| scope.spawn(move || range.map(|number| lived(seed, number, origin)).collect::<Vec<_>>()))
            .collect();
        // A part that panicked has said so; what is left is then not worth a report either.
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    });
    Comparison::of(seed, &all)
}

/// One history, by contestant.
fn lived(seed: u64, number: u64, origin: Instant) -> Vec<Lived> {
    let happenings = faults::draw(seed, number);
    Kind::ALL.iter().map(|kind| history::live(&happenings, *kind, (seed, number), origin)).collect()
}
