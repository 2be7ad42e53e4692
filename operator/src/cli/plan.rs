//! Flags of `operator plan`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::Output;

const EXAMPLE: &str = "\
Example: two relays at 70 % and 80 %, and another region of the failover group with the load of 1.2
relays:

    operator plan -f turnregion.yaml --load 0.7,0.8 --other southindia=1.2

The same of a region as the cluster has it, on a Monday at ten to eight by its timetable:

    kubectl get turnregion centralindia -o yaml |
      operator plan -f - --load 0.7,0.8 --at 2026-02-02T07:50:00+05:30

The file is checked as the operator checks it. Rules that the API server alone checks, such as the
length of names, are not: kubectl apply --dry-run=server does that.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub struct Plan {
    /// YAML with a TurnRegion; - is standard input
    #[arg(long, short, value_name = "FILE")]
    pub file: PathBuf,
    /// Which TurnRegion of the file [default: the first]
    #[arg(long)]
    pub name: Option<String>,
    /// How busy each relay is that serves, in parts of what it can carry: 0.4 is 40 % [default: none serves]
    #[arg(long, value_delimiter = ',', value_name = "PART", value_parser = parse_part)]
    pub load: Vec<Part>,
    /// Another region of the failover group and its load in whole relays, such as southindia=1.2; again for each
    #[arg(long = "other", value_name = "NAME=LOAD", value_parser = parse_other)]
    pub others: Vec<(String, f64)>,
    /// Machines that relays may run on, those included that have one [default: as many as it takes]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub machines: Option<u32>,
    /// When, for spec.scaling.schedule: a date and time with its offset [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub at: Option<Timestamp>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Of what a relay can carry, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part(pub f64);

fn parse_part(text: &str) -> Result<Part, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(Part(part)),
        _ => Err("write 0 to 1, such as 0.65 for 65 %".to_owned()),
    }
}

fn parse_other(text: &str) -> Result<(String, f64), String> {
    let wanted = || "write NAME=LOAD, the load in whole relays, such as southindia=1.2".to_owned();
    let (name, load) = text.split_once('=').ok_or_else(wanted)?;
    match load.parse::<f64>() {
        Ok(load) if !name.is_empty() && (0.0..=10_000.0).contains(&load) => Ok((name.to_owned(), load)),
        _ => Err(wanted()),
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a date and time with its offset, such as 2026-02-02T07:50:00+05:30".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    fn parsed(more: &[&str]) -> Result<Plan, String> {
        let arguments = ["operator", "plan", "-f", "-"].iter().chain(more);
        match Cli::try_parse_from(arguments).map(|cli| cli.command) {
            Ok(Command::Plan(plan)) => Ok(plan),
            Ok(_) => panic!("plan"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn loads_and_other_regions_are_given_in_whole_relays_and_their_parts() {
        let plan = parsed(&["--load", "0.4,1", "--other", "b=1.5", "--other=c=0"]).unwrap();
        assert_eq!(plan.load, [Part(0.4), Part(1.0)]);
        assert_eq!(plan.others, [("b".to_owned(), 1.5), ("c".to_owned(), 0.0)]);
    }

    #[test]
    fn a_wrong_value_says_what_to_write() {
        for (flag, value, expected) in [
            ("--load", "65", "write 0 to 1, such as 0.65 for 65 %"),
            ("--load", "NaN", "write 0 to 1"),
            ("--other", "b", "write NAME=LOAD"),
            ("--other", "=1", "write NAME=LOAD"),
            ("--other", "b=lots", "write NAME=LOAD"),
            ("--at", "7:50", "write a date and time with its offset"),
        ] {
            let said = parsed(&[flag, value]).unwrap_err();
            assert!(said.contains(expected), "{flag} {value}: {said}");
        }
    }
}
