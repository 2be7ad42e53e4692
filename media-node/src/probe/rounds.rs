//! Targets, each probed again and again in a task of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rtcfleet_node_api::Transport;
use rustls::ClientConfig;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    board::{Board, News, Skip},
    canary::{self, Spot},
    config::{AuthBook, ProbeConfig, Settings},
    credentials::{Credentials, Followed, Source},
    fault::Fault,
    metrics::stage_label,
    pace::Pace,
    reach::{self, Finding, NoSocket, Way},
    resolve::Resolver,
    security::{self, Doubts},
    session::{Echo, Plan, Report},
    target::{Key, Target, transport_label, turn},
};
use crate::turn::probe::random;

/// Over which the first probes of many targets are spread, or over the interval if that is shorter.
const SPREAD: Duration = Duration::from_secs(10);
/// Looks at what must be refused at one time.
const SECURITY_LOOKS: usize = 32;
/// Between two looks at how late this thread is.
const LATENESS: Duration = Duration::from_millis(100);
/// For a canary's answer, or the interval if that is shorter.
const CANARY: Duration = Duration::from_secs(1);

/// What every probe needs.
#[derive(Debug)]
pub struct Common {
    settings: Settings,
    /// None if no target needs it.
    tls: Option<Arc<ClientConfig>>,
    board: Arc<Board>,
    resolver: Resolver,
    slots: Arc<Semaphore>,
    security_slots: Arc<Semaphore>,
}

impl Common {
    pub fn new(config: &ProbeConfig, tls: Option<Arc<ClientConfig>>, board: Arc<Board>) -> Self {
        Self {
            settings: config.settings.clone(),
            tls,
            board,
            resolver: Resolver::default(),
            slots: Arc::new(Semaphore::new(config.concurrency)),
            security_slots: Arc::new(Semaphore::new(SECURITY_LOOKS)),
        }
    }
}

/// A prober with its targets.
#[derive(Debug)]
pub struct Rounds {
    board: Arc<Board>,
    /// Whom servers' quotas count.
    user: Arc<str>,
    running: BTreeMap<Key, Running>,
    vault: Vec<Kept>,
    spots: Option<watch::Sender<()>>,
    tasks: JoinSet<()>,
    /// What the running targets were started with.
    before: Option<(Settings, usize, AuthBook, Vec<Spot>)>,
}

/// Ends its tasks, after what they are at, when it is dropped.
#[derive(Debug)]
struct Running {
    target: Target,
    source: Source,
    _stop: watch::Sender<()>,
}

/// Credentials that are followed.
#[derive(Debug)]
struct Kept {
    followed: Followed,
    latest: watch::Sender<Option<Credentials>>,
}

impl Rounds {
    pub fn new(board: Arc<Board>, user: Arc<str>) -> Self {
        Self {
            board,
            user,
            running: BTreeMap::new(),
            vault: Vec::new(),
            spots: None,
            tasks: JoinSet::new(),
            before: None,
        }
    }

    /// These targets from now on. Those that are the same as before, under the same settings, are not disturbed, unless
    /// `tls` is another.
    pub fn configure(&mut self, config: &ProbeConfig, tls: Option<Arc<ClientConfig>>, tls_changed: bool) {
        let now = (config.settings.clone(), config.concurrency, config.auth.clone(), config.canary.clone());
        let same = |before: &(Settings, usize, AuthBook, Vec<Spot>)| (&before.0, before.1) == (&now.0, now.1);
        let undisturbed = self.before.as_ref().is_some_and(same) && !tls_changed;
        let same_spots = self.before.as_ref().is_some_and(|before| before.3 == now.3) && undisturbed;
        self.before = Some(now);
        let wanted: BTreeMap<Key, (&Target, &Source)> = config
            .targets
            .iter()
            .filter_map(|target| Some((target.key(), (target, config.auth.find(target)?))))
            .collect();
        self.follow_sources(wanted.values().map(|(_, source)| *source).collect());
        let keys: BTreeSet<Key> = wanted.keys().cloned().collect();
        self.board.configure(&keys, config.canary.len(), config.settings.interval, config.hash.clone());
        self.running.retain(|key, running| {
            let stays = wanted.get(key).is_some_and(|wanted| wanted.0 == &running.target);
            if !stays {
                self.board.forget(key);
            }
            stays && undisturbed && wanted.get(key).is_some_and(|wanted| wanted.1 == &running.source)
        });
        let common = Arc::new(Common::new(config, tls, Arc::clone(&self.board)));
        for (key, (target, source)) in wanted {
            if !self.running.contains_key(&key) {
                self.start(target.clone(), source.clone(), &common);
            }
        }
        if !same_spots {
            self.spots = Some(self.watch_spots(&config.canary, &common));
        }
        // Finished ones are not needed any more.
        while self.tasks.try_join_next().is_some() {}
    }

    fn start(&mut self, target: Target, source: Source, common: &Arc<Common>) {
        let Some(credentials) = self.credentials(&source) else { return };
        let (stop, stopped) = watch::channel(());
        let caller = Caller { target: target.clone(), common: Arc::clone(common), credentials, stopped };
        if caller.common.settings.security_interval.is_some() {
            self.tasks.spawn(caller.clone().look_for_holes());
        }
        self.tasks.spawn(caller.probe_for_ever());
        self.running.insert(target.key(), Running { target, source, _stop: stop });
    }

    fn credentials(&self, source: &Source) -> Option<watch::Receiver<Option<Credentials>>> {
        let kept = self.vault.iter().find(|kept| kept.followed.source() == source)?;
        Some(kept.latest.subscribe())
    }

    fn follow_sources(&mut self, mut wanted: Vec<&Source>) {
        wanted.dedup();
        self.vault.retain(|kept| wanted.contains(&kept.followed.source()));
        for source in wanted {
            if self.vault.iter().any(|kept| kept.followed.source() == source) {
                continue;
            }
            let mut followed = Followed::new(source.clone(), Arc::clone(&self.user));
            followed.look();
            let latest = watch::Sender::new(followed.credentials());
            self.vault.push(Kept { followed, latest });
        }
    }

    /// Reads secrets and passwords again.
    pub fn look_at_credentials(&mut self) {
        for Kept { followed, latest } in &mut self.vault {
            if followed.look() {
                latest.send_replace(followed.credentials());
                tracing::info!("other credentials are in force");
            }
        }
    }

    fn watch_spots(&mut self, spots: &[Spot], common: &Arc<Common>) -> watch::Sender<()> {
        let (stop, stopped) = watch::channel(());
        for spot in spots {
            let (spot, common, mut stopped) = (spot.clone(), Arc::clone(common), stopped.clone());
            self.tasks.spawn(async move {
                let pause = CANARY.max(common.settings.interval.min(SPREAD));
                loop {
                    if canary::answers(&spot, &common.resolver, CANARY).await {
                        common.board.spot_answered(Instant::now());
                    }
                    tokio::select! {
                        () = sleep(jittered(pause, random())) => {}
                        _ = stopped.changed() => return,
                    }
                }
            });
        }
        self.tasks.spawn(watch_itself(Arc::clone(common), stopped));
        stop
    }

    /// Begins nothing any more, and waits until every allocation is given back, or `patience` is over.
    pub async fn end(&mut self, patience: Duration) {
        self.running.clear();
        self.spots = None;
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(patience, all).await;
    }
}

/// Whether this thread comes to its work in time. All probes are on it.
async fn watch_itself(common: Arc<Common>, mut stopped: watch::Receiver<()>) {
    let most = canary::may_be_late(common.settings.timeout);
    loop {
        let due = Instant::now() + LATENESS;
        tokio::select! {
            () = sleep_until(due.into()) => {}
            _ = stopped.changed() => return,
        }
        let now = Instant::now();
        if now.saturating_duration_since(due) > most {
            common.board.starved(now);
        }
    }
}

/// One target in its tasks.
#[derive(Clone, Debug)]
struct Caller {
    target: Target,
    common: Arc<Common>,
    credentials: watch::Receiver<Option<Credentials>>,
    stopped: watch::Receiver<()>,
}

impl Caller {
    fn is_stopped(&self) -> bool {
        self.stopped.has_changed().is_err()
    }

    /// Until `at`, or false if it is to end.
    async fn wait_until(&mut self, at: Instant) -> bool {
        tokio::select! {
            () = sleep_until(at.into()) => !self.is_stopped(),
            _ = self.stopped.changed() => false,
        }
    }

    async fn probe_for_ever(mut self) {
        let interval = self.common.settings.interval;
        let mut at = Instant::now() + share(interval.min(SPREAD), random());
        // Where to begin among the addresses of a name.
        let mut number = u64::from(random());
        while self.wait_until(at).await {
            self.probe(number).await;
            number = number.wrapping_add(1);
            at += jittered(interval, random());
            while at <= Instant::now() {
                self.common.board.skip(Skip::Overlap, Instant::now());
                at += interval;
            }
        }
    }

    async fn probe(&self, number: u64) {
        let Common { settings, board, slots, .. } = &*self.common;
        let skip = |why| board.skip(why, Instant::now());
        let Some(credentials) = self.credentials.borrow().clone() else { return skip(Skip::NoCredentials) };
        let Ok(_slot) = slots.try_acquire() else { return skip(Skip::Concurrency) };
        let tell = |address, finding| self.tell(address, finding);
        match probe_once(&self.target, &self.common, settings, &credentials, number, tell).await {
            Ok(()) => {}
            Err(NoSocket(error)) => {
                tracing::debug!(%error, "a probe had no socket");
                skip(Skip::NoSocket);
            }
        }
    }

    fn tell(&self, address: Option<SocketAddr>, finding: Finding) {
        if self.is_stopped() {
            return;
        }
        let fault = finding.report.fault.clone();
        let news = self.common.board.take(&self.target, address, finding, Timestamp::now(), Instant::now());
        let (target, transport) = (&self.target.name, transport_label(self.target.endpoint.transport));
        match (news, fault) {
            (News::None, _) => {}
            (_, None) => tracing::info!(target_name = %target, transport, "a caller can use this target"),
            (_, Some(Fault { stage, code, detail })) => {
                let stage = stage_label(stage);
                tracing::warn!(target_name = %target, transport, stage, code, detail, "a caller cannot use this target");
            }
        }
    }

    /// Of a target that fails, nothing is asked.
    async fn look_for_holes(mut self) {
        let Some(interval) = self.common.settings.security_interval else { return };
        let mut at = Instant::now() + share(interval, random());
        while self.wait_until(at).await {
            at = Instant::now() + jittered(interval, random());
            let common = Arc::clone(&self.common);
            let Some(address) = common.board.last_good_address(&self.target.key()) else { continue };
            let Some(way) = way(&self.target, common.tls.as_ref()) else { continue };
            let Some(credentials) = self.credentials.borrow().clone() else { continue };
            let Ok(_slot) = common.security_slots.acquire().await else { return };
            let doubts = doubts(&credentials, &common.settings);
            let found = match doubts {
                Some(doubts) => security::look(&way, address, &doubts).await,
                None => None,
            };
            if self.is_stopped() {
                return;
            }
            if let Some(alarm) = common.board.take_security(&self.target.key(), found) {
                tracing::error!(
                    target_name = %self.target.name, granted = ?alarm.granted_peers,
                    accepts_wrong_password = alarm.accepts_wrong_password,
                    "this target grants what it must refuse: take it out of service, and look at its peer rules and its \
                     authentication"
                );
            }
        }
    }
}

/// How `target` is reached. None: over TLS, and there is no configuration for it.
pub fn way(target: &Target, tls: Option<&Arc<ClientConfig>>) -> Option<Way> {
    match target.endpoint.transport {
        Transport::Udp => Some(Way::Udp),
        Transport::Tcp => Some(Way::Tcp),
        Transport::Tls => Some(Way::Tls { config: Arc::clone(tls?), name: target.certified_name()? }),
    }
}

/// What is asked of a server that must refuse it.
pub fn doubts(credentials: &Credentials, settings: &Settings) -> Option<Doubts> {
    let unix = Timestamp::now().as_second().unsigned_abs();
    let client = credentials.clients(unix).into_iter().next()?;
    Some(Doubts { client, impostor: credentials.impostor(unix), peers: settings.forbidden_peers.clone() })
}

/// One probe of `target`: of the address whose turn it is.
async fn probe_once(
    target: &Target,
    common: &Common,
    settings: &Settings,
    credentials: &Credentials,
    number: u64,
    tell: impl FnOnce(Option<SocketAddr>, Finding) + Send,
) -> Result<(), NoSocket> {
    let began = Instant::now();
    let by = tokio::time::Instant::from_std(began + settings.timeout);
    let address = match common.resolver.resolve(&target.endpoint.place, by).await {
        Ok(addresses) => turn(&addresses, number),
        Err(why) => {
            let report = Report::failed(Fault::new(rtcfleet_node_api::Stage::Resolve, why));
            tell(None, Finding { report, not_after: None, took: began.elapsed() });
            return Ok(());
        }
    };
    let Some((address, way)) = address.zip(way(target, common.tls.as_ref())) else { return Ok(()) };
    let plan = plan(settings, credentials, address);
    reach::probe(&way, address, plan, began, |finding| tell(Some(address), finding)).await
}

/// What one session is to do at `address`.
pub fn plan(settings: &Settings, credentials: &Credentials, address: SocketAddr) -> Plan {
    let v6 = match settings.echo {
        Echo::Relay => false,
        // The client's own address has the family of the way to the server.
        Echo::Here => address.is_ipv6(),
        Echo::At(peer) => peer.is_ipv6(),
    };
    Plan {
        echo: settings.echo,
        packets: settings.packets,
        pace: Pace::of(settings.timeout),
        lossy: true,
        v6,
        clients: credentials.clients(Timestamp::now().as_second().unsigned_abs()),
    }
}

/// From nine to eleven tenths of it, so that probes which began together do not stay together.
fn jittered(interval: Duration, random: u16) -> Duration {
    interval.mul_f64(0.9) + share(interval.mul_f64(0.2), random)
}

/// So much of it.
fn share(whole: Duration, random: u16) -> Duration {
    whole.mul_f64(f64::from(random) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_a_tenth_of_the_interval_apart_from_it_at_the_most() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), Duration::from_millis(900));
        assert_eq!(jittered(second, u16::MAX), Duration::from_millis(1100));
    }
}
