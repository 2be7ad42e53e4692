use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use jiff::Timestamp;
use operator::{
    check,
    cli::{Cli, Command},
    error::with_causes,
    explain, plan, run, simulate,
};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Explain(args) => printed("explain", explain::explain(args).await, |_| false),
        Command::Check(args) => printed("check", check::check(args).await, |_| false),
        Command::Plan(args) => {
            printed("plan", plan::plan(&args, Timestamp::now(), Instant::now()), plan::PlanError::is_wrong_usage)
        }
        Command::Simulate(args) => printed("simulate", simulate::simulate(&args, Instant::now()), |_| false),
    }
}

/// As clap exits.
const WRONG_USAGE: u8 = 2;

/// Data on standard output, a failure on standard error.
fn printed<E: std::error::Error + 'static>(
    command: &str,
    outcome: Result<String, E>,
    is_wrong_usage: fn(&E) -> bool,
) -> ExitCode {
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("operator {command}: {}", with_causes(&error));
            if is_wrong_usage(&error) { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
        }
    }
}
