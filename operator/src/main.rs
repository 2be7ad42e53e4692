use std::process::ExitCode;

use clap::Parser as _;
use operator::{
    cli::{Cli, Command},
    error::with_causes,
    explain, run,
};

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(args).await,
        Command::Explain(args) => match explain::explain(args).await {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("operator explain: {}", with_causes(&error));
                ExitCode::FAILURE
            }
        },
    }
}
