//! The servers under test: started on one core with one relaying thread, stopped by process id.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::row::Transport;

pub const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
pub const REALM: &str = "bench.example.org";
/// Written into configurations of servers that live for seconds and listen on loopback only.
pub const SECRET: &str = "not-a-secret-for-a-benchmark-only";
const PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;
/// How long a server has to open its listeners.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it has to end after SIGTERM before it is killed: it has nothing to save, and newer coturns take 5 s.
const FAREWELL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    MediaNode,
    /// One relay socket an allocation, as everybody runs it.
    Coturn,
    /// One relay socket for all allocations of a thread, sendmmsg and GSO. Not in Debian's version.
    CoturnMultiplexed,
}

/// A program to be measured.
#[derive(Clone, Debug)]
pub struct Program {
    pub kind: Kind,
    pub path: PathBuf,
    /// As the table shows it.
    pub name: String,
    /// What `-h` of coturn prints: options come and go between its versions.
    help: String,
}

impl Program {
    pub fn media_node(path: &Path) -> Result<Self> {
        let version = said(path, "--version")?;
        Ok(Self { kind: Kind::MediaNode, path: absolute(path)?, name: version.trim().to_owned(), help: String::new() })
    }

    pub fn coturn(path: &Path, kind: Kind) -> Result<Self> {
        let version = said(path, "--version")?;
        let version = version.trim().rsplit(['\n', ' ']).next().unwrap_or_default().to_owned();
        let help = said(path, "-h")?;
        let mode = if kind == Kind::CoturnMultiplexed { ", multiplex-peer, udp-gso" } else { "" };
        if kind == Kind::CoturnMultiplexed && !help.contains("--udp-gso") {
            bail!("{}: coturn {version} has no --udp-gso: build a newer one, such as 4.17", path.display());
        }
        Ok(Self { kind, path: absolute(path)?, name: format!("coturn {version}{mode}"), help })
    }
}

/// Servers are started in a directory of their own. A bare name is looked up in PATH then as now.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.components().count() == 1 { Ok(path.into()) } else { Ok(std::path::absolute(path)?) }
}

/// What a program prints when called with one option. coturn's exit codes mean nothing here.
fn said(path: &Path, option: &str) -> Result<String> {
    let found = Command::new(path).arg(option).output();
    let output = found.with_context(|| format!("{}: this program cannot be started", path.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

/// Where a client finds the listener for a transport.
pub fn listener(transport: Transport) -> SocketAddr {
    let port = if transport == Transport::Tls { TLS_PORT } else { PORT };
    SocketAddr::from((ADDRESS, port))
}

/// A running server. Ends with the value, and also if the loader dies in any other way.
pub struct Server {
    child: Child,
    pub pid: Pid,
    /// The transport that it was started for, and where it listens for that.
    pub transport: Transport,
    pub listener: SocketAddr,
    /// Its own, to be trusted.
    pub certificate: Option<PathBuf>,
    log: PathBuf,
}

impl Server {
    /// `directory` is for its files: it is emptied of those of the last one. `core` is where all its threads stay.
    pub fn start(program: &Program, transport: Transport, core: usize, directory: &Path) -> Result<Self> {
        let home = directory.join("server");
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| home.display().to_string())?;
        }
        fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        let certificate = if transport == Transport::Tls { Some(write_certificate(&home)?) } else { None };
        let arguments = match program.kind {
            Kind::MediaNode => media_node(transport, &home)?,
            Kind::Coturn | Kind::CoturnMultiplexed => coturn(program, transport, &home),
        };
        let log = home.join("log");
        let output = File::create(&log)?;
        // Both programs become the next one, so the process id is that of the server.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "taskset", "--cpu-list", &core.to_string()])
            .arg(&program.path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .current_dir(&home)
            .spawn()
            .context("setpriv and taskset (Debian: util-linux) cannot be started")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        let mut server = Self { child, pid, transport, listener: listener(transport), certificate, log };
        server.wait_until_open()?;
        Ok(server)
    }

    /// A listener in `/proc/net`, which is that of our network namespace.
    fn wait_until_open(&mut self) -> Result<()> {
        let (table, state) = match self.transport {
            Transport::Udp => ("/proc/net/udp", "07"),
            Transport::Tcp | Transport::Tls => ("/proc/net/tcp", "0A"),
        };
        let address = format!("{:08X}:{:04X}", u32::from(ADDRESS).swap_bytes(), self.listener.port());
        let is_open = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            words.nth(1) == Some(&address) && words.nth(1) == Some(state)
        };
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if fs::read_to_string(table)?.lines().any(is_open) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at once, {status}; its last words:\n{}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("no listener on {} after {PATIENCE:?}; last words:\n{}", self.listener, self.last_words())
    }

    /// For a report about a server that has gone.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGTERM);
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_certificate(home: &Path) -> Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed([REALM.to_owned()])?;
    fs::write(home.join("tls.key"), made.signing_key.serialize_pem())?;
    let certificate = home.join("tls.crt");
    fs::write(&certificate, made.cert.pem())?;
    Ok(certificate)
}

fn media_node(transport: Transport, home: &Path) -> Result<Vec<String>> {
    fs::write(home.join("secret"), SECRET)?;
    fs::set_permissions(home.join("secret"), fs::Permissions::from_mode(0o600))?;
    let extra = match transport {
        Transport::Udp => String::new(),
        Transport::Tcp => format!("  - {{protocol: TCP, address: \"{}\"}}\n", listener(transport)),
        Transport::Tls => format!(
            "  - {{protocol: TLS, address: \"{}\"}}\ntls: {{certificate: tls.crt, key: tls.key}}\n",
            listener(transport)
        ),
    };
    let config = format!(
        "realm: {REALM}\n\
         relay: {{addresses: [{ADDRESS}], allowPeers: [127.0.0.0/8]}}\n\
         auth: {{secretFiles: [secret]}}\n\
         quotas: {{allocationsPerUser: 1000000, allocations: 1000000}}\n\
         limits: {{unauthenticatedPerPrefix: 0}}\n\
         drain: {{onTerminate: 0s}}\n\
         threads: 1\n\
         listeners:\n  - {{protocol: UDP, address: \"{ADDRESS}:{PORT}\"}}\n{extra}"
    );
    let file = home.join("turn.yaml");
    fs::write(&file, config)?;
    Ok(vec!["turn".to_owned(), "--config".to_owned(), file.display().to_string()])
}

fn coturn(program: &Program, transport: Transport, home: &Path) -> Vec<String> {
    let home = home.display();
    let mut arguments = vec![
        "-n".to_owned(),
        format!("--listening-ip={ADDRESS}"),
        format!("--relay-ip={ADDRESS}"),
        format!("--listening-port={PORT}"),
        format!("--tls-listening-port={TLS_PORT}"),
        format!("--realm={REALM}"),
        "--use-auth-secret".to_owned(),
        format!("--static-auth-secret={SECRET}"),
        format!("--db={home}/turndb"),
        format!("--pidfile={home}/pid"),
        "--allow-loopback-peers".to_owned(),
        "--relay-threads=1".to_owned(),
        "--log-file=/dev/null".to_owned(),
        "--simple-log".to_owned(),
        "--no-stdout-log".to_owned(),
    ];
    // What costs something and is not measured; versions differ in what is on by default.
    let mut off = vec!["--no-cli", "--no-rfc5780", "--no-software-attribute", "--no-dtls", "--no-auth-pings"];
    off.extend(["--no-dynamic-ip-list", "--no-dynamic-realms"]);
    match transport {
        Transport::Udp => off.extend(["--no-tls", "--no-tcp"]),
        Transport::Tcp => off.push("--no-tls"),
        Transport::Tls => {
            arguments.extend([format!("--cert={home}/tls.crt"), format!("--pkey={home}/tls.key")]);
        }
    }
    arguments.extend(off.iter().filter(|option| program.help.contains(**option)).map(ToString::to_string));
    if program.kind == Kind::CoturnMultiplexed {
        arguments.extend(["--multiplex-peer".to_owned(), "--udp-gso".to_owned()]);
    }
    arguments
}
