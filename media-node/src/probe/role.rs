//! `media-node probe` while it serves: from the configuration file to the exit code.

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    board::Board,
    config::{Addresses, ProbeConfig},
    http::{self as own_http, Put, Taker},
    loaded::{InForce, Loaded, Place, Replaced},
    metrics::ProbeCollector,
    once,
    rounds::Rounds,
};
use crate::{
    admin::{self, tls::TlsFiles},
    cli::{Failure, ProbeArgs},
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
    let loaded = Loaded::read(Place { path: path.clone(), addresses })?;
    let admin = loaded.in_force().config.admin.as_ref().map(TlsFiles::load).transpose();
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
    runtime.block_on(serve(loaded, admin, args.accept_config, args.user.as_str().into()))
}

/// One thread: a probe waits nearly all of its time.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Running(format!("the runtime could not be started: {error}")))
}

async fn serve(
    mut loaded: Loaded,
    admin: Option<Arc<TlsFiles>>,
    accepts_config: bool,
    user: Arc<str>,
) -> Result<(), Failure> {
    let catch = |kind| signal(kind).map_err(|error| Failure::Running(format!("signals: {error}")));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    let InForce { config, tls, .. } = loaded.in_force();
    tracing::info!(version = crate::node::VERSION, config = %config.hash, "starting");
    let board = Arc::new(Board::default());
    let (put, mut puts) = mpsc::channel(1);
    let taker = accepts_config.then(|| Taker { place: loaded.place().clone(), puts: put });
    open_http(&board, config, admin, taker).await?;
    let mut rounds = Rounds::new(board.clone(), user);
    rounds.configure(config, tls.clone(), false);
    tracing::info!(targets = config.targets.len(), interval = ?config.settings.interval, "probing");
    let (mut files, mut credentials) = (interval(CONFIG), interval(CREDENTIALS));
    files.set_missed_tick_behavior(MissedTickBehavior::Delay);
    credentials.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        tokio::select! {
            _ = files.tick() => look_at_files(&mut loaded, &mut rounds, &board, &mut said),
            _ = credentials.tick() => rounds.look_at_credentials(),
            Some(Put { next, answer }) = puts.recv() => {
                let replaced = loaded.put(next);
                follow(replaced, &loaded, &mut rounds);
                // Whoever asked may have left.
                let _ = answer.send(loaded.in_force().config.hash.clone());
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    rounds.end(FAREWELL).await;
    tracing::info!("ended");
    Ok(())
}

/// What is wrong with the files is said once, and leaves what was.
fn look_at_files(loaded: &mut Loaded, rounds: &mut Rounds, board: &Board, said: &mut String) {
    match loaded.look() {
        Ok(replaced) => {
            follow(replaced, loaded, rounds);
            said.clear();
            board.set_config_stale(false);
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

/// Probes by another configuration, if there is one.
fn follow(replaced: Option<Replaced>, loaded: &Loaded, rounds: &mut Rounds) {
    let (Some(replaced), now) = (replaced, loaded.in_force()) else { return };
    if replaced.was_served_elsewhere(now) {
        tracing::warn!("admin and metrics have changed in the configuration: restart the process for them");
    }
    rounds.configure(&now.config, now.tls.clone(), replaced.had_other_authorities(now));
    tracing::info!(targets = now.config.targets.len(), config = %now.config.hash, "another configuration is in force");
}

async fn open_http(
    board: &Arc<Board>,
    config: &ProbeConfig,
    admin: Option<Arc<TlsFiles>>,
    taker: Option<Taker>,
) -> Result<(), Failure> {
    let metrics = Arc::new(Metrics::of(ProbeCollector(Arc::clone(board))));
    let listener = http::listen("metrics.address", config.metrics).await?;
    tokio::spawn(http::serve(listener, None, own_http::plain(metrics)));
    tracing::info!(address = %config.metrics, "serving /metrics, /healthz and /readyz");
    if let (Some(tls), Some(admin)) = (admin, &config.admin) {
        let listener = http::listen("admin.address", admin.address).await?;
        tokio::spawn(http::serve(listener, Some(Arc::clone(&tls)), own_http::admin(Arc::clone(board), taker)));
        tokio::spawn(admin::tls::follow(tls));
        tracing::info!(address = %admin.address, "serving the admin API");
    }
    Ok(())
}
