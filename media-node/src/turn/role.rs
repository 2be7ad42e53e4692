//! `media-node turn`, from the configuration file to the exit code.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rtcfleet_node_api::Counters;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    addresses,
    certificate::{self, Certificate},
    io::{self, Control, ListenError, Listeners, Shards, StreamAddress, ThreadError},
    limits::{self, LimitsFile},
    pressure::{self, Pressure},
    privileges,
    probe::{self, Door, Ground, Probe},
    proto::{RelayAddresses, Secret, Secrets, ServerConfig, ShardIndex, ShardSnapshot, Shared, Terms, Transport},
    secrets::{Follower, Look},
};
use crate::{
    admin::{self, tls::TlsFiles},
    cli::{Failure, TurnArgs},
    config::{
        self, Adjustable, Capacity, LimitsSource, Overrides, Protocol, RelaySource, Threads, TurnConfig,
        machines::{Found, Machine},
        warnings,
    },
    health, http,
    life::Duty,
    log, machine,
    metrics::Metrics,
    node::Node,
};

/// Between two looks at a file that is waited for.
const WAITING: Duration = Duration::from_secs(1);
/// Between two looks at the secret files.
const SECRETS: Duration = Duration::from_secs(2);
/// Between two looks at the number of sessions while they drain.
const TICK: Duration = Duration::from_millis(200);
/// For the threads to end once told to.
const STOP: Duration = Duration::from_secs(2);

/// The role while it serves: what admin API, metrics and health read.
#[derive(Debug)]
pub struct Turn {
    pub shared: Arc<Shared>,
    pub secrets: Arc<SecretsHealth>,
    pub pressure: Arc<Pressure>,
    certificate: Option<Arc<Certificate>>,
    limits: Option<Arc<LimitsFile>>,
    relays: RelayAddresses,
    ports: u32,
    controls: Vec<Arc<Control>>,
}

impl Turn {
    pub fn public_addresses(&self) -> Vec<IpAddr> {
        self.relays.iter().map(|address| address.public).collect()
    }

    /// What TLS listeners show, if there are any.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// Where that is which may be changed, if it is in a file of its own.
    pub fn limits(&self) -> Option<&LimitsFile> {
        self.limits.as_deref()
    }

    /// Over all relay addresses.
    pub fn relay_ports(&self) -> u64 {
        u64::from(self.ports) * self.relays.iter().count() as u64
    }

    pub fn counters(&self) -> Counters {
        let totals = self.shared.totals();
        Counters {
            packets_to_peers: totals.packets_to_peers,
            bytes_to_peers: totals.bytes_to_peers,
            packets_to_clients: totals.packets_to_clients,
            bytes_to_clients: totals.bytes_to_clients,
            packets_dropped: totals.dropped_in_all(),
        }
    }

    pub fn shards(&self) -> impl Iterator<Item = (usize, ShardSnapshot)> {
        let indexes = (0..self.controls.len()).map(|index| (index, u16::try_from(index).unwrap_or(u16::MAX)));
        indexes.map(|(index, shard)| (index, self.shared.counters(ShardIndex(shard)).snapshot()))
    }

    pub fn io_counters(&self) -> impl Iterator<Item = (usize, &io::counters::IoCounters)> {
        self.controls.iter().map(|control| &*control.counters).enumerate()
    }

    /// The thread whose loop has not turned for the longest time.
    pub fn quietest(&self, now: Instant) -> Option<(usize, Duration)> {
        self.controls.iter().map(|control| control.quiet_for(now)).enumerate().max_by_key(|(_, quiet)| *quiet)
    }
}

/// How the secrets in force came about.
#[derive(Debug, Default)]
pub struct SecretsHealth {
    changed_at: AtomicU64,
    stale: AtomicBool,
    errors: AtomicU64,
}

/// [`SecretsHealth`] at one moment.
#[derive(Clone, Copy, Debug)]
pub struct SecretsSnapshot {
    /// Seconds since 1970.
    pub changed_at: u64,
    pub stale: bool,
    pub errors: u64,
}

impl SecretsHealth {
    fn note(&self, look: Look, now: Timestamp) {
        match look {
            Look::Same => {}
            Look::Changed => self.changed_at.store(now.as_second().unsigned_abs(), Ordering::Relaxed),
            Look::Failed => drop(self.errors.fetch_add(1, Ordering::Relaxed)),
        }
        self.stale.store(look == Look::Failed, Ordering::Relaxed);
    }

    pub fn read(&self) -> SecretsSnapshot {
        SecretsSnapshot {
            changed_at: self.changed_at.load(Ordering::Relaxed),
            stale: self.stale.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}

pub fn run(args: &TurnArgs) -> Result<(), Failure> {
    let config = config::load(&args.config, &args.overrides())?;
    let limits = load_limits(&config, args.overrides())?;
    let tls = load_tls(&config)?;
    if args.check {
        return report_check(&args.config, &config);
    }
    log::start(args.log_format);
    let descriptors = raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Running(format!("the runtime could not be started: {error}")))?;
    runtime.block_on(serve(config, limits, tls, descriptors, args.run_as))
}

/// What may be changed while the node runs, and the file that it is in, if it has one of its own.
type Limits = (Adjustable, Option<Arc<LimitsFile>>);

fn load_limits(config: &TurnConfig, overrides: Overrides) -> Result<Limits, Failure> {
    match &config.limits {
        LimitsSource::Given(adjustable) => Ok((adjustable.clone(), None)),
        LimitsSource::File(path) => {
            let (file, adjustable) = LimitsFile::load(path.clone(), overrides, Timestamp::now())?;
            Ok((adjustable, Some(Arc::new(file))))
        }
    }
}

fn load_tls(config: &TurnConfig) -> Result<Option<Arc<TlsFiles>>, Failure> {
    let tls = config.admin.as_ref().map(TlsFiles::load).transpose();
    tls.map(|tls| tls.map(Arc::new)).map_err(|error| Failure::Usage(error.to_string()))
}

fn report_check(path: &Path, config: &TurnConfig) -> Result<(), Failure> {
    super::secrets::read_file(&config.auth.current)
        .map_err(|error| Failure::Usage(format!("auth.secretFiles[0]: {}: {error}", config.auth.current.display())))?;
    config.tls.as_ref().map(Certificate::load).transpose().map_err(|error| Failure::Usage(error.to_string()))?;
    println!("{}: fine", path.display());
    Ok(())
}

/// What can be carried: as somebody wrote it, and otherwise as the machines file says of this one.
fn capacity_of(machine: &Machine, adjusted: watch::Receiver<Adjustable>) -> impl Fn() -> Capacity + use<> {
    let machine_type = machine.machine_type.clone();
    move || {
        let mut capacity = adjusted.borrow().capacity.clone();
        capacity.machine_type = capacity.machine_type.or_else(|| machine_type.clone());
        capacity
    }
}

/// What the node asks itself for, and where. None if it is told not to.
fn probed(
    config: &TurnConfig,
    relays: &RelayAddresses,
    secret: watch::Receiver<Secret>,
    adjusted: watch::Receiver<Adjustable>,
) -> Option<Probe> {
    let listeners = config.listeners.iter().map(|listener| listener.address);
    let others = config.admin.iter().map(|admin| admin.address).chain([config.metrics]);
    // A relayed port may have the number of a listener for TCP, and is something else.
    let is_no_relay = |service: &SocketAddr| !config.relay_ports.contains(service.port());
    Some(Probe {
        door: door(&config.listeners)?,
        ground: Ground {
            // Both are learned before each round.
            allow: Vec::new(),
            deny: Vec::new(),
            relays: relays.iter().collect(),
            services: listeners.chain(others).filter(is_no_relay).collect(),
        },
        interval: config.probe_interval?,
        secret,
        adjusted,
    })
}

/// Over UDP if that can be.
fn door(listeners: &[config::Listener]) -> Option<Door> {
    let udp = listeners.iter().find(|listener| listener.protocol == Protocol::Udp);
    let door = |listener: &config::Listener| match listener.protocol {
        Protocol::Udp => Door::Udp(listener.address),
        Protocol::Tcp | Protocol::Tls => Door::Tcp(listener.address),
    };
    udp.or(listeners.first()).map(door)
}

/// How many file descriptors there may be.
fn raise_limit() -> u64 {
    match io::raise_descriptor_limit() {
        Ok((soft, hard)) => {
            if soft < hard {
                tracing::info!(from = soft, to = hard, "limit on open files raised as far as it goes");
            }
            hard
        }
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised: fewer allocations fit");
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
        }
    }
}

async fn serve(
    config: TurnConfig,
    (adjustable, limits): Limits,
    tls: Option<Arc<TlsFiles>>,
    descriptors: u64,
    run_as: Option<u32>,
) -> Result<(), Failure> {
    let node = Node::new(config.hash.to_string(), Timestamp::now());
    let mut signals = Signals::catch()?;
    tracing::info!(version = crate::node::VERSION, config = %config.hash, realm = %config.realm, "starting");
    open_http(&node, &config, tls).await?;

    let Some(Inputs { machine, secrets, certificate }) = signals.unless_ended(&node, wait_for_inputs(&config)).await
    else {
        return Ok(());
    };
    let relays = machine.relays.clone();
    let listeners = open_listeners(&config, &relays, certificate.as_ref())?;
    // Before any thread and before any byte of a client.
    run_as.map_or(Ok(()), privileges::become_user).map_err(|error| Failure::Running(error.to_string()))?;
    let (shared, mut shards) =
        start_shards(&config, adjustable.terms.clone(), relays.clone(), &secrets, listeners, descriptors)?;
    let adjusted = watch::Sender::new(adjustable);
    let own = relays.iter().map(|relay| relay.local).collect();
    machine::follow(Arc::clone(&node.machine), own, capacity_of(&machine, adjusted.subscribe()));
    let secret = secrets.secrets().map(|secrets| watch::Sender::new(secrets.current));
    let peers = secret.as_ref().and_then(|secret| probed(&config, &relays, secret.subscribe(), adjusted.subscribe()));
    let pressure = pressure::follow(Arc::clone(&shared));
    let health = follow_secrets(secrets, Arc::clone(&shared), secret);
    if let Some(file) = &limits {
        tokio::spawn(limits::follow(Arc::clone(file), Arc::clone(&shared), adjusted));
    }
    node.opened(Turn {
        shared,
        secrets: health,
        pressure,
        certificate: certificate.clone(),
        limits,
        relays,
        ports: config.relay_ports.count(),
        controls: shards.controls(),
    });
    if let Some(certificate) = certificate {
        tokio::spawn(certificate::follow(certificate));
    }
    if let Some(peers) = peers {
        probe::follow(Arc::clone(&node), peers);
    }
    let ended = live(&node, &mut signals, &mut shards, config.on_terminate).await;
    shards.stop(STOP);
    tracing::info!("ended");
    ended.map_err(|error| Failure::Running(error.to_string()))
}

/// From the first allocation to the last.
async fn live(node: &Node, signals: &mut Signals, shards: &mut Shards, grace: Duration) -> Result<(), ThreadError> {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = node.changed.notified() => {}
            () = signals.next() => node.signal(Timestamp::now(), grace),
            error = shards.failed() => return Err(error),
        }
        match node.tick(Timestamp::now()) {
            Duty::Serve => {}
            Duty::CloseSessions => shards.close_all(),
            Duty::Exit => return Ok(()),
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::Running(format!("signals: {error}")));
        Ok(Self { terminate: catch(SignalKind::terminate())?, interrupt: catch(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What `work` gives, or nothing if a signal comes first: there is nothing to drain yet.
    async fn unless_ended<T>(&mut self, node: &Node, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.next() => {
                node.signal(Timestamp::now(), Duration::ZERO);
                None
            }
        }
    }
}

async fn open_http(node: &Arc<Node>, config: &TurnConfig, tls: Option<Arc<TlsFiles>>) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::new(Arc::clone(node)));
    let listener = http::listen("metrics.address", config.metrics).await?;
    tokio::spawn(http::serve(listener, None, health::router(Arc::clone(node), metrics)));
    tracing::info!(address = %config.metrics, "serving /metrics, /healthz and /readyz");
    if let (Some(tls), Some(admin)) = (tls, &config.admin) {
        let listener = http::listen("admin.address", admin.address).await?;
        tokio::spawn(http::serve(listener, Some(Arc::clone(&tls)), admin::router(Arc::clone(node))));
        tokio::spawn(admin::tls::follow(tls));
        tracing::info!(address = %admin.address, "serving the admin API");
    }
    Ok(())
}

/// What the node cannot start without and may have to wait for.
struct Inputs {
    machine: Machine,
    secrets: Follower,
    certificate: Option<Arc<Certificate>>,
}

/// Alive, not ready.
async fn wait_for_inputs(config: &TurnConfig) -> Inputs {
    let machine = this_machine(config).await;
    let mut secrets = Follower::new(config.auth.clone());
    secrets.look();
    while secrets.secrets().is_none() {
        sleep(WAITING).await;
        secrets.look();
    }
    let certificate = match &config.tls {
        Some(files) => Some(wait_for_certificate(files).await),
        None => None,
    };
    Inputs { machine, secrets, certificate }
}

async fn wait_for_certificate(files: &config::Tls) -> Arc<Certificate> {
    let mut said = String::new();
    loop {
        match Certificate::load(files) {
            Ok(certificate) => {
                tracing::info!(not_after = %certificate.status().not_after, "the certificate of TLS listeners is loaded");
                return Arc::new(certificate);
            }
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                tracing::warn!(%error, "waiting for the certificate of TLS listeners: looking again every second");
            }
            Err(_) => {}
        }
        sleep(WAITING).await;
    }
}

async fn this_machine(config: &TurnConfig) -> Machine {
    // Each reason to wait is said once.
    let mut said = String::new();
    loop {
        let why = match &config.relay_addresses {
            RelaySource::Given(relays) => return Machine { relays: relays.clone(), machine_type: None },
            RelaySource::Detect => match addresses::choose(&config.listeners, addresses::default_route) {
                Some(relays) => {
                    let found: Vec<_> = relays.iter().map(|address| address.local).collect();
                    tracing::info!(addresses = ?found, "relay.addresses is left out: relaying on the listeners' addresses or those of the default route");
                    return Machine { relays, machine_type: None };
                }
                None => "relay.addresses: there is no default route to find an address by: write the address that packets arrive at".to_owned(),
            },
            RelaySource::Machines { file, machine } => match config::find_machine(file, machine) {
                Ok(Found::Machine(machine)) => return machine,
                Ok(Found::NotYet) => {
                    format!("relay.machinesFile: {} has no addresses for {machine} yet", file.display())
                }
                Err(error) => error.to_string(),
            },
        };
        if said != why {
            tracing::warn!(reason = why, "waiting for the addresses to relay on");
            said = why;
        }
        sleep(WAITING).await;
    }
}

fn running(error: &dyn std::error::Error) -> Failure {
    Failure::Running(error.to_string())
}

fn open_listeners(
    config: &TurnConfig,
    relays: &RelayAddresses,
    certificate: Option<&Arc<Certificate>>,
) -> Result<Listeners, Failure> {
    let threads = match config.threads {
        Threads::OneACore => io::default_threads(),
        Threads::Exactly(threads) => threads,
    };
    addresses::check(relays).map_err(|error| running(&error))?;
    warn_of_ports(config);
    let (mut datagrams, mut streams) = (Vec::new(), Vec::new());
    for (index, &config::Listener { protocol, address }) in config.listeners.iter().enumerate() {
        match protocol {
            Protocol::Udp => datagrams.push((index, address)),
            Protocol::Tcp => streams.push(StreamAddress { index, address, transport: Transport::Tcp }),
            Protocol::Tls => streams.push(StreamAddress { index, address, transport: Transport::Tls }),
        }
    }
    let unopened = |error: ListenError| running(&error);
    let udp = io::open_listeners(&datagrams, threads.get()).map_err(unopened)?;
    for listener in udp.iter().take(1).flatten() {
        let (receive, send) = listener.buffers();
        tracing::info!(
            address = %listener.bound(), threads, asked = io::asked_buffer(), receive, send,
            "listening; socket buffers in bytes, as the kernel counts them (twice what it gave)"
        );
    }
    let opened = io::open_stream_listeners(&streams, threads.get()).map_err(unopened)?;
    for StreamAddress { address, transport, .. } in streams {
        tracing::info!(%address, ?transport, threads, "listening");
    }
    let tls = certificate.map(|certificate| certificate::server_config(Arc::clone(certificate))).transpose();
    Ok(Listeners { udp, streams: opened, tls: tls.map_err(|error| running(&error))? })
}

fn start_shards(
    config: &TurnConfig,
    terms: Terms,
    relays: RelayAddresses,
    secrets: &Follower,
    listeners: Listeners,
    descriptors: u64,
) -> Result<(Arc<Shared>, Shards), Failure> {
    let secrets: Secrets =
        secrets.secrets().ok_or_else(|| Failure::Running("auth.secretFiles: no secret".to_owned()))?;
    let mut nonce_key = [0; 32];
    getrandom::fill(&mut nonce_key).map_err(|error| running(&error))?;
    let quota = terms.quotas.total;
    let server = Arc::new(server_config(config, terms, relays));
    let shards = u16::try_from(listeners.udp.len()).unwrap_or(u16::MAX);
    let shared = Shared::new(&server, shards, secrets, nonce_key);
    addresses::follow(Arc::clone(&shared));
    let sockets = io::relay_descriptors(descriptors, listeners.descriptors());
    if sockets < u64::from(quota) {
        tracing::info!(
            open_files = descriptors,
            sockets,
            quota,
            "fewer allocations than quotas.allocations fit into the limit on open files: raise the hard limit for more"
        );
    }
    let shards = Shards::start(&server, &shared, listeners, sockets).map_err(|error| running(&error))?;
    Ok((shared, shards))
}

fn server_config(config: &TurnConfig, terms: Terms, relays: RelayAddresses) -> ServerConfig {
    for address in relays.iter() {
        tracing::info!(
            address = %address.local, public = %address.public,
            ports = format!("{}-{}", config.relay_ports.first(), config.relay_ports.last()), "relaying"
        );
    }
    ServerConfig {
        mobility: config.mobility,
        terms,
        ..ServerConfig::new(config.realm.clone(), relays, config.relay_ports)
    }
}

fn warn_of_ports(config: &TurnConfig) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let settings =
        warnings::PortSettings { local_range: read("ip_local_port_range"), reserved: read("ip_local_reserved_ports") };
    for warning in warnings::of_ports(config.relay_ports, &settings) {
        tracing::warn!("{warning}");
    }
}

fn follow_secrets(
    mut follower: Follower,
    shared: Arc<Shared>,
    current: Option<watch::Sender<Secret>>,
) -> Arc<SecretsHealth> {
    let health = Arc::<SecretsHealth>::default();
    health.note(Look::Changed, Timestamp::now());
    let noted = Arc::clone(&health);
    tokio::spawn(async move {
        loop {
            sleep(SECRETS).await;
            let look = follower.look();
            noted.note(look, Timestamp::now());
            if let (Look::Changed, Some(secrets)) = (look, follower.secrets()) {
                tracing::info!(previous = secrets.previous.is_some(), "other secrets are in force from now on");
                let latest = secrets.current.clone();
                shared.set_secrets(secrets);
                if let Some(current) = &current {
                    current.send_replace(latest);
                }
            }
        }
    });
    health
}
