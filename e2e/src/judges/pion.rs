//! pion, WebRTC in Go, calls through a relay: allocates, refreshes, gives back, and looks at the relay's certificate.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Server, uclient::EchoPeer};
use crate::{
    checks::Checks,
    cluster, command,
    scenario::{HOST, OUTSIDE, SECRET},
};

const PACKETS: usize = 50;
/// It sends for a second and waits three for what is late; connecting to a relay that is silent takes ten.
const LONGEST: Duration = Duration::from_secs(40);

/// What the client says in the end.
#[derive(Debug, Deserialize)]
struct Told {
    sent: usize,
    received: usize,
    /// Of the allocation, after a refresh, in seconds.
    lifetime: u32,
}

impl Told {
    fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| format!("{text:?} is no verdict"))
    }

    fn is_whole(&self, least: usize) -> Result<()> {
        ensure!(self.sent >= least && self.received == self.sent && self.lifetime > 0, "{self:?}");
        Ok(())
    }
}

/// Calls through `server` to peers of both families.
pub async fn judge(checks: &mut Checks, label: &str, server: &Server, echo: &EchoPeer) {
    for peer in OUTSIDE {
        let began = Instant::now();
        let outcome = call(server, peer, echo).await;
        checks.note(&format!("{label}: {server}: pion loses nothing on the way to {peer} and back"), began, outcome);
    }
}

async fn call(server: &Server, peer: &str, echo: &EchoPeer) -> Result<()> {
    let task = task(server, SocketAddr::new(peer.parse()?, echo.port), PACKETS);
    let finished = command::feed(program()?, &[] as &[&str], &task.to_string(), LONGEST).await?;
    ensure!(finished.succeeded(), "{}", finished.stderr);
    Told::read(&finished.stdout)?.is_whole(PACKETS)
}

/// A call that runs until it is ended. Dropping it ends the client, without giving the allocation back.
pub struct Call {
    client: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Call {
    /// Gives a call whose first packet has come back.
    pub async fn start(server: &Server, echo: &EchoPeer) -> Result<Self> {
        let peer: IpAddr = OUTSIDE[0].parse()?;
        let mut client = Command::new(program()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("turnclient does not start")?;
        let mut input = client.stdin.take().context("standard input is a pipe")?;
        let output = client.stdout.take().context("standard output is a pipe")?;
        let mut call = {
            input.write_all(task(server, SocketAddr::new(peer, echo.port), 0).to_string().as_bytes()).await?;
            Self { client, input, output: BufReader::new(output).lines() }
        };
        let line = call.line().await.with_context(|| format!("no call through {server}"))?;
        ensure!(line == "running", "{line}");
        Ok(call)
    }

    /// Ends the call, and checks that of all its packets none was lost.
    pub async fn end(mut self) -> Result<()> {
        self.input.shutdown().await?;
        drop(self.input);
        let verdict = timeout(LONGEST, self.output.next_line()).await.context("the call does not end")??;
        let status = timeout(LONGEST, self.client.wait()).await.context("the client does not end")??;
        let verdict = verdict.with_context(|| format!("the call was broken off: {status}; its words are above"))?;
        Told::read(&verdict)?.is_whole(1)
    }

    async fn line(&mut self) -> Result<String> {
        let line = timeout(LONGEST, self.output.next_line()).await;
        line.with_context(|| format!("nothing within {LONGEST:?}"))??
            .context("the client has ended; its words are above")
    }
}

/// With 0 packets the call lasts until standard input ends.
fn task(server: &Server, peer: SocketAddr, packets: usize) -> Value {
    json!({
        "server": server.address, "transport": server.transport.text(),
        "authority": server.transport.authority().unwrap_or("".as_ref()), "name": HOST,
        "secret": SECRET, "user": "pion", "realm": HOST, "peer": peer, "packets": packets,
    })
}

fn program() -> Result<PathBuf> {
    let program = cluster::cache().context("no home folder")?.join("bin/turnclient");
    ensure!(program.exists(), "{}: not there: run e2e/setup/go-program.sh turnclient", program.display());
    Ok(program)
}
