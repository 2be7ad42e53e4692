use std::process::ExitCode;

use clap::Parser as _;
use operator::{
    check,
    cli::{Cli, Command},
    error::with_causes,
    explain, run,
};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Explain(args) => printed("explain", explain::explain(args).await),
        Command::Check(args) => printed("check", check::check(args).await),
    }
}

/// Data on standard output, a failure on standard error.
fn printed(command: &str, outcome: Result<String, impl std::error::Error + 'static>) -> ExitCode {
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("operator {command}: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}
