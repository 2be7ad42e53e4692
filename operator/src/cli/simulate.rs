//! Flags of `operator simulate`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};

use super::Output;
use crate::simulate::names;

const EXAMPLE: &str = "\
Example: a region is lost at the peak, with a plot of what became of it:

    operator simulate region-loss --svg region-loss.svg

A region of your own beside the defaults:

    operator simulate school-day -f turnregion.yaml

Columns: calls that were made; callers whom no node took; calls cut because a machine was lost, and
because a node was ended (a drain that came to its deadline); hours of machines that had a node; load
of nodes that take calls, the mean and the highest of a region; the lowest and the highest number of
nodes that was wanted; how often the number turned from growing to shrinking or back.

Columns of dns-failover: calls that were made; calls that failed; what is left, in percent; histories in
which more failed than with an answer that never changes; seconds with an empty answer; seconds in which
a region that had never failed was out; seconds until a dead region was out, the middle one and the one
that 95 of 100 do not exceed.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, group = ArgGroup::new("what").required(true).args(["trace", "list", "scale"]))]
pub struct Simulate {
    /// What happens; --list tells more
    #[arg(value_name = "TRACE", value_parser = PossibleValuesParser::new(names()))]
    pub trace: Option<String>,
    /// Tell the traces there are
    #[arg(long)]
    pub list: bool,
    /// Measure instead how long it takes to decide about 25, 50 and 100 regions of 200 nodes
    #[arg(long)]
    pub scale: bool,
    /// YAML with a TurnRegion whose scaling takes part, too
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["list", "scale"])]
    pub file: Option<PathBuf>,
    /// Decides everything that is random: the same seed, the same report
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write a plot
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "scale"])]
    pub svg: Option<PathBuf>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn parsed(more: &[&str]) -> Result<Simulate, String> {
        let arguments = ["operator", "simulate"].iter().chain(more);
        match Cli::try_parse_from(arguments).map(|cli| cli.command) {
            Ok(Command::Simulate(simulate)) => Ok(simulate),
            Ok(_) => panic!("simulate"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_trace_is_named_or_the_list_is_asked_for() {
        assert_eq!(parsed(&["flash-crowd"]).unwrap().trace.as_deref(), Some("flash-crowd"));
        assert!(parsed(&["flash-crowd", "--seed=2", "--svg=x", "-f=y"]).is_ok());
        assert!(parsed(&["--list"]).unwrap().list && parsed(&["--scale"]).unwrap().scale);
        for wrong in [&[][..], &["flash-crowd", "--list"], &["--list", "--svg", "x"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
        let unknown = parsed(&["flash"]).unwrap_err();
        assert!(unknown.contains("flash-crowd") && unknown.contains("region-loss"), "{unknown}");
    }
}
