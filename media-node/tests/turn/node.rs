//! A media-node process of its own, with its files in a directory of its own.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    ops::Range,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// For everything that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_media-node"));
    command.env_clear();
    command
}

/// The same with a limit on open files.
fn limited(open_files: u32) -> Command {
    let mut command = Command::new("/bin/sh");
    command.env_clear().arg("-c").arg(format!("ulimit -n {open_files}; exec \"$0\" \"$@\""));
    command.arg(env!("CARGO_BIN_EXE_media-node"));
    command
}

/// Ports that the kernel gives nobody who does not ask for them: it would give one away between our look and a node's.
const PORTS: Range<u16> = 20_000..32_000;

/// A port that nothing has on any address of this machine, for UDP and TCP. Given once.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let size = u32::from(PORTS.end - PORTS.start);
    // Another run of these tests begins elsewhere.
    let begin = std::process::id().wrapping_mul(61) % size;
    loop {
        let number = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % size;
        let port = PORTS.start + u16::try_from(number).unwrap();
        let everywhere = (Ipv4Addr::UNSPECIFIED, port);
        if UdpSocket::bind(everywhere).is_ok() && TcpListener::bind(everywhere).is_ok() {
            return port;
        }
    }
}

/// What a process writes to its piped standard error from now on.
pub fn lines_of(process: &mut Child) -> Receiver<String> {
    let stderr = BufReader::new(process.stderr.take().unwrap());
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            // Shown when the test fails.
            println!("{line}");
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Status and body of a plain HTTP GET.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Where a node of a test listens and what it is told.
pub struct Plan {
    pub directory: tempfile::TempDir,
    /// For UDP. None with port 0.
    pub listener: SocketAddr,
    /// Further listeners, in YAML.
    pub listeners: Vec<String>,
    pub metrics: SocketAddr,
    /// YAML in place of what [`Plan::yaml`] writes for `relay`.
    pub relay: String,
    /// Off unless a test is about it: its requests and allocations show in what others count.
    pub probe: String,
    /// Further top-level YAML.
    pub more: String,
    /// The hard limit on open files of the process.
    pub open_files: Option<u32>,
}

impl Plan {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = Self {
            directory,
            listener: (Ipv4Addr::LOCALHOST, free_port()).into(),
            listeners: Vec::new(),
            metrics: (Ipv4Addr::LOCALHOST, free_port()).into(),
            relay: "addresses: [127.0.0.1], minPort: 61000, maxPort: 61999, allowPeers: [127.0.0.0/8]".to_owned(),
            probe: "0s".to_owned(),
            more: String::new(),
            open_files: None,
        };
        plan.write("secret", "north");
        plan
    }

    /// All of it at once: a node that follows the file never reads a part.
    pub fn write(&self, name: &str, text: &str) {
        let directory = self.directory.path();
        let whole = directory.join(format!(".{name}"));
        std::fs::write(&whole, text).unwrap();
        std::fs::rename(whole, directory.join(name)).unwrap();
    }

    fn yaml(&self) -> String {
        let Self { listener, metrics, relay, probe, more, .. } = self;
        let udp = format!("{{protocol: UDP, address: '{listener}'}}");
        let listeners = if listener.port() == 0 { Vec::new() } else { vec![udp] };
        let listeners = [listeners, self.listeners.clone()].concat().join(", ");
        format!(
            "realm: test.example.org\n\
             listeners: [{listeners}]\n\
             relay: {{{relay}}}\n\
             auth: {{secretFiles: [secret, previous]}}\n\
             metrics: {{address: '{metrics}'}}\n\
             probe: {{interval: {probe}}}\n\
             threads: 2\n{more}\n"
        )
    }

    /// One more listener, on a port of its own.
    pub fn listen(&mut self, protocol: &str, ip: IpAddr) -> SocketAddr {
        let address = SocketAddr::new(ip, free_port());
        self.listeners.push(format!("{{protocol: {protocol}, address: '{address}'}}"));
        address
    }

    pub fn command(&self) -> Command {
        self.write("turn.yaml", &self.yaml());
        let mut command = match self.open_files {
            None => binary(),
            Some(limit) => limited(limit),
        };
        command.arg("turn").arg("--config").arg(self.directory.path().join("turn.yaml"));
        command.args(["--machine", "this-one", "--log-format", "json"]);
        command
    }

    /// Starts a node and waits until it serves.
    pub fn start(self) -> Node {
        let node = self.spawn();
        node.wait_for_state("Active");
        node
    }

    pub fn spawn(self) -> Node {
        self.spawn_with(&[])
    }

    pub fn spawn_with(self, arguments: &[&str]) -> Node {
        let mut process = self.command().args(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = lines_of(&mut process);
        Node { plan: self, process, lines }
    }
}

/// A running one. Killed when dropped.
pub struct Node {
    pub plan: Plan,
    process: Child,
    lines: Receiver<String>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    /// Waits for a log line that holds all of `parts`.
    pub fn wait_for_line(&self, parts: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if parts.iter().all(|part| line.contains(part)) => return line,
                Ok(_) => {}
                Err(error) => panic!("no line with {parts:?}: {error}"),
            }
        }
    }

    /// Whether a line not waited for yet holds `part`.
    pub fn has_said(&self, part: &str) -> bool {
        self.lines.try_iter().any(|line| line.contains(part))
    }

    pub fn wait_for_state(&self, state: &str) {
        self.wait_for_line(&["\"message\":\"state\"", &format!("\"to\":\"{state}\"")]);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub fn exit(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        // The log ends with the process.
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        assert!(Instant::now() < deadline, "the process has not ended");
        self.process.wait().unwrap()
    }

    /// Kills it. What it ran by can be started again.
    pub fn end(mut self) -> Plan {
        std::mem::replace(&mut self.plan, Plan::new())
    }

    /// Status and body of a plain HTTP GET on the metrics port.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.plan.metrics, path)
    }

    /// One row of a metric that counts, with its labels.
    pub fn metric_row(&self, row: &str) -> u64 {
        let (_, page) = self.get("/metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
        value.expect("such a row").trim_end_matches(".0").parse().unwrap()
    }

    /// The sum of a metric that counts, over its labels.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, page) = self.get("/metrics");
        let rows =
            page.lines().filter(|line| line.starts_with(&format!("{name} ")) || line.starts_with(&format!("{name}{{")));
        rows.filter_map(|row| row.rsplit(' ').next()?.trim_end_matches(".0").parse::<u64>().ok()).sum()
    }
}
