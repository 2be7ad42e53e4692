//! Listens to probers: a task for each vantage point asks it over and over, apart from the passes, because one that is cut
//! off answers seconds late or never, and that is when others must be heard.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rtcfleet_crds::turn_region::Protocol;
use rtcfleet_node_api::{Security, Transport, Verdicts};
use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::clock::Clock;
use crate::error::with_causes;
use crate::failover::policy::Policy;
use crate::failover::verdict::{Report, Verdict};
use crate::failover::watch::Watch;
use crate::node_client::{NodeApi, NodeTarget, Told};
use crate::yaml;

/// Looks in an interval while all is well, and while something fails. Of each target only the last verdict is told, so one
/// look an interval would miss some.
const CALM: u32 = 2;
const TENSE: u32 = 8;
/// Two looks are never closer.
const CLOSEST: Duration = Duration::from_millis(50);
/// For the address of a prober that a user runs.
const LOOKUP: Duration = Duration::from_secs(2);
/// For a prober to take what it is brought: it is to be heard meanwhile.
const BRINGING: Duration = Duration::from_secs(1);
/// Between two configurations that a prober is brought: it begins and ends targets on the thread that probes.
const SPACING: Duration = Duration::from_secs(2);
/// The same for one that it has refused, or that is not in force although it took it. What got no answer may not have
/// arrived, and is brought again sooner: after [`SPACING`], and twice as long each time up to this.
const AGAIN: Duration = Duration::from_secs(30);
/// Relays with an alarm that are kept, for people.
const MAX_ALARMS: usize = 8;

/// Where a vantage point is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A prober of ours.
    Pod(NodeTarget),
    /// One that a user runs.
    Host { host: String, port: u16 },
}

/// What has been heard, for one name. Passes read it while listeners write.
#[derive(Default)]
pub struct Heard(Mutex<State>);

#[derive(Default)]
struct State {
    /// None before the first pass.
    policy: Option<Arc<Policy>>,
    watch: Watch,
    alarms: Vec<Alarm>,
    /// What probers of ours are to run by. None before the first pass.
    config: Option<Arc<Config>>,
}

/// A `probe.yaml`.
struct Config {
    text: String,
    /// By which a prober tells that it runs by it.
    hash: String,
}

/// A relay that grants a prober what it must refuse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    pub target: String,
    /// `a wrong password`, or the peers.
    pub granted: String,
}

impl Heard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_policy(&self, policy: Arc<Policy>) {
        self.state().policy = Some(policy);
    }

    pub fn set_config(&self, text: &str) {
        let mut state = self.state();
        if state.config.as_ref().is_none_or(|config| config.text != text) {
            state.config = Some(Arc::new(Config { text: text.to_owned(), hash: yaml::hash(text) }));
        }
    }

    fn config(&self) -> Option<Arc<Config>> {
        self.state().config.clone()
    }

    /// As of now.
    pub fn watch(&self) -> Watch {
        self.state().watch.clone()
    }

    /// Sorted, without duplicates.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.state().alarms.clone()
    }

    /// True if a pass should look at once: something fails, or a vantage point cannot see.
    fn take(&self, point: &str, said: &Verdicts, now: Instant) -> bool {
        let mut state = self.state();
        let State { policy, watch, alarms, config: _ } = &mut *state;
        let Some(policy) = policy else { return false };
        let report = report(point, said);
        watch.take(&report, now, policy);
        note_alarms(alarms, said);
        !report.canary || report.verdicts.iter().any(|verdict| !verdict.ok)
    }

    fn interval(&self) -> Duration {
        self.state().policy.as_ref().map_or(Duration::from_secs(1), |policy| policy.health.interval)
    }
}

/// The prober's words in those of the core. In the order in which they were made.
fn report(point: &str, said: &Verdicts) -> Report {
    let mut verdicts: Vec<Verdict> = said
        .verdicts
        .iter()
        .filter_map(|one| {
            Some(Verdict {
                sequence: one.sequence,
                region: one.region.clone()?,
                target: one.address.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()))?,
                transport: match one.transport {
                    Transport::Udp => Protocol::Udp,
                    Transport::Tcp => Protocol::Tcp,
                    Transport::Tls => Protocol::Tls,
                },
                ok: one.ok,
                age: Duration::from_millis(one.age_millis),
            })
        })
        .collect();
    verdicts.sort_by_key(|one| one.sequence);
    Report { vantage_point: point.to_owned(), boot: said.boot, canary: said.canary.ok, verdicts }
}

/// A target that was looked at again takes its old alarm away.
fn note_alarms(alarms: &mut Vec<Alarm>, said: &Verdicts) {
    for one in &said.verdicts {
        let Some(security) = &one.security else { continue };
        alarms.retain(|alarm| alarm.target != one.target);
        if security.is_alarming() && alarms.len() < MAX_ALARMS {
            alarms.push(Alarm { target: one.target.clone(), granted: granted(security) });
        }
    }
    alarms.sort();
}

fn granted(security: &Security) -> String {
    let peers = security.granted_peers.iter().map(ToString::to_string);
    let password = security.accepts_wrong_password.then(|| "a wrong password".to_owned());
    password.into_iter().chain(peers).collect::<Vec<_>>().join(", ")
}

/// A task that listens to one vantage point until it is dropped.
pub struct Listener {
    pub place: Place,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What listeners work with.
#[derive(Clone)]
pub struct Ears {
    pub heard: Arc<Heard>,
    pub node_api: Arc<dyn NodeApi>,
    pub clock: Arc<dyn Clock>,
    /// Has the name looked at.
    pub poke: Arc<dyn Fn() + Send + Sync>,
}

impl Listener {
    pub fn start(point: String, place: Place, ears: Ears) -> Self {
        let task = tokio::spawn(listen(point, place.clone(), ears));
        Self { place, task }
    }
}

async fn listen(point: String, place: Place, ears: Ears) {
    let mut told = None;
    let mut silence: Option<String> = None;
    let mut brought = None;
    loop {
        let interval = ears.heard.interval();
        let looks = match ask(&place, told, &*ears.node_api).await {
            Ok(said) => {
                if silence.take().is_some() {
                    tracing::info!(vantage_point = point, "a vantage point is heard again");
                }
                told = Some(up_to(told, &said));
                let is_tense = ears.heard.take(&point, &said, ears.clock.instant());
                if is_tense {
                    (ears.poke)();
                }
                if let Place::Pod(prober) = &place {
                    bring(prober, &said, &ears, &mut brought).await;
                }
                if is_tense { TENSE } else { CALM }
            }
            Err(error) => {
                if silence.as_ref() != Some(&error) {
                    tracing::warn!(vantage_point = point, error, "a vantage point is not heard");
                    silence = Some(error);
                }
                CALM
            }
        };
        sleep((interval / looks).max(CLOSEST)).await;
    }
}

/// What a prober was brought last.
struct Brought {
    /// Of the configuration.
    hash: String,
    /// Of the prober: one that starts anew has its file alone.
    boot: u64,
    at: Instant,
    /// Until the same is brought to the same again.
    pause: Duration,
}

/// A prober that does not run by what it should is brought it: its kubelet may take a minute and a half to bring the file.
async fn bring(prober: &NodeTarget, said: &Verdicts, ears: &Ears, last: &mut Option<Brought>) {
    let Some(config) = ears.heard.config().filter(|config| config.hash != said.config_hash) else { return };
    let at = ears.clock.instant();
    let is_same = |last: &&Brought| (&last.hash, last.boot) == (&config.hash, said.boot);
    let same = last.as_ref().filter(is_same).map(|last| last.pause);
    let pause = same.unwrap_or(SPACING);
    if last.as_ref().is_some_and(|last| at.saturating_duration_since(last.at) < pause) {
        return;
    }
    let unheard = same.map_or(SPACING, |pause| (pause * 2).min(AGAIN));
    let (pause, why) = match timeout(BRINGING, ears.node_api.configure(prober, &config.text)).await {
        Ok(Ok(_)) => (AGAIN, None),
        // Of another release, or without a file that its kubelet has yet to bring beside this one.
        Ok(Err(error)) if error.refusal().is_some() => (AGAIN, Some(with_causes(&error))),
        Ok(Err(error)) => (unheard, Some(with_causes(&error))),
        Err(_) => (unheard, Some(format!("no answer within {BRINGING:?}"))),
    };
    *last = Some(Brought { hash: config.hash.clone(), boot: said.boot, at, pause });
    if let Some(why) = why {
        let prober = prober.address;
        tracing::info!(%prober, why, again_in = ?pause, "a prober does not take its configuration; its kubelet brings it, too");
    }
}

/// Why not is a sentence without anything that moves.
async fn ask(place: &Place, told: Option<Told>, node_api: &dyn NodeApi) -> Result<Verdicts, String> {
    let target = match place {
        Place::Pod(target) => target.clone(),
        Place::Host { host, port } => {
            let found = timeout(LOOKUP, lookup_host((host.as_str(), *port))).await;
            let found = found.map_err(|_| format!("{host}: no address within {LOOKUP:?}"))?;
            let address = found.map_err(|error| format!("{host}: {error}"))?.next();
            let address = address.ok_or_else(|| format!("{host}: it has no address"))?;
            NodeTarget { address, server_name: host.clone() }
        }
    };
    node_api.verdicts(&target, told).await.map_err(|error| with_causes(&error))
}

/// A prober that was started again begins anew.
fn up_to(told: Option<Told>, said: &Verdicts) -> Told {
    let before = told.filter(|told| told.boot == said.boot).map_or(0, |told| told.sequence);
    let last = said.verdicts.iter().map(|one| one.sequence).max().unwrap_or(0);
    Told { boot: said.boot, sequence: before.max(last) }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use jiff::Timestamp;
    use rtcfleet_node_api::{Canary, ConfigTaken, NodeStatus, SetState};

    use super::*;
    use crate::node_client::NodeError;

    fn verdict(target: &str, sequence: u64, ok: bool) -> rtcfleet_node_api::Verdict {
        rtcfleet_node_api::Verdict {
            target: target.into(),
            transport: Transport::Tls,
            region: Some("centralindia".into()),
            address: Some("[::ffff:192.0.2.7]:443".parse().unwrap()),
            ok,
            stage: None,
            code: None,
            detail: String::new(),
            rtt_millis: None,
            packets_sent: 0,
            packets_lost: 0,
            took_millis: 1.0,
            at: Timestamp::UNIX_EPOCH,
            sequence,
            age_millis: 40,
            streak: 1,
            certificate_not_after: None,
            security: None,
        }
    }

    fn said(boot: u64, verdicts: Vec<rtcfleet_node_api::Verdict>) -> Verdicts {
        Verdicts {
            version: "1".into(),
            boot,
            config_hash: String::new(),
            now: Timestamp::UNIX_EPOCH,
            canary: Canary { ok: true, detail: String::new() },
            verdicts,
        }
    }

    #[test]
    fn a_report_has_verdicts_in_the_order_in_which_they_were_made() {
        let report = report("a", &said(1, vec![verdict("b", 9, true), verdict("a", 4, false)]));
        let order: Vec<_> = report.verdicts.iter().map(|one| (one.sequence, one.ok)).collect();
        assert_eq!(order, [(4, false), (9, true)]);
        assert_eq!(report.verdicts[0].target, SocketAddr::from(([192, 0, 2, 7], 443)));
        assert_eq!(report.verdicts[0].age, Duration::from_millis(40));
    }

    #[test]
    fn what_was_told_is_counted_within_a_boot() {
        let told = |told, boot, sequence| up_to(told, &said(boot, vec![verdict("a", sequence, true)]));
        let first = told(None, 1, 7);
        assert_eq!(first, Told { boot: 1, sequence: 7 });
        assert_eq!(up_to(Some(first), &said(1, vec![])), first, "nothing new");
        assert_eq!(told(Some(first), 2, 3), Told { boot: 2, sequence: 3 });
    }

    /// How a prober answers that is brought something.
    #[derive(Clone, Copy, Debug, Default)]
    enum Manner {
        #[default]
        Takes,
        Refuses,
        BreaksOff,
        Hangs,
    }

    #[derive(Default)]
    struct Prober {
        brought: Mutex<Vec<String>>,
        manner: Mutex<Manner>,
    }

    impl NodeApi for Prober {
        fn status<'a>(&'a self, _: &'a NodeTarget) -> BoxFuture<'a, Result<NodeStatus, NodeError>> {
            unimplemented!("nobody asks a prober for it")
        }

        fn set_state<'a>(&'a self, _: &'a NodeTarget, _: SetState) -> BoxFuture<'a, Result<NodeStatus, NodeError>> {
            unimplemented!("nobody tells a prober")
        }

        fn verdicts<'a>(&'a self, _: &'a NodeTarget, _: Option<Told>) -> BoxFuture<'a, Result<Verdicts, NodeError>> {
            unimplemented!("it is not asked here")
        }

        fn configure<'a>(&'a self, _: &'a NodeTarget, yaml: &'a str) -> BoxFuture<'a, Result<ConfigTaken, NodeError>> {
            self.brought.lock().unwrap().push(yaml.to_owned());
            let (manner, node) = (*self.manner.lock().unwrap(), SocketAddr::from(([192, 0, 2, 1], 9443)));
            Box::pin(async move {
                match manner {
                    Manner::Takes => Ok(ConfigTaken { config_hash: yaml::hash(yaml) }),
                    Manner::Refuses => Err(NodeError::Refused { node, status: 409, message: "no such file".into() }),
                    Manner::BreaksOff => Err(NodeError::AnswerTimeout { node }),
                    Manner::Hangs => std::future::pending().await,
                }
            })
        }
    }

    struct Stopped(Mutex<Instant>);

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn instant(&self) -> Instant {
            *self.0.lock().unwrap()
        }
    }

    fn with_a_prober() -> (Arc<Prober>, Arc<Stopped>, Ears) {
        let prober = Arc::new(Prober::default());
        let clock = Arc::new(Stopped(Mutex::new(Instant::now())));
        let ears = Ears {
            heard: Arc::default(),
            node_api: Arc::clone(&prober) as Arc<dyn NodeApi>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            poke: Arc::new(|| ()),
        };
        (prober, clock, ears)
    }

    /// The prober says what it runs by, and is brought what it should if it is time.
    async fn heard_from(runs_by: &str, boot: u64, ears: &Ears, last: &mut Option<Brought>) {
        let target = NodeTarget { address: ([192, 0, 2, 1], 9443).into(), server_name: "p".into() };
        let said = Verdicts { config_hash: yaml::hash(runs_by), ..said(boot, vec![]) };
        bring(&target, &said, ears, last).await;
    }

    #[tokio::test]
    async fn a_prober_that_runs_by_something_else_is_brought_what_it_should_seldom_and_never_in_vain_at_once() {
        let (prober, clock, ears) = with_a_prober();
        let mut last = None;
        let short = SPACING / 2;
        for (case, wanted, pause, boot, runs_by, expected) in [
            ("nobody has said yet what it should run by", None, SPACING, 1, "old", 0),
            ("it runs by something else", Some("a"), SPACING, 1, "old", 1),
            ("it does not follow", None, SPACING, 1, "old", 1),
            ("it does not follow for long", None, AGAIN, 1, "old", 2),
            ("it follows", None, AGAIN, 1, "a", 2),
            ("it has started anew with a file that is behind", None, short, 2, "old", 3),
            ("another is wanted soon after that", Some("b"), short, 2, "a", 3),
            ("and a while after", None, short, 2, "a", 4),
        ] {
            *clock.0.lock().unwrap() += pause;
            if let Some(text) = wanted {
                ears.heard.set_config(text);
            }
            heard_from(runs_by, boot, &ears, &mut last).await;
            assert_eq!(prober.brought.lock().unwrap().len(), expected, "{case}");
        }
        assert_eq!(*prober.brought.lock().unwrap(), ["a", "a", "a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_have_arrived_is_brought_again_soon_and_less_and_less_often() {
        for (manner, expected) in [
            (Manner::Takes, [0, 30].as_slice()),
            (Manner::Refuses, &[0, 30]),
            (Manner::BreaksOff, &[0, 2, 6, 14, 30]),
            (Manner::Hangs, &[0, 2, 6, 14, 30]),
        ] {
            let (prober, clock, ears) = with_a_prober();
            *prober.manner.lock().unwrap() = manner;
            ears.heard.set_config("new");
            let mut last = None;
            let mut tries = Vec::new();
            for second in 0..40 {
                let before = prober.brought.lock().unwrap().len();
                heard_from("old", 1, &ears, &mut last).await;
                if prober.brought.lock().unwrap().len() > before {
                    tries.push(second);
                }
                *clock.0.lock().unwrap() += Duration::from_secs(1);
            }
            assert_eq!(tries, expected, "{manner:?}");
        }
    }

    #[test]
    fn an_alarm_stays_until_the_relay_is_looked_at_again() {
        let mut alarms = Vec::new();
        let with = |peers: &[&str]| {
            let mut one = verdict("a", 1, true);
            one.security = Some(Security {
                checked_at: Timestamp::UNIX_EPOCH,
                granted_peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
                accepts_wrong_password: false,
            });
            said(1, vec![one])
        };
        note_alarms(&mut alarms, &with(&["127.0.0.1"]));
        note_alarms(&mut alarms, &said(1, vec![verdict("a", 2, true)]));
        assert_eq!(alarms, [Alarm { target: "a".into(), granted: "127.0.0.1".into() }]);
        note_alarms(&mut alarms, &with(&[]));
        assert_eq!(alarms, []);
    }
}
