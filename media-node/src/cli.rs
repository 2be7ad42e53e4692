//! The command line.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::{self, ConfigError, Overrides},
    probe::{
        credentials::USER,
        session::Echo,
        target::{Certified, Endpoint},
    },
};

/// As a part of a user name (RFC 8489 section 14.3 allows 508 bytes), without what separates it from the expiry.
fn user(text: &str) -> Result<String, String> {
    let good = (1..=253).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if good { Ok(text.to_owned()) } else { Err("write 1 to 253 printable characters without a colon".to_owned()) }
}

/// A node of an RTC fleet. Each subcommand that serves is a role; this release has `turn` and `probe`.
#[derive(Debug, Parser)]
#[command(name = "media-node", version, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 ended as told; 1 failed while running; 2 wrong usage or configuration.

Try it on this machine:
  head -c 32 /dev/urandom | base64 > secret
  printf '%s\\n' 'realm: localhost' \\
    'listeners: [{protocol: UDP, address: \"127.0.0.1:3478\"}]' \\
    'relay: {addresses: [127.0.0.1], allowPeers: [127.0.0.0/8]}' \\
    'auth: {secretFiles: [secret]}' > turn.yaml
  media-node turn --config turn.yaml &
  media-node credentials --secret-file secret --user alice --ttl 1h";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Relay media for clients that cannot reach each other (TURN, RFC 8656, over UDP, TCP and TLS)
    ///
    /// Reads one YAML file and reports every mistake in it at once. SIGTERM and SIGINT refuse new allocations and give
    /// live ones the time of drain.onTerminate [default: 30s]; a second signal ends the process at once.
    Turn(TurnArgs),
    /// Try what a caller needs of TURN servers, over and over or once, and say what does not work
    ///
    /// For each target: resolve its name, connect, TLS handshake with the certificate's chain, name and dates, Allocate with
    /// credentials, CreatePermission, packets through the relay and back, Refresh 0. With --config it goes on until it is
    /// told to end, and tells verdicts in GET /v1/verdicts and metrics. With --once it prints a table.
    Probe(Box<ProbeArgs>),
    /// Print the JSON Schema of a role's configuration file, for editors and validators
    ConfigSchema(ConfigSchemaArgs),
    /// Print a TURN user name and password made from a shared secret
    ///
    /// TURN REST credentials: the user name is EXPIRY:NAME with the expiry in seconds since 1970, the password is
    /// base64(HMAC-SHA1(secret, user name)). The server needs nothing but the secret to check them.
    Credentials(CredentialsArgs),
}

#[derive(Debug, Args)]
pub struct TurnArgs {
    /// The configuration file (YAML); `media-node config-schema` describes it
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Only check the configuration and the files it names, print every mistake, and exit (0 fine, 2 not)
    #[arg(long)]
    pub check: bool,

    /// This machine's name in relay.machinesFile
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub machine: Option<String>,

    /// Where /metrics, /healthz and /readyz are served, plain HTTP; wins over metrics.address [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS:PORT", env = "RTC_METRICS_ADDRESS", value_parser = config::parse_socket_address)]
    pub metrics_address: Option<SocketAddr>,

    /// Where the admin API is served, mutual TLS; wins over admin.address, needs an `admin` group in the file
    /// [default: 127.0.0.1:9443]
    #[arg(long, value_name = "ADDRESS:PORT", env = "RTC_ADMIN_ADDRESS", value_parser = config::parse_socket_address)]
    pub admin_address: Option<SocketAddr>,

    /// What the cloud calls this type of machine, such as c5.2xlarge; wins over capacity.machineType
    #[arg(long, value_name = "TYPE", env = "RTC_MACHINE_TYPE")]
    pub machine_type: Option<String>,

    /// Give up root for this user id once the listeners are open, so that ports below 1024 can be had without keeping any
    /// right. Needs root or CAP_SETUID at start. What is read again later (secrets, certificates, the machines file) must
    /// be readable for that user
    #[arg(long, value_name = "UID", env = "RTC_RUN_AS", value_parser = clap::value_parser!(u32).range(1..))]
    pub run_as: Option<u32>,

    /// How log lines look on stderr [default: plain on a terminal, json elsewhere]. RUST_LOG sets the level, such as
    /// RUST_LOG=debug [default: info]
    #[arg(long, value_name = "FORMAT", env = "RTC_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl TurnArgs {
    pub fn overrides(&self) -> Overrides {
        Overrides {
            machine: self.machine.clone(),
            metrics_address: self.metrics_address,
            admin_address: self.admin_address,
            machine_type: self.machine_type.clone(),
        }
    }
}

#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[derive(Debug, Args)]
#[command(after_help = PROBE_HELP)]
pub struct ProbeArgs {
    /// The configuration file (YAML), read again when it changes; `media-node config-schema probe` describes it
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub config: Option<PathBuf>,

    /// Only check the configuration and the files it names, print every mistake, and exit (0 fine, 2 not)
    #[arg(long, requires = "config", conflicts_with = "once")]
    pub check: bool,

    /// Take the configuration over the admin API, too (PUT /v1/config): the operator brings it to probers of its own
    #[arg(long, env = "RTC_ACCEPT_CONFIG")]
    pub accept_config: bool,

    /// Probe every target once, every address of its name, print what was found, and exit: 0 all is well, 1 not
    #[arg(long)]
    pub once: bool,

    /// A TURN URI (RFC 7065) to probe; may be repeated. turn: is UDP unless it ends in ?transport=tcp, turns: is TLS. The
    /// port may be left out: 3478, of turns: 5349
    #[arg(long, value_name = "URI", requires = "once", value_parser = config::parse_written::<Endpoint>)]
    pub target: Vec<Endpoint>,

    /// File that holds the servers' shared secret (TURN REST); white space around it is left out
    #[arg(long, value_name = "FILE", requires = "target", conflicts_with_all = ["username", "password_file"])]
    pub secret_file: Option<PathBuf>,

    /// How long credentials made from --secret-file are good for: more than clocks differ, less than servers' auth.maxTtl
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = config::parse_duration)]
    pub ttl: Duration,

    /// In place of --secret-file: a user name that the servers know
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,

    /// File that holds the password of --username
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,

    /// PEM file with the authorities that certificates are to come from, in place of those of the system
    #[arg(long, value_name = "FILE", requires = "once")]
    pub ca_file: Option<PathBuf>,

    /// Whom certificates are to be for, where that is not the target's host
    #[arg(long, value_name = "NAME", requires = "target", value_parser = config::parse_written::<Certified>)]
    pub server_name: Option<Certified>,

    /// Where packets go through the relay: relay, to its own relayed port; here, to a socket of this machine; or
    /// ADDRESS:PORT of a server that sends back what it gets. The relay has to allow the last two as peers
    #[arg(long, value_name = "PEER", requires = "target", default_value = "relay", value_parser = config::parse_written::<Echo>)]
    pub echo: Echo,

    /// Packets through the relay, for loss
    #[arg(long, value_name = "NUMBER", requires = "target", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=50))]
    pub packets: u16,

    /// For everything up to the verdict, of each address
    #[arg(long, value_name = "DURATION", requires = "target", default_value = "3s", value_parser = config::parse_duration)]
    pub timeout: Duration,

    /// Do not try what must be refused: a wrong password, and loopback and metadata addresses as peers
    #[arg(long, requires = "target")]
    pub no_security: bool,

    /// How --once prints: a table, or the verdicts as JSON
    #[arg(short, long, value_name = "FORMAT", requires = "once", default_value = "plain")]
    pub output: Output,

    /// User that servers' quotas count, where credentials are made from a secret: give each of several probers its own
    #[arg(long, value_name = "NAME", default_value = USER, value_parser = user)]
    pub user: String,

    /// Where /metrics, /healthz and /readyz are served, plain HTTP; wins over metrics.address [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS:PORT", env = "RTC_METRICS_ADDRESS", value_parser = config::parse_socket_address)]
    pub metrics_address: Option<SocketAddr>,

    /// Where the admin API is served, mutual TLS; wins over admin.address, needs an `admin` group in the file
    /// [default: 127.0.0.1:9443]
    #[arg(long, value_name = "ADDRESS:PORT", env = "RTC_ADMIN_ADDRESS", value_parser = config::parse_socket_address)]
    pub admin_address: Option<SocketAddr>,

    /// How log lines look on stderr [default: plain on a terminal, json elsewhere]
    #[arg(long, value_name = "FORMAT", env = "RTC_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

const PROBE_HELP: &str = "\
Examples:
  Can a caller use this server, over all transports?
    media-node probe --once --secret-file secret \\
      --target 'turn:turn.example.org:3478?transport=udp' \\
      --target 'turn:turn.example.org:3478?transport=tcp' --target turns:turn.example.org:443
  One node of a region, whose certificate is for the region's name:
    media-node probe --once --secret-file secret --target turns:203.0.113.7:443 --server-name turn.example.org
  Do packets get from relayed ports to the Internet and back (firewalls)? Run where no private address is used:
    media-node probe --once --secret-file secret --target turn:turn.example.org --echo here

The stage that failed says where to look:
  resolve      DNS                         connect     nothing listens, or a firewall (TCP, TLS)
  tls          certificate, its name, end  allocate    silence: UDP does not get through; 401 secret or clock;
  permission   403: the peer is denied                 486, 508 full; 300 drains
  echo         relayed ports, firewalls    refresh     the server does not end sessions";

#[derive(Debug, Args)]
pub struct ConfigSchemaArgs {
    /// Whose file
    #[arg(value_name = "ROLE", default_value = "turn")]
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Turn,
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Plain,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  media-node credentials --secret-file secret --user alice --ttl 1h -o json")]
pub struct CredentialsArgs {
    /// File that holds the shared secret (one of auth.secretFiles); white space around it is left out
    #[arg(long, value_name = "FILE")]
    pub secret_file: PathBuf,

    /// Whom they are for: quotas.allocationsPerUser counts by this name
    #[arg(long, value_name = "NAME")]
    pub user: String,

    /// How long new allocations can be made with them: a duration such as 30s, 10m, 24h. A server refuses more than
    /// its auth.maxTtl
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = config::parse_duration)]
    pub ttl: Duration,

    /// How they are printed
    #[arg(short, long, value_name = "FORMAT", default_value = "plain")]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// {"username", "password", "ttl"}, with the ttl in seconds.
    Json,
    /// `username NAME` and `password PASSWORD`, a line each.
    Plain,
}

/// Why a command failed; `Display` is what stderr shows.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something on the command line, or a file that it names.
    #[error("{0}")]
    Usage(String),
    /// It started, or tried to, and something in the way has to be removed.
    #[error("{0}")]
    Running(String),
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::Usage(_) => ExitCode::from(2),
            Self::Running(_) => ExitCode::from(1),
        }
    }
}
