//! coturn's test client and echo peer, judges that know nothing of our code.

use std::{net::IpAddr, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

use crate::{command, scenario::PORT, turn::Credentials};

/// Packets that each session sends, and expects back.
const PACKETS: u32 = 20;
/// The client needs three seconds, most of them for its own pauses.
const LONGEST: Duration = Duration::from_secs(40);

/// An echo server, ended when this is dropped.
pub struct EchoPeer {
    _process: Child,
    port: u16,
}

impl EchoPeer {
    /// Listens on every address.
    pub fn start(addresses: &[&str], port: u16) -> Result<Self> {
        let mut command = Command::new("turnutils_peer");
        for address in addresses {
            command.args(["-L", address]);
        }
        let quiet = command.args(["-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let process = quiet.kill_on_drop(true).spawn();
        let process = process.context("turnutils_peer does not start: apt-get install coturn, or run `make up`")?;
        Ok(Self { _process: process, port })
    }
}

/// Relays packets through `relay` to `peer` and back, in the form that the flags ask for. Fails on the first one lost.
pub async fn call(relay: IpAddr, peer: (IpAddr, &EchoPeer), flags: &[&str], credentials: &Credentials) -> Result<()> {
    let (address, EchoPeer { port, .. }) = peer;
    let (relay, address, port) = (relay.to_string(), address.to_string(), port.to_string());
    let (turn_port, packets) = (PORT.to_string(), PACKETS.to_string());
    let mut arguments = vec!["-u", &credentials.username, "-w", &credentials.password, "-p", &turn_port];
    arguments.extend(["-e", &address, "-r", &port, "-n", &packets, "-m", "1", "-z", "20"]);
    arguments.extend(flags);
    arguments.push(&relay);
    let finished = command::output("turnutils_uclient", &arguments, LONGEST).await?;
    let output = finished.stdout + &finished.stderr;
    let tail = || output.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    let told = Told::read(&output).with_context(|| format!("it ended with {:?}, saying\n{}", finished.code, tail()))?;
    ensure!(
        finished.code == Some(0) && told.sent >= PACKETS.into() && told.is_whole(),
        "{told:?}, and it ended with {:?}, saying\n{}",
        finished.code,
        tail()
    );
    Ok(())
}

/// What the client says in the end.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    sent: u64,
    received: u64,
    lost: i64,
    dropped: u64,
}

impl Told {
    fn read(output: &str) -> Option<Self> {
        let after = |what: &str| output.rfind(what).map(|at| &output[at + what.len()..]);
        let number = |what: &str| {
            let text = after(what)?;
            let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
            text[..end].parse::<i64>().ok()
        };
        let unsigned = |what: &str| u64::try_from(number(what)?).ok();
        Some(Self {
            sent: unsigned("tot_send_msgs=")?,
            received: unsigned("tot_recv_msgs=")?,
            lost: number("Total lost packets ")?,
            dropped: unsigned("total send dropped ")?,
        })
    }

    fn is_whole(&self) -> bool {
        (self.lost, self.dropped) == (0, 0) && self.sent == self.received
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
1: : start_mclient: msz=2, tot_send_msgs=0, tot_recv_msgs=0, tot_send_bytes ~ 0, tot_recv_bytes ~ 0
2: : start_mclient: tot_send_msgs=40, tot_recv_msgs=39
2: : Total lost packets 1 (2.500000%), total send dropped 0 (0.000000%)
";

    #[test]
    fn the_last_figures_count() {
        let told = Told::read(OUTPUT).unwrap();
        assert_eq!(told, Told { sent: 40, received: 39, lost: 1, dropped: 0 });
        assert!(!told.is_whole());
    }

    #[test]
    fn a_client_that_never_came_to_sending_has_told_nothing() {
        assert_eq!(Told::read("0: : ERROR: cannot complete Allocation\n"), None);
    }
}
