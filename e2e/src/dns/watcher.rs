//! A process of its own that asks name servers all the time: see `src/bin/dns-watch.rs`.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch::{self, Receiver, Sender},
    task::JoinHandle,
    time::timeout,
};

use super::{Answer, History};
use crate::monotonic::Moment;

/// After that it ends by itself, whatever becomes of us.
const LONGEST: Duration = Duration::from_hours(1);
/// Until it has heard of every server, or given one up.
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(10);

/// Asks until [`Watcher::end`]. Dropped, the process is killed.
pub struct Watcher {
    process: Child,
    /// It ends with this.
    input: ChildStdin,
    history: Receiver<History>,
    reader: JoinHandle<Result<()>>,
}

impl Watcher {
    /// Gives one that has asked every server once.
    pub async fn start(servers: &[SocketAddr], name: &str) -> Result<Self> {
        let mut process = Command::new(program()?)
            .args([&LONGEST.as_secs().to_string(), name])
            .args(servers.iter().map(ToString::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("dns-watch does not start")?;
        let input = process.stdin.take().context("standard input is a pipe")?;
        let output = process.stdout.take().context("standard output is a pipe")?;
        let (told, history) = watch::channel(History::default());
        let reader = tokio::spawn(follow(output, told));
        let watcher = Self { process, input, history, reader };
        watcher
            .wait("every server was asked", START, |history| {
                servers.iter().all(|server| history.of(*server).next().is_some()).then_some(())
            })
            .await?;
        Ok(watcher)
    }

    /// So far.
    pub fn history(&self) -> History {
        self.history.borrow().clone()
    }

    /// Waits for [`History::first_after`], at most for `limit`.
    pub async fn first_after(
        &self,
        at: Moment,
        server: SocketAddr,
        limit: Duration,
        holds: impl Fn(&BTreeSet<IpAddr>) -> bool,
    ) -> Result<Moment> {
        let what = format!("{server} tells what is waited for");
        self.wait(&what, limit, |history| history.first_after(at, server, &holds)).await
    }

    /// Waits until a server does not answer, or not with an answer to the question, from `at` on.
    pub async fn fails_after(&self, at: Moment, server: SocketAddr, limit: Duration) -> Result<Moment> {
        let what = format!("{server} does not answer");
        let is_failure = |answer: &Answer| matches!(answer, Answer::None | Answer::Failed(_));
        let failed = |history: &History| {
            history.of(server).find(|seen| seen.at > at && is_failure(&seen.answer)).map(|seen| seen.at)
        };
        self.wait(&what, limit, failed).await
    }

    /// Everything, from its start to now. One that has ended before is an error: it has not seen the end.
    pub async fn end(mut self) -> Result<History> {
        ensure!(self.process.try_wait()?.is_none(), "dns-watch has ended by itself:\n{}", self.history());
        drop(self.input);
        timeout(END, &mut self.reader).await.context("dns-watch does not end")???;
        let status = timeout(END, self.process.wait()).await.context("dns-watch does not end")??;
        let history = self.history.borrow().clone();
        ensure!(status.success() && !history.counts.is_empty(), "dns-watch ended with {status}:\n{history}");
        Ok(history)
    }

    #[cfg(test)]
    pub(super) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn wait<T>(&self, what: &str, limit: Duration, found: impl Fn(&History) -> Option<T>) -> Result<T> {
        let mut history = self.history.clone();
        let outcome = timeout(limit, history.wait_for(|history| found(history).is_some())).await;
        match outcome {
            Ok(Ok(history)) => found(&history).context("it was just there"),
            Ok(Err(_)) => bail!("{what}: dns-watch has ended before:\n{}", self.history()),
            Err(_) => bail!("{what}: not within {limit:?}:\n{}", self.history()),
        }
    }
}

async fn follow(output: ChildStdout, told: Sender<History>) -> Result<()> {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        let line = line.parse()?;
        told.send_modify(|history| history.add(line));
    }
    Ok(())
}

/// Cargo builds it beside the tests, which are in a folder of their own.
fn program() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let found = test.ancestors().skip(1).take(2).map(|folder| folder.join("dns-watch")).find(|path| path.is_file());
    found.with_context(|| format!("no dns-watch beside {}: run cargo build -p e2e --bins", test.display()))
}
