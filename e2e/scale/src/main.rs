//! How much of the operator thousands of relays take.
//!
//! Machines, kubelets and relays are pretended: nodes of kwok, and one server that answers on the admin port of all of them
//! (loopback addresses of this machine). API server, controllers, scheduler and operator are real, and so are the
//! certificates and every request between operator and relays.

mod changes;
mod fleet;
mod kubelets;
mod machines;
mod operator;
mod relays;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::cluster;

use self::changes::Changes;
use self::fleet::Size;

/// Measure the operator with thousands of relays on pretended machines, and print a table.
///
/// Needs a local cluster with the operator, made by `make bench-scale`, and leaves its machines in it.
#[derive(Parser)]
#[command(name = "scale", max_term_width = 100)]
struct Arguments {
    /// TurnRegions
    #[arg(long, default_value_t = 200)]
    regions: u32,
    /// Relays a region, each on a machine of its own
    #[arg(long, default_value_t = 25)]
    relays: u32,
    /// How long the steady fleet is watched, seconds
    #[arg(long, default_value_t = 120)]
    steady: u64,
    /// Longest time until all relays serve, seconds
    #[arg(long, default_value_t = 3600)]
    patience: u64,
    /// The kwok program
    #[arg(long, env = "KWOK")]
    kwok: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let size = Size { regions: arguments.regions, relays: arguments.relays };
    let patience = Duration::from_secs(arguments.patience);
    let client = cluster::client().await?;
    e2e::operator::is_installed(&client).await?;

    let _addresses = machines::Addresses::add().await?;
    let certificates = relays::Certificates::watched(&client);
    let relays = relays::serve(certificates).await.context("the relays' admin port")?;
    let _kubelets = kubelets::start(&arguments.kwok)?;

    eprintln!("{} machines …", size.machines());
    machines::create(&client, size).await?;
    machines::all_ready(&client, size, patience).await?;

    eprintln!("{} TurnRegions of {} relays …", size.regions, size.relays);
    report::size(size);
    let before = operator::usage(&client).await?;
    let converged = fleet::create(&client, size, patience).await?;
    report::growth(converged, &operator::usage(&client).await?.since(&before));

    eprintln!("a steady fleet, for {} s …", arguments.steady);
    operator::quiet(&client, patience).await?;
    let changes = Changes::watched(&client);
    report::steady(&operator::watch(&client, &relays, Duration::from_secs(arguments.steady)).await?);
    report::changes(&changes.end().await);

    eprintln!("the leader is ended …");
    let changes = Changes::watched(&client);
    report::restart(&operator::restart(&client, size, patience).await?);
    report::changes(&changes.end().await);
    Ok(())
}
