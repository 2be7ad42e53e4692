//! `operator run`: from the first log line to the released lease.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config,
    runtime::{conditions::is_crd_established, wait::Condition as _},
};
use rand::{
    Rng as _, SeedableRng as _,
    rngs::{StdRng, SysRng},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};

use crate::{
    admin::{self, Health, ServeError},
    backoff::Backoff,
    ca,
    cli::Run,
    clock::{Clock, SystemClock},
    cluster_networks,
    context::{Ctx, Settings},
    decisions::Decisions,
    dnsfailover,
    error::{Categorised as _, Category, with_causes},
    host_port::host_port,
    kube_io::{self, IoError, Recorder},
    leader::{self, Candidate, Elector, Ended, KubeLease, Leadership, Lost, Timing},
    logging,
    metrics::Metrics,
    node_client::NodeClient,
    turnregion::{self, caches::Caches, offer::Offers},
};

/// The kinds that must be there before anything is watched.
pub(crate) const CRDS: [&str; 2] = ["dnsfailovers.rtcfleet.dev", "turnregions.rtcfleet.dev"];
/// Between two looks for them.
const CRD_POLL: Duration = Duration::from_secs(2);
/// After SIGTERM, reconciles in progress get this long before the lease is released over them: less than the pod's grace
/// period, more than [`kube_io::CALL_TIMEOUT`].
const STOPPING: Duration = Duration::from_secs(20);
/// The election looks or renews every 2 s, and waits for no answer longer than that.
const ELECTION_SILENCE: Duration = Duration::from_secs(30);

/// The lease went to somebody else, or may have: the container is started again and stands by.
const EXIT_LEASE_LOST: u8 = 3;

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("no cluster: neither in a pod nor with a kubeconfig; set KUBECONFIG")]
    Config(#[source] kube::config::InferConfigError),
    #[error("the client for the API server cannot be made")]
    Client(#[source] kube::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("random numbers are not to be had")]
    Random(#[source] rand::rngs::SysError),
    #[error("signals cannot be watched")]
    Signals(#[source] std::io::Error),
}

/// What ends the process.
#[derive(Debug)]
enum End {
    /// Asked to by a signal.
    Stopped,
    Lost(Lost),
}

/// Runs until a signal, or until the lease is lost.
pub async fn run(args: Run) -> ExitCode {
    logging::init(args.log_format);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace = args.namespace, pod = args.pod_name, "starting");
    match Box::pin(lead(args)).await {
        Ok(End::Stopped) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(End::Lost(lost)) => {
            tracing::error!(reason = %lost, "lost the lease: leaving, so that two never act");
            ExitCode::from(EXIT_LEASE_LOST)
        }
        Err(error) => {
            tracing::error!(error = with_causes(&error), "cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn lead(args: Run) -> Result<End, StartError> {
    let mut shutdown = Shutdown::on_signals()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut rng = StdRng::try_from_rng(&mut SysRng).map_err(StartError::Random)?;
    let metrics = Metrics::new();
    let decisions = Decisions::new(metrics.clone());
    let (health, leadership) = (Health::default(), Leadership::default());
    let config = Config::infer().await.map_err(StartError::Config)?;
    let client = kube_io::client(kube_io::config(config.clone()), &metrics).map_err(StartError::Client)?;

    // First, so that the probes are answered while the cluster is waited for.
    serve(&args, &health, &metrics, &decisions, &leadership).await?;
    if shutdown.or(wait_for_crds(&client, &health)).await.is_none() {
        return Ok(End::Stopped);
    }

    let lease_client = kube_io::client(leader::client_config(config), &metrics).map_err(StartError::Client)?;
    let mut elector = Elector::new(
        Candidate::new(leader::identity(&args.pod_name, rng.next_u32()), Timing::default()),
        KubeLease::new(lease_client, &args.namespace, &args.lease_name, Arc::clone(&clock)),
        StdRng::from_rng(&mut rng),
        leadership.clone(),
        metrics.clone(),
        health.expect_beats("election", ELECTION_SILENCE),
    );
    if shutdown.or(elector.acquire()).await.is_none() {
        return Ok(End::Stopped);
    }

    // On a task of its own: a long poll of a reconcile must not delay a renewal.
    let (finished, stop) = oneshot::channel();
    let mut keeping = tokio::spawn(async move { elector.keep(stop).await });
    let act = act(args, client, metrics, decisions, health, leadership, clock, rng.next_u64(), shutdown);
    tokio::select! {
        biased;
        ended = &mut keeping => return Ok(ended_early(ended)),
        () = act => {}
    }
    drop(finished);
    Ok(match keeping.await {
        Ok(Ended::Lost(lost)) => End::Lost(lost),
        Ok(Ended::Released) | Err(_) => End::Stopped,
    })
}

/// The keeper was not told to stop, so whatever ended it, the lease is not sure to be ours.
fn ended_early(ended: Result<Ended, tokio::task::JoinError>) -> End {
    match ended {
        Ok(Ended::Lost(lost)) => End::Lost(lost),
        Ok(Ended::Released) => End::Lost(Lost::Deadline),
        Err(error) => {
            tracing::error!(%error, "the election ended by itself");
            End::Lost(Lost::Deadline)
        }
    }
}

/// What the leader does, until `shutdown`.
#[allow(clippy::too_many_arguments, reason = "the parts of one Ctx, made here")]
async fn act(
    args: Run,
    client: Client,
    metrics: Metrics,
    decisions: Decisions,
    health: Health,
    leadership: Leadership,
    clock: Arc<dyn Clock>,
    seed: u64,
    mut shutdown: Shutdown,
) {
    let backoff = Backoff::new(seed);
    let Some(ca) = shutdown.or(the_ca(&client, &args.namespace, &clock, &backoff)).await else { return };
    let networks = cluster_networks::known(&client, &args.cluster_networks, &backoff);
    let Some(cluster_networks) = shutdown.or(networks).await else { return };
    let ca = Arc::new(ca);
    let ctx = Arc::new(Ctx {
        recorder: Recorder::new(client.clone(), &args.pod_name, Arc::clone(&clock), metrics.clone()),
        node_api: Arc::new(NodeClient::new(Arc::clone(&ca), Arc::clone(&clock))),
        settings: Settings {
            namespace: args.namespace,
            pod_name: args.pod_name,
            pod_ip: args.pod_ip,
            api_server: args.kubernetes_service_host.map(|host| host_port(&host, args.kubernetes_service_port)),
            media_node_image: args.media_node_image,
            cluster_networks,
            azure: args.azure.cloud(),
        },
        client,
        metrics,
        decisions,
        backoff,
        ca,
        clock,
        health,
        leadership,
        offers: Offers::default(),
    });
    let mut stopping = shutdown.clone();
    let until = |mut shutdown: Shutdown| async move { shutdown.requested().await };
    let (caches, triggers) = Caches::new(&ctx.client);
    let regions = turnregion::run(Arc::clone(&ctx), caches.clone(), triggers, until(shutdown.clone()));
    let names = dnsfailover::run(ctx, caches, until(shutdown));
    tokio::select! {
        _ = async { tokio::join!(regions, names) } => {}
        () = async { stopping.requested().await; tokio::time::sleep(STOPPING).await } => {
            tracing::warn!(waited = ?STOPPING, "reconciles are still in progress: leaving them");
        }
    }
}

/// The fleet's CA, asked for until it is there: without it no node can be spoken to.
async fn the_ca(client: &Client, namespace: &str, clock: &Arc<dyn Clock>, backoff: &Backoff) -> ca::Ca {
    let secret = crate::decisions::ObjectRef::new("Secret", namespace, ca::SECRET);
    loop {
        match ca::load_or_create(client.clone(), namespace, clock.now()).await {
            Ok(ca) => {
                backoff.forget(&secret);
                return ca;
            }
            Err(error) => {
                // Not watched, so a person's repair is looked for as often as anything else's.
                let wait = backoff.next(&secret, Category::Retry);
                tracing::error!(
                    reason = error.reason(),
                    ?wait,
                    error = with_causes(&error),
                    "no CA for the nodes' admin port"
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn serve(
    args: &Run,
    health: &Health,
    metrics: &Metrics,
    decisions: &Decisions,
    leadership: &Leadership,
) -> Result<(), ServeError> {
    let public = admin::bind("--admin-address", args.admin_address).await?;
    let private = admin::bind_loopback("--decisions-address", args.decisions_address).await?;
    tokio::spawn(admin::serve(public, admin::public(health.clone(), metrics.clone())));
    tokio::spawn(admin::serve(private, admin::private(decisions.clone(), leadership.clone())));
    Ok(())
}

/// Until every kind is there. Says what to install while one is not.
async fn wait_for_crds(client: &Client, health: &Health) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    for name in CRDS {
        let mut told: Option<(String, Instant)> = None;
        loop {
            let problem = match kube_io::get(&api, name).await {
                Ok(crd) => {
                    health.reached_api();
                    if is_crd_established().matches_object(crd.as_ref()) {
                        break;
                    }
                    format!(
                        "CustomResourceDefinition {name} is not established: install it with the chart (helm upgrade --install rtc-fleet charts/rtc-fleet), or kubectl apply -f crds/generated/"
                    )
                }
                Err(error) => unreadable(&error),
            };
            let repeated =
                told.as_ref().is_some_and(|(last, at)| *last == problem && at.elapsed() < Duration::from_secs(30));
            if !repeated {
                tracing::warn!("{problem}");
                told = Some((problem, Instant::now()));
            }
            tokio::time::sleep(CRD_POLL).await;
        }
    }
    health.established_crds();
}

fn unreadable(error: &IoError) -> String {
    format!("waiting for the API server: {}", with_causes(error))
}

/// SIGTERM or SIGINT, for as many as want to know.
#[derive(Clone)]
struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    fn on_signals() -> Result<Self, StartError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            tell.send_replace(true);
            // A receiver whose sender is gone would see an error instead of the value.
            tell.closed().await;
        });
        Ok(Self(told))
    }

    async fn requested(&mut self) {
        // An error means that the signals' task is gone, which it never is before the receivers.
        let _ = self.0.wait_for(|requested| *requested).await;
    }

    /// The result of `work`, or `None` if a signal comes first.
    async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.requested() => None,
            done = work => Some(done),
        }
    }
}
