use std::process::ExitCode;
use std::time::Instant;

use clap::Parser as _;
use jiff::Timestamp;
use operator::{
    check,
    cli::{Cli, Command, Dns, DnsCheck, DnsCommand},
    dns_check,
    error::with_causes,
    explain, plan, run, simulate,
};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(*args).await,
        Command::Explain(args) => printed("explain", explain::explain(args).await, |_| false),
        Command::Check(args) => printed("check", check::check(args).await, |_| false),
        Command::Plan(args) => {
            printed("plan", plan::plan(&args, Timestamp::now(), Instant::now()), plan::PlanError::is_wrong_usage)
        }
        Command::Simulate(args) => printed("simulate", simulate::simulate(&args, Instant::now()), |_| false),
        Command::Dns(Dns { command: DnsCommand::Check(args) }) => dns_checked(args).await,
    }
}

/// What was found goes to standard output, what is to be mended to standard error.
async fn dns_checked(args: DnsCheck) -> ExitCode {
    match dns_check::check(args).await {
        Ok(dns_check::Report { table, problems }) if problems.is_empty() => printed_text(&table),
        Ok(dns_check::Report { table, problems }) => {
            print!("{table}");
            for problem in problems {
                eprintln!("operator dns check: {problem}");
            }
            ExitCode::FAILURE
        }
        Err(error) => failed("dns check", &error, error.is_wrong_usage()),
    }
}

fn printed_text(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

fn failed(command: &str, error: &(dyn std::error::Error + 'static), is_wrong_usage: bool) -> ExitCode {
    eprintln!("operator {command}: {}", with_causes(error));
    if is_wrong_usage { ExitCode::from(WRONG_USAGE) } else { ExitCode::FAILURE }
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
        Ok(text) => printed_text(&text),
        Err(error) => failed(command, &error, is_wrong_usage(&error)),
    }
}
