//! One server: a process, its files and its log.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;
use tokio::process::Child;

use super::question;
use crate::{command, wait};

/// Until a server answers. Others may have the processors.
const START: Duration = Duration::from_mins(1);
const LOG_LINES: usize = 60;

/// Dropped, it is killed and its files are gone.
pub struct Named {
    pub address: SocketAddr,
    directory: TempDir,
    process: Option<Child>,
}

impl Named {
    /// Not yet started.
    pub fn new(address: SocketAddr, configuration: impl FnOnce(&Path) -> String) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("named.conf"), configuration(directory.path()))?;
        Ok(Self { address, directory, process: None })
    }

    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.directory.path().join(file), text)?)
    }

    /// With what it has stored. Does nothing if it runs.
    pub async fn start(&mut self) -> Result<()> {
        if self.process.is_none() {
            self.process = Some(self.spawn()?);
        }
        let what = format!("named at {} answers", self.address);
        let ended = |named: &mut Self| named.process.as_mut().and_then(|process| process.try_wait().transpose());
        wait::until(&what, START, async || match ended(self) {
            Some(status) => Ok(Err(anyhow!("named at {} has ended: {status:?}", self.address))),
            None => question::serial(self.address).await.map(|_| Ok(())),
        })
        .await
        .and_then(|outcome| outcome)
        .with_context(|| self.log())
    }

    /// As if its machine failed.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await.with_context(|| format!("named at {} does not end", self.address))?;
        }
        Ok(())
    }

    /// The end of what it has logged, all of its runs.
    pub fn log(&self) -> String {
        let all = fs::read_to_string(self.log_file()).unwrap_or_else(|error| format!("no log: {error}"));
        let lines: Vec<&str> = all.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("--- named at {} ---\n{}\n", self.address, end.join("\n"))
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// -g: it stays ours, and logs to us.
    fn spawn(&self) -> Result<Child> {
        // Debian has it in a directory that is not everybody's PATH.
        let folders = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let program = std::env::split_paths(&folders).map(|folder| folder.join("named")).find(|path| path.is_file());
        let program = program.context("named is missing: run e2e/setup/packages.sh dns")?;
        let log = fs::File::options().create(true).append(true).open(self.log_file())?;
        command::beside(program, &log)?
            .args(["-4", "-g", "-n", "1", "-c"])
            .arg(self.directory.path().join("named.conf"))
            .spawn()
            .context("setpriv does not start: apt-get install util-linux")
    }
}
