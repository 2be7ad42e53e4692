//! Running programs: bounded in time, with all of their output in the error.

use std::{ffi::OsStr, fmt::Write, fs::File, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::cluster;

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs a program to its end. Whatever its exit code, that is no error here; not starting, or not ending within
/// `limit`, is one. The program is killed when the caller is dropped.
pub async fn output<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[A], limit: Duration) -> Result<Finished> {
    feed(program, arguments, "", limit).await
}

/// Like [`output`], with a text on standard input.
pub async fn feed<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: &[A],
    input: &str,
    limit: Duration,
) -> Result<Finished> {
    let line = shown(program.as_ref(), arguments);
    let mut child = Command::new(program.as_ref())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("`{line}` does not start"))?;
    let mut stdin = child.stdin.take().context("standard input is a pipe")?;
    let input = input.to_owned();
    // Beside the reading of its output: a program that answers before it has read everything must not block.
    let writer = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let ended = tokio::time::timeout(limit, child.wait_with_output())
        .await
        .with_context(|| format!("`{line}` did not end within {limit:?}"))?
        .with_context(|| format!("`{line}` cannot be waited for"))?;
    writer.abort();
    Ok(Finished {
        code: ended.status.code(),
        stdout: String::from_utf8_lossy(&ended.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ended.stderr).into_owned(),
    })
}

/// A program that runs beside a scenario and logs to a file. Killed when it is dropped, and by the kernel with the thread that
/// starts it, so that no aborted run leaves it behind.
pub fn beside(program: impl AsRef<OsStr>, log: &File) -> Result<Command> {
    // Debian's util-linux.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).kill_on_drop(true);
    Ok(command)
}

/// Standard output of a program that must succeed within `limit`.
pub async fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[A], limit: Duration) -> Result<String> {
    let finished = output(program.as_ref(), arguments, limit).await?;
    if !finished.succeeded() {
        let Finished { code, stdout, stderr } = finished;
        bail!("`{}` ended with {code:?}\n{stdout}{stderr}", shown(program.as_ref(), arguments));
    }
    Ok(finished.stdout)
}

/// kubectl against the cluster under test, fed with `input`; `-f -` reads it.
pub async fn kubectl(arguments: &[&str], input: &str) -> Result<Finished> {
    let kubeconfig = cluster::kubeconfig()?;
    let kubeconfig = kubeconfig.to_str().context("the path of the kubeconfig is no text")?;
    let program = cluster::state().join("bin/kubectl");
    let program = if program.exists() { program } else { "kubectl".into() };
    let mut all = vec!["--kubeconfig", kubeconfig];
    all.extend(arguments);
    feed(program, &all, input, Duration::from_secs(90)).await
}

fn shown<A: AsRef<OsStr>>(program: &OsStr, arguments: &[A]) -> String {
    let mut line = program.to_string_lossy().into_owned();
    for argument in arguments {
        let _ = write!(line, " {}", argument.as_ref().to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_failing_program_shows_its_command_line_its_code_and_its_output() {
        let error = run("sh", &["-c", "echo out; echo err >&2; exit 3"], LIMIT).await.unwrap_err().to_string();
        for part in ["sh -c", "Some(3)", "out\n", "err\n"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_given_up() {
        let error = output("sleep", &["60"], Duration::from_millis(50)).await.unwrap_err().to_string();
        assert_eq!(error, "`sleep 60` did not end within 50ms");
    }

    #[tokio::test]
    async fn a_program_that_never_reads_its_input_does_not_block() {
        let finished = feed("true", &[] as &[&str], &"x".repeat(1_000_000), LIMIT).await.unwrap();
        assert!(finished.succeeded());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = run("/nowhere/helm", &["lint"], LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "`/nowhere/helm lint` does not start");
    }
}
