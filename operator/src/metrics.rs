//! The operator's metrics. Labels are kinds, verbs, classes and constant reasons: never a name, an address or an error text.

mod fleets;
mod names;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use rtcfleet_crds::DnsFailoverStatus;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::fleets::Fleets;
use self::names::Names;
use crate::decisions::ObjectRef;
use crate::error::Category;
use crate::fleet::scale::Scale;
use crate::fleet::slot::Slot;
use crate::publish::RecordSet;

/// Reconciles of a steady fleet take milliseconds; the API server's timeout of 10 s and our own of a minute lie inside.
const RECONCILE_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabels {
    verb: Verb,
    code: Code,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it should be, or on its way.
    Ok,
    Failed(Category),
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(category) => category.as_str(),
        }
    }
}

/// What a request to the API server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variant's name is the label's value")]
pub enum Verb {
    get,
    list,
    watch,
    create,
    apply,
    patch,
    update,
    delete,
    other,
}

/// How the API server answered, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// First digit of the HTTP status.
    Class(u16),
    /// No answer: connection refused, timeout.
    NoAnswer,
}

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        use std::fmt::Write as _;
        match self {
            Self::Class(digit) => write!(encoder, "{digit}xx"),
            Self::NoAnswer => encoder.write_str("none"),
        }
    }
}

/// All of the operator's metrics. Cheap to clone; every clone counts into the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    reconcile_seconds: Family<KindLabel, Histogram, fn() -> Histogram>,
    reconciles: Family<ReconcileLabels, Counter>,
    queue_depth: Family<KindLabel, Gauge>,
    api_requests: Family<ApiLabels, Counter>,
    leader: Gauge,
    decisions: Family<DecisionLabels, Counter>,
    event_failures: Counter,
    fleets: Fleets,
    names: Names,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let reconcile_seconds =
            Family::new_with_constructor((|| Histogram::new(RECONCILE_BUCKETS)) as fn() -> Histogram);
        let (reconciles, queue_depth) = (Family::default(), Family::default());
        let (api_requests, decisions) = (Family::default(), Family::default());
        let (leader, event_failures) = (Gauge::default(), Counter::default());

        let mut registry = Registry::with_prefix("rtcfleet_operator");
        registry.register("reconcile_seconds", "Time one reconcile took", reconcile_seconds.clone());
        registry.register("reconcile", "Reconciles, by how they ended", reconciles.clone());
        registry.register("queue_depth", "Objects waiting for a reconcile to start", queue_depth.clone());
        registry.register("api_requests", "Requests to the API server", api_requests.clone());
        registry.register("leader", "1 while this replica holds the lease", leader.clone());
        registry.register("decisions", "New decisions, by what and why", decisions.clone());
        registry.register("event_failures", "Events that could not be published", event_failures.clone());
        let fleets = Fleets::default();
        fleets.register(&mut registry);
        let names = Names::default();
        names.register(&mut registry);
        registry.register(
            "build",
            "The release that runs",
            Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }),
        );
        Self(Arc::new(Inner {
            registry,
            reconcile_seconds,
            reconciles,
            queue_depth,
            api_requests,
            leader,
            decisions,
            event_failures,
            fleets,
            names,
        }))
    }

    /// The exposition in OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail; the signature only has room for it.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    /// One reconcile of `kind` ended after `took`.
    pub fn reconciled(&self, kind: &'static str, outcome: Outcome, took: Duration) {
        self.0.reconcile_seconds.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
        self.0.reconciles.get_or_create(&ReconcileLabels { kind, result: outcome.as_str() }).inc();
    }

    pub fn decided(&self, kind: &'static str, reason: &'static str) {
        self.0.decisions.get_or_create(&DecisionLabels { kind, reason }).inc();
    }

    pub fn leads(&self, leads: bool) {
        self.0.leader.set(leads.into());
    }

    pub fn requested(&self, verb: Verb, code: Code) {
        self.0.api_requests.get_or_create(&ApiLabels { verb, code }).inc();
    }

    /// What a pass saw of a fleet, and decided.
    pub fn fleet(&self, fleet: &ObjectRef, scale: &Scale, slots: &[Slot]) {
        self.0.fleets.seen(fleet, scale, slots);
    }

    /// Which fleets of `kind` are left, by namespace and name.
    pub fn fleets_left(&self, kind: &str, fleets: &BTreeSet<(String, String)>) {
        self.0.fleets.left(kind, fleets);
    }

    /// What a pass saw of a name.
    pub fn name(&self, name: &ObjectRef, status: &DnsFailoverStatus) {
        self.0.names.seen(name, status);
    }

    /// The regions that get callers changed. `detection` is from the first failed probe to the decision.
    pub fn flipped(&self, detection: Option<Duration>) {
        self.0.names.flipped(detection);
    }

    /// Every authoritative server tells these. Counted once.
    pub fn published(&self, name: &ObjectRef, sets: &[RecordSet], took: Duration) {
        self.0.names.published(name, sets, took);
    }

    pub fn name_gone(&self, name: &ObjectRef) {
        self.0.names.gone(name);
    }

    pub fn event_failed(&self) {
        self.0.event_failures.inc();
    }

    /// The queue of one kind: at most `concurrency` reconciles run, the others wait and are counted.
    pub fn queue(&self, kind: &'static str, concurrency: usize) -> Queue {
        Queue {
            depth: self.0.queue_depth.get_or_create_owned(&KindLabel { kind }),
            waiting: Arc::default(),
            permits: Arc::new(Semaphore::new(concurrency)),
        }
    }
}

/// Bounds the reconciles of a kind and shows how many objects wait. kube's own `Config::concurrency` keeps its queue to
/// itself, so give it 0 there (it still never runs one object twice at a time) and wait for a [`Queue::turn`] first.
#[derive(Clone)]
pub struct Queue {
    depth: Gauge,
    waiting: Arc<AtomicI64>,
    permits: Arc<Semaphore>,
}

/// The right to reconcile until dropped.
pub struct Turn {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Queue {
    pub async fn turn(&self) -> Turn {
        let waiting = Waiting::start(self);
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok(); // closed never: nobody calls close
        drop(waiting);
        Turn { _permit: permit }
    }
}

/// Counts one waiting object, also when its future is dropped.
struct Waiting<'a>(&'a Queue);

impl<'a> Waiting<'a> {
    fn start(queue: &'a Queue) -> Self {
        queue.depth.set(queue.waiting.fetch_add(1, Ordering::Relaxed) + 1);
        Self(queue)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.waiting.fetch_sub(1, Ordering::Relaxed) - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_that_alerts_name_exist_from_the_first_event_on() {
        let metrics = Metrics::new();
        metrics.reconciled("TurnRegion", Outcome::Ok, Duration::from_millis(3));
        metrics.reconciled("TurnRegion", Outcome::Failed(Category::UserMustAct), Duration::from_secs(2));
        metrics.requested(Verb::apply, Code::Class(2));
        metrics.requested(Verb::watch, Code::NoAnswer);
        metrics.decided("scale", "LoadAboveTarget");
        metrics.leads(true);
        let text = metrics.encode();
        for line in [
            "rtcfleet_operator_reconcile_seconds_bucket{le=\"0.005\",kind=\"TurnRegion\"} 1",
            "rtcfleet_operator_reconcile_total{kind=\"TurnRegion\",result=\"ok\"} 1",
            "rtcfleet_operator_reconcile_total{kind=\"TurnRegion\",result=\"user_must_act\"} 1",
            "rtcfleet_operator_api_requests_total{verb=\"apply\",code=\"2xx\"} 1",
            "rtcfleet_operator_api_requests_total{verb=\"watch\",code=\"none\"} 1",
            "rtcfleet_operator_decisions_total{kind=\"scale\",reason=\"LoadAboveTarget\"} 1",
            "rtcfleet_operator_leader 1",
            concat!("rtcfleet_operator_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[tokio::test]
    async fn the_queue_counts_who_waits_and_not_who_runs_or_gave_up() {
        let metrics = Metrics::new();
        let queue = metrics.queue("TurnRegion", 1);
        let depth = || queue.waiting.load(Ordering::Relaxed);
        let running = queue.turn().await;
        assert_eq!(depth(), 0);
        let mut second = Box::pin(queue.turn());
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(depth(), 1);
        assert!(metrics.encode().contains("rtcfleet_operator_queue_depth{kind=\"TurnRegion\"} 1"));
        drop(second);
        assert_eq!(depth(), 0);
        drop(running);
        queue.turn().await;
        assert_eq!(depth(), 0);
    }
}
