use std::process::ExitCode;

use clap::Parser;
use media_node::{
    cli::{Cli, Command, Failure},
    config, credentials, probe, turn,
};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("media-node: {failure}");
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Turn(args) => turn::role::run(&args),
        Command::Probe(args) => probe::role::run(&args),
        Command::ConfigSchema(args) => config::print_schema(args.role),
        Command::Credentials(args) => credentials::print(&args),
    }
}
