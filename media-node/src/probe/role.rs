//! `media-node probe` while it serves: from the configuration file to the exit code.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rtcfleet_node_api::Transport;
use rustls::ClientConfig;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    board::Board,
    config::{self, Addresses, ProbeConfig},
    http as own_http,
    metrics::ProbeCollector,
    once,
    rounds::Rounds,
    tls,
};
use crate::{
    admin::{self, tls::TlsFiles},
    cli::{Failure, ProbeArgs},
    config::{ConfigError, read_text},
    http, log,
    metrics::Metrics,
    turn::io::raise_descriptor_limit,
};

/// Between two looks at the configuration file and the authorities.
const CONFIG: Duration = Duration::from_secs(1);
/// Between two looks at secrets and passwords.
const CREDENTIALS: Duration = Duration::from_secs(2);
/// For probes to give back their allocations once the process is told to end.
const FAREWELL: Duration = Duration::from_secs(2);

pub fn run(args: &ProbeArgs) -> Result<(), Failure> {
    if args.once {
        return once::run(args);
    }
    let Some(path) = &args.config else {
        return Err(Failure::Usage(
            "probe: --config FILE is missing: write it, or --once --target turn:HOST:PORT for one look".to_owned(),
        ));
    };
    let addresses = Addresses { metrics: args.metrics_address, admin: args.admin_address };
    let loaded = Loaded::read(path, addresses)?;
    let admin = loaded.config.admin.as_ref().map(TlsFiles::load).transpose();
    let admin = admin.map_err(|error| Failure::Usage(error.to_string()))?.map(Arc::new);
    if args.check {
        println!("{}: fine", path.display());
        return Ok(());
    }
    log::start(args.log_format);
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "the limit on open files could not be raised: fewer probes run at one time");
    }
    let runtime = runtime()?;
    runtime.block_on(serve(path.clone(), addresses, loaded, admin, args.user.as_str().into()))
}

/// One thread: a probe waits nearly all of its time.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Running(format!("the runtime could not be started: {error}")))
}

/// The files as they were when they were read last, and what was made of them.
struct Loaded {
    text: String,
    authorities: Option<Vec<u8>>,
    config: ProbeConfig,
    tls: Option<Arc<ClientConfig>>,
}

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Roots(#[from] tls::RootsError),
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Config(error) => Self::Config(error),
            LoadError::Roots(error) => Self::Usage(error.to_string()),
        }
    }
}

impl Loaded {
    fn read(path: &Path, addresses: Addresses) -> Result<Self, LoadError> {
        let text = read_text(path)?;
        let config = config::parse_file(path, &text, addresses)?;
        let authorities = read_authorities(config.ca_file.as_ref());
        let needs_tls = config.targets.iter().any(|target| target.endpoint.transport == Transport::Tls);
        let tls = match (needs_tls, &config.ca_file) {
            (false, _) => None,
            (true, file) => Some(tls::client_config(file.as_deref(), "caFile")?),
        };
        Ok(Self { text, authorities, config, tls })
    }

    /// What the files hold now, if that is something else.
    fn renew(&self, path: &Path, addresses: Addresses) -> Result<Option<Self>, LoadError> {
        let same = read_text(path)? == self.text && read_authorities(self.config.ca_file.as_ref()) == self.authorities;
        if same { Ok(None) } else { Self::read(path, addresses).map(Some) }
    }
}

fn read_authorities(path: Option<&PathBuf>) -> Option<Vec<u8>> {
    path.and_then(|path| std::fs::read(path).ok())
}

async fn serve(
    path: PathBuf,
    addresses: Addresses,
    mut loaded: Loaded,
    admin: Option<Arc<TlsFiles>>,
    user: Arc<str>,
) -> Result<(), Failure> {
    let catch = |kind| signal(kind).map_err(|error| Failure::Running(format!("signals: {error}")));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    tracing::info!(version = crate::node::VERSION, config = %loaded.config.hash, "starting");
    let board = Arc::new(Board::default());
    open_http(&board, &loaded.config, admin).await?;
    let mut rounds = Rounds::new(board.clone(), user);
    rounds.configure(&loaded.config, loaded.tls.clone(), false);
    tracing::info!(targets = loaded.config.targets.len(), interval = ?loaded.config.settings.interval, "probing");
    let (mut files, mut credentials) = (interval(CONFIG), interval(CREDENTIALS));
    files.set_missed_tick_behavior(MissedTickBehavior::Delay);
    credentials.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        tokio::select! {
            _ = files.tick() => look_at_files(&path, addresses, &mut loaded, &mut rounds, &board, &mut said),
            _ = credentials.tick() => rounds.look_at_credentials(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    rounds.end(FAREWELL).await;
    tracing::info!("ended");
    Ok(())
}

/// What is wrong with the files is said once, and leaves what was.
fn look_at_files(
    path: &Path,
    addresses: Addresses,
    loaded: &mut Loaded,
    rounds: &mut Rounds,
    board: &Board,
    said: &mut String,
) {
    match loaded.renew(path, addresses) {
        Ok(None) => {
            said.clear();
            board.set_config_stale(false);
        }
        Ok(Some(next)) => {
            let before = std::mem::replace(loaded, next);
            if (&before.config.admin, before.config.metrics) != (&loaded.config.admin, loaded.config.metrics) {
                tracing::warn!("admin and metrics have changed in the configuration: restart the process for them");
            }
            let tls_changed =
                before.authorities != loaded.authorities || before.config.ca_file != loaded.config.ca_file;
            rounds.configure(&loaded.config, loaded.tls.clone(), tls_changed);
            said.clear();
            tracing::info!(targets = loaded.config.targets.len(), config = %loaded.config.hash, "another configuration is in force");
        }
        Err(error) => {
            board.set_config_stale(true);
            let error = error.to_string();
            if *said != error {
                tracing::warn!(%error, "the configuration cannot be used: the last one stays in force");
                *said = error;
            }
        }
    }
}

async fn open_http(board: &Arc<Board>, config: &ProbeConfig, admin: Option<Arc<TlsFiles>>) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::of(ProbeCollector(Arc::clone(board))));
    let listener = http::listen("metrics.address", config.metrics).await?;
    tokio::spawn(http::serve(listener, None, own_http::plain(metrics)));
    tracing::info!(address = %config.metrics, "serving /metrics, /healthz and /readyz");
    if let (Some(tls), Some(admin)) = (admin, &config.admin) {
        let listener = http::listen("admin.address", admin.address).await?;
        tokio::spawn(http::serve(listener, Some(Arc::clone(&tls)), own_http::admin(Arc::clone(board))));
        tokio::spawn(admin::tls::follow(tls));
        tracing::info!(address = %admin.address, "serving the admin API");
    }
    Ok(())
}
