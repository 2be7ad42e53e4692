//! The controller of `DnsFailover`: what it watches, and the steps of a pass. What is decided is decided in
//! [`crate::failover`]; who is heard, and what is published, are tasks of their own ([`hearing`], [`publication`]).

mod answers;
mod apply;
mod build;
mod dereference;
mod hearing;
mod memory;
mod observed;
mod publication;
mod status;
#[cfg(test)]
mod test_support;
mod validate;
mod withdraw;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{self, ObjectRef as StoreRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use rtcfleet_crds::dns_failover::{VantagePointState, VantagePointStatus};
use rtcfleet_crds::{ConditionsExt, DnsFailover, DnsFailoverStatus, condition};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use self::apply::apply;
use self::build::{Material, Objects, Prober, admin_server_name, probers};
use self::dereference::{dereference, seldom};
use self::hearing::{Ears, Place};
use self::memory::{Decided, Memory, Name};
use self::observed::{Observed, Why};
use self::publication::{Publication, Wanted};
use self::status::Look;
use self::validate::{ManagedName, Mistakes, Provider, validate};
use self::withdraw::End;
use crate::context::{Ctx, Settings};
use crate::decisions::{Decision as Recorded, ObjectRef};
use crate::error::{Categorised, Category, with_causes};
use crate::failover::choice::Choice;
use crate::failover::decide::{Decision, Flip, Situation, decide};
use crate::failover::policy::{Policy, VantagePoint};
use crate::failover::region::Region;
use crate::failover::watch::Watch;
use crate::kube_io::{self, IoError, Note, slim};
use crate::metrics::Queue;
use crate::node_client::NodeTarget;
use crate::pass;
use crate::pod::ADMIN_PORT;
use crate::publish::rfc2136::Server;
use crate::turnregion::caches::Caches;

const KIND: &str = "DnsFailover";
/// Names looked at at a time. A look takes milliseconds.
const CONCURRENCY: usize = 32;
/// Of a pass.
const LONGEST: Duration = Duration::from_mins(1);
/// A decision is written down before it is published, so that a new leader goes on from it; but it does not wait longer
/// than this for an API server that does not answer.
const WRITE_DOWN: Duration = Duration::from_secs(2);
/// For Secrets. What was read last stays meanwhile.
const READ: Duration = Duration::from_secs(2);
/// From the first look on: so long probers may need to start before anybody is told that they are missing.
const STARTING: Duration = Duration::from_mins(1);
/// Between two tries to withdraw an answer.
const WITHDRAW_AGAIN: Duration = Duration::from_secs(5);
/// Offers come with the first passes over regions.
const OFFERED_AGAIN: Duration = Duration::from_millis(250);
/// For the store to have an object as it is.
const SEEN_AGAIN: Duration = Duration::from_millis(250);
/// Names that want to be looked at. More are looked at in their turn.
const POKES: usize = 1024;

/// A DnsFailover that may be malformed: one that is must not stop the watch of the others.
type Guarded = DeserializeGuard<DnsFailover>;

/// Runs until `shutdown` resolves and the passes in progress are done.
pub async fn run(ctx: Arc<Ctx>, caches: Caches, shutdown: impl Future<Output = ()> + Send + Sync + 'static) {
    let (names, writer) = reflector::store();
    let watch = watcher(Api::<Guarded>::all(ctx.client.clone()), watcher::Config::default())
        .default_backoff()
        .map_ok(|event| event.modify(|object| *object = slim(object.clone())))
        .reflect(writer)
        .applied_objects()
        .inspect_err(|error| tracing::warn!(%error, "the watch of DnsFailovers broke off and is begun again"))
        .predicate_filter(changed, kube::runtime::PredicateConfig::default());
    let (poke, poked) = mpsc::channel::<StoreRef<Guarded>>(POKES);
    let poked = stream::unfold(poked, async |mut poked| poked.recv().await.map(|name| (name, poked)));
    let queue = ctx.metrics.queue(KIND, CONCURRENCY);
    let state = Arc::new(State { caches, names: names.clone(), memory: Memory::default(), ctx, queue, poke });
    Controller::for_stream(watch, names)
        .with_config(Config::default())
        .reconcile_on(poked)
        .graceful_shutdown_on(shutdown)
        .run(reconcile, retry, state)
        // Errors of passes are reported where they happen, and those of the watch above.
        .for_each(async |_| {})
        .await;
}

/// Another one with each change of the spec, when the object is to be deleted, and when a finalizer comes or goes. Not with
/// the status, which is our own.
#[allow(clippy::unnecessary_wraps, reason = "the signature is the filter's")]
fn changed(object: &Guarded) -> Option<u64> {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    (meta.generation, meta.deletion_timestamp.is_some(), &meta.finalizers).hash(&mut hasher);
    Some(hasher.finish())
}

struct State {
    caches: Caches,
    names: Store<Guarded>,
    memory: Memory,
    ctx: Arc<Ctx>,
    queue: Queue,
    poke: mpsc::Sender<StoreRef<Guarded>>,
}

impl State {
    /// Has the object looked at soon. One that cannot be told is looked at in its turn.
    fn poke(&self, object: &DnsFailover) -> Arc<dyn Fn() + Send + Sync> {
        let name = StoreRef::<Guarded>::new(&object.name_any()).within(&object.namespace().unwrap_or_default());
        let poke = self.poke.clone();
        Arc::new(move || drop(poke.try_send(name.clone())))
    }

    fn name(&self, object: &DnsFailover) -> Arc<Mutex<Name>> {
        let ctx = &self.ctx;
        let new = || {
            let publication = Publication::start(ctx.leadership.clone(), Arc::clone(&ctx.clock), self.poke(object));
            Name::new(publication, ctx.clock.instant())
        };
        if self.memory.len() > self.names.len() {
            let left: HashSet<String> = self.names.state().iter().filter_map(|object| object.uid()).collect();
            self.memory.keep(&left);
        }
        self.memory.of(&object.uid().unwrap_or_default(), new)
    }
}

/// Why a pass did not go through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the object cannot be read: {0}")]
    Malformed(String),
    #[error(transparent)]
    Invalid(#[from] Mistakes),
    #[error("a Secret cannot be read")]
    Dereference(#[source] IoError),
    #[error("the finalizer cannot be written")]
    Hold(#[source] IoError),
    #[error("TurnRegions have not been looked at yet: {}", .0.join(", "))]
    NotLookedAt(Vec<String>),
    #[error("the status cannot be written")]
    Report(#[source] IoError),
    #[error("the pass took longer than {LONGEST:?} and was given up")]
    TooLong,
}

impl Error {
    /// The object itself is wrong, and nothing but an edit of it helps.
    fn is_mistake(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Invalid(_)) && self.category() == Category::UserMustAct
    }
}

impl Categorised for Error {
    fn category(&self) -> Category {
        match self {
            Self::Malformed(_) => Category::UserMustAct,
            Self::Invalid(mistakes) => mistakes.category(),
            Self::Dereference(error) | Self::Hold(error) | Self::Report(error) => error.category(),
            Self::NotLookedAt(_) | Self::TooLong => Category::Retry,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::Invalid(mistakes) => mistakes.reason(),
            Self::Dereference(error) | Self::Hold(error) | Self::Report(error) => error.reason(),
            Self::NotLookedAt(_) => "WaitingForRegions",
            Self::TooLong => "TooLong",
        }
    }
}

/// One look at one name: a turn in the queue, a time limit, and what it came to is measured.
async fn reconcile(object: Arc<Guarded>, state: Arc<State>) -> Result<Action, Error> {
    let (about, limit) = (reference(&object), (LONGEST, Error::TooLong));
    pass::bounded(KIND, &about, &state.queue, &state.ctx, pass(&object, &state), limit).await
}

/// The table of contents. A failed step is reported like a finished one.
async fn pass(object: &Guarded, state: &State) -> Result<Action, Error> {
    state.caches.ready().await;
    let object = pass::readable(object, &state.ctx).await.map_err(Error::Malformed)?;
    if object.metadata.deletion_timestamp.is_some() {
        return end(object, state).await;
    }
    let name = state.name(object);
    let mut name = name.lock().await;
    match steps(object, &mut name, state).await {
        Ok(next) => Ok(Action::requeue(next)),
        Err(error) => {
            report_failure(object, &mut name, &error, &state.ctx).await?;
            Err(error)
        }
    }
}

/// How soon to look again.
async fn steps(object: &DnsFailover, name: &mut Name, state: &State) -> Result<Duration, Error> {
    let ctx = &state.ctx;
    let valid = validate(object)?;
    if !withdraw::hold(object, true, ctx).await.map_err(Error::Hold)? {
        return Ok(SEEN_AGAIN);
    }
    let observed = dereference(&valid, &state.caches, ctx);
    all_looked_at(object, name, &observed)?;
    read_seldom(&valid, &observed, name, ctx).await?;
    let ours = valid.probers.as_ref().map_or_else(Vec::new, |_| probers(&observed.offers));
    let policy = Arc::new(with_probers(&valid, &ours, &observed));
    listen(object, &valid, &ours, &policy, &observed, name, state);
    let (now, instant) = (ctx.clock.now(), ctx.clock.instant());
    let watch = name.heard.watch();
    let mut decision = decided(object, &policy, &watch, &observed, name, (now, instant));
    decision.flip = decision.flip.or_else(|| name.untold.take());
    let look = look(&valid, &policy, &watch, decision, &observed, name, (now, instant));
    let written = report(object, &look, name, ctx).await;
    publish(&valid, &look, name, instant);
    if !matches!(written, Ok(Report { is_written: true, .. })) {
        name.untold.clone_from(&look.decision.flip);
    }
    // What an API server that is slow may hold up comes after what callers wait for.
    tell(object, &look, written?, ctx).await;
    name.probers = run_probers(&valid, &ours, &observed, name, ctx).await;
    Ok(look.decision.next_look.min(policy.health.interval))
}

/// A region that the status speaks of and that no pass has looked at yet would seem to have no relays.
fn all_looked_at(object: &DnsFailover, name: &Name, observed: &Observed) -> Result<(), Error> {
    let known = |region: &str| match &name.decided {
        Some(decided) => decided.regions.iter().any(|one| one.name == region),
        None => object.status.iter().flat_map(|status| &status.regions).any(|one| one.name == region),
    };
    let waits = observed.left_out.iter().filter(|one| one.why == Why::NotLookedAt && known(&one.region));
    let waits: Vec<String> = waits.map(|one| one.region.clone()).collect();
    if waits.is_empty() { Ok(()) } else { Err(Error::NotLookedAt(waits)) }
}

/// What was read last stays while the API server does not answer.
async fn read_seldom(valid: &ManagedName, observed: &Observed, name: &mut Name, ctx: &Ctx) -> Result<(), Error> {
    let read = timeout(READ, seldom(valid, &observed.offers, &mut name.seldom, ctx)).await;
    let failed = match read {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) if name.seldom.read.is_none() => return Err(Error::Dereference(error)),
        Err(_) if name.seldom.read.is_none() => return Err(Error::TooLong),
        Ok(Err(error)) => with_causes(&error),
        Err(_) => format!("no answer within {READ:?}"),
    };
    tracing::warn!(name = %valid.hostname, error = failed, "Secrets cannot be read: those read last stay in use");
    name.seldom.read = Some(ctx.clock.instant());
    Ok(())
}

/// The written policy, and the probers that we run as further vantage points.
fn with_probers(valid: &ManagedName, ours: &[Prober], observed: &Observed) -> Policy {
    let region_at = |machines: &str| {
        let offer = observed.offers.iter().find(|offer| offer.region == machines)?;
        Some(offer.seen.name.clone())
    };
    let stands_in = |prober: &Prober| match &prober.place {
        build::Place::In { .. } => Some(prober.name.clone()),
        build::Place::Outside { .. } => region_at(observed.pod(&prober.name)?.machines.as_deref()?),
    };
    let mut policy = valid.policy.clone();
    policy.vantage_points.retain(|written| !ours.iter().any(|one| one.name == written.name));
    policy
        .vantage_points
        .extend(ours.iter().map(|one| VantagePoint { name: one.name.clone(), region: stands_in(one) }));
    policy
}

fn listen(
    object: &DnsFailover,
    valid: &ManagedName,
    ours: &[Prober],
    policy: &Arc<Policy>,
    observed: &Observed,
    name: &mut Name,
    state: &State,
) {
    let pods = ours.iter().filter_map(|prober| {
        let address = observed.pod(&prober.name)?.addresses.first()?;
        let server_name = admin_server_name(&valid.identity);
        Some((prober.name.clone(), Place::Pod(NodeTarget { address: (*address, ADMIN_PORT).into(), server_name })))
    });
    let written = valid.points.iter().filter(|point| !ours.iter().any(|prober| prober.name == point.name));
    let hosts = written.map(|point| (point.name.clone(), Place::Host { host: point.host.clone(), port: point.port }));
    let points = pods.chain(hosts).collect();
    name.heard.set_policy(Arc::clone(policy));
    let ears = Ears {
        heard: Arc::clone(&name.heard),
        node_api: Arc::clone(&state.ctx.node_api),
        clock: Arc::clone(&state.ctx.clock),
        poke: state.poke(object),
    };
    name.listen(points, &ears);
}

/// Goes on from what this process decided last, or from what another leader wrote down.
fn decided(
    object: &DnsFailover,
    policy: &Policy,
    watch: &Watch,
    observed: &Observed,
    name: &mut Name,
    (now, instant): (Timestamp, Instant),
) -> Decision {
    let seen: Vec<_> = observed.offers.iter().map(|offer| offer.seen.clone()).collect();
    let status = object.status.as_ref();
    let last = name.decided.take().unwrap_or_else(|| Decided {
        regions: status.iter().flat_map(|status| &status.regions).map(|one| Region::read(one, now)).collect(),
        answer: status
            .and_then(|status| status.answer.as_ref())
            .map(crate::failover::answer::Answer::read)
            .unwrap_or_default(),
        at: instant,
    });
    let decision =
        decide(&Situation { policy, seen: &seen, watch, before: &last.regions, published: &last.answer, now, instant });
    let at = if decision.answer == last.answer { last.at } else { instant };
    name.decided = Some(Decided { regions: decision.regions.clone(), answer: decision.answer.clone(), at });
    decision
}

/// What keeps probers from being as they should be, told and tried again in the next pass: names go on with those there are.
async fn run_probers(
    valid: &ManagedName,
    ours: &[Prober],
    observed: &Observed,
    name: &mut Name,
    ctx: &Ctx,
) -> Option<(&'static str, String)> {
    let settings = &ctx.settings;
    let material = Material {
        offers: &observed.offers,
        authorities: name.seldom.authorities.as_deref(),
        families: observed.families(settings.pod_ip),
        canaries: canaries(valid, settings),
        image: &settings.media_node_image,
        operator_namespace: &settings.namespace,
    };
    let objects = valid.probers.as_ref().filter(|_| !ours.is_empty());
    let objects = objects.map(|asked| Objects::build(valid, asked, ours, &material));
    if let Some(objects) = &objects {
        name.heard.set_config(objects.probe_yaml());
    }
    let applied = timeout(WRITE_DOWN, apply(valid, objects.as_ref(), observed, name.seldom.admin.as_ref(), ctx)).await;
    match applied {
        Ok(Ok(written)) => {
            name.seldom.admin = written.or(name.seldom.admin.take());
            None
        }
        Ok(Err(error)) => Some((error.reason(), with_causes(&error))),
        Err(_) => Some(("NoAnswer", format!("the API server does not answer within {WRITE_DOWN:?}"))),
    }
}

/// The API server and who answers for the name: a prober that reaches none of them is cut off, whatever it says of relays.
fn canaries(valid: &ManagedName, settings: &Settings) -> Vec<String> {
    let servers = match &valid.provider {
        Provider::Rfc2136 { servers, .. } => servers.iter().map(Server::place).collect(),
        Provider::ExternalDns { .. } => Vec::new(),
        Provider::AzureTrafficManager { .. } => vec![settings.azure.resource_manager.place()],
    };
    settings.api_server.iter().cloned().chain(servers).collect()
}

fn look(
    valid: &ManagedName,
    policy: &Policy,
    watch: &Watch,
    decision: Decision,
    observed: &Observed,
    name: &mut Name,
    (now, instant): (Timestamp, Instant),
) -> Look {
    let points = states(policy, watch, instant);
    let fine = points.iter().filter(|point| point.state == VantagePointState::Fine).count();
    name.was_sighted |= fine == points.len();
    let is_starting = !name.was_sighted && instant.saturating_duration_since(name.first_look) < STARTING;
    let sets = answers::sets(valid, &decision, observed, now);
    let key = name.seldom.publisher.as_ref().and_then(|publisher| publisher.as_ref().err());
    let unpublishable = match (&sets, key) {
        (Err(wrong), _) => Some(("AnswerInvalid", wrong.to_string())),
        (Ok(_), Some(why)) if policy.enforce => Some(("DnsKeyMissing", why.to_string())),
        (Ok(_), _) => None,
    };
    Look {
        decision,
        left_out: observed.left_out.clone(),
        points,
        alarms: name.heard.alarms(),
        sets: sets.unwrap_or_default(),
        told: name.publication.told(),
        unpublishable,
        probers: name.probers.clone(),
        is_starting,
    }
}

/// By name.
fn states(policy: &Policy, watch: &Watch, instant: Instant) -> Vec<VantagePointStatus> {
    let mut points: Vec<VantagePointStatus> = policy
        .vantage_points
        .iter()
        .map(|point| VantagePointStatus {
            name: point.name.clone(),
            region: point.region.clone(),
            state: match watch.point(&point.name) {
                Some(heard) if heard.is_fine(instant, policy) => VantagePointState::Fine,
                Some(heard) if heard.is_heard(instant, policy) => VantagePointState::CutOff,
                _ => VantagePointState::Silent,
            },
        })
        .collect();
    points.sort_by(|a, b| a.name.cmp(&b.name));
    points
}

fn publish(valid: &ManagedName, look: &Look, name: &Name, instant: Instant) {
    let publisher = name.seldom.publisher.as_ref().and_then(|publisher| publisher.as_ref().ok());
    match publisher.filter(|_| look.decision.publish && look.unpublishable.is_none()) {
        None => name.publication.rest(),
        Some(publisher) => {
            let regions = look.decision.regions.iter().map(|region| region.name.as_str());
            let left_out = look.left_out.iter().filter(|one| !one.is_gone()).map(|one| one.region.as_str());
            let before = name.written.as_ref().map_or(&[][..], |status| &status.published_names);
            name.publication.want(Wanted {
                publisher: Arc::clone(publisher),
                owner: valid.owner.clone(),
                sets: look.sets.clone(),
                gone: answers::gone(valid, before, regions.chain(left_out)),
                decided: name.decided.as_ref().map_or(instant, |decided| decided.at),
            });
        }
    }
}

struct Report {
    /// An Event about `Ready`.
    turned: Option<Note>,
    /// The status holds it, or held it before.
    is_written: bool,
}

/// Writes the status if it says something new.
async fn report(object: &DnsFailover, look: &Look, name: &mut Name, ctx: &Ctx) -> Result<Report, Error> {
    let before = name.written.clone().or_else(|| object.status.clone());
    let generation = object.metadata.generation.unwrap_or_default();
    let status = status::looked(generation, before.as_ref(), look, ctx.clock.now());
    ctx.metrics.name(&ObjectRef::of(object), &status);
    let turned = turned(before.as_ref(), &status);
    let is_written = write(object, status, before, name, ctx).await?;
    Ok(Report { turned, is_written })
}

async fn report_failure(object: &DnsFailover, name: &mut Name, error: &Error, ctx: &Ctx) -> Result<(), Error> {
    let (reason, message) = (error.reason(), with_causes(error));
    let before = name.written.clone().or_else(|| object.status.clone());
    let generation = object.metadata.generation.unwrap_or_default();
    let now = ctx.clock.now();
    let status = status::failed(generation, before.as_ref(), error.is_mistake(), reason, &message, now);
    if error.category() == Category::Retry {
        // What is told already is tried several times a second.
        if before.as_ref() != Some(&status) {
            tracing::warn!(object = %ObjectRef::of(object), reason, error = message, "a pass failed and is tried again");
        }
    } else {
        let inputs = serde_json::json!({"category": error.category().as_str()});
        let (kind, region) = ("refuse", None);
        let choice = Choice { kind, reason, region, message: message.clone(), inputs, is_event: true };
        record(object, &choice, true, ctx).await;
    }
    write(object, status, before, name, ctx).await.map(drop)
}

/// False where the API server did not answer.
async fn write(
    object: &DnsFailover,
    status: DnsFailoverStatus,
    before: Option<DnsFailoverStatus>,
    name: &mut Name,
    ctx: &Ctx,
) -> Result<bool, Error> {
    let api = Api::<DnsFailover>::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let write = kube_io::apply_status(&api, object, &status, before.as_ref());
    match timeout(WRITE_DOWN, write).await {
        Ok(Ok(written)) => {
            name.written = if written { Some(status) } else { before };
            Ok(true)
        }
        // Deleted meanwhile, or deleted and made again: there is nobody to report to.
        Ok(Err(error)) if error.api().is_some_and(|api| kube_io::is_not_found(api) || kube_io::is_conflict(api)) => {
            Ok(true)
        }
        Ok(Err(error)) => Err(Error::Report(error)),
        Err(_) => {
            tracing::warn!(object = %ObjectRef::of(object), "the status is not written down yet: the API server does not answer");
            Ok(false)
        }
    }
}

/// Remembers what was decided, and tells of what changed or cannot.
async fn tell(object: &DnsFailover, look: &Look, report: Report, ctx: &Ctx) {
    for choice in look.decision.choices.iter().filter(|choice| !(look.is_starting && choice.kind == "freeze")) {
        record(object, choice, is_warning(choice), ctx).await;
    }
    if let Some(Flip { from, to, reason, detection }) = look.decision.flip.as_ref().filter(|_| report.is_written) {
        ctx.metrics.flipped(*detection);
        let message = format!("callers are sent to {} instead of {}: {reason}", to.join(", "), from.join(", "));
        let warning = to.len() < from.len();
        ctx.recorder.publish(object, Note { warning, reason: "Flip", action: "Publish", message }).await;
    }
    if let Some(note) = report.turned {
        ctx.recorder.publish(object, note).await;
    }
    if let Some(took) = look.told.took {
        ctx.metrics.published(&ObjectRef::of(object), &look.told.sets, took);
    }
}

fn is_warning(choice: &Choice) -> bool {
    matches!(choice.kind, "withdraw" | "freeze" | "hold")
}

async fn record(object: &DnsFailover, choice: &Choice, warning: bool, ctx: &Ctx) {
    let Choice { kind, reason, region: _, message, inputs, is_event } = choice.clone();
    let note = Note { warning, reason, action: action(kind), message: message.clone() };
    let (about, at) = (ObjectRef::of(object), ctx.clock.now());
    let recorded = Recorded { kind, reason, object: about, slot: None, message, inputs, at };
    if ctx.decisions.record(recorded) && is_event {
        ctx.recorder.publish(object, note).await;
    }
}

/// The Event's action: the decision's kind, as Kubernetes writes such words.
fn action(kind: &'static str) -> &'static str {
    match kind {
        "withdraw" => "Withdraw",
        "return" => "Return",
        "step" => "Step",
        "hold" => "Hold",
        "freeze" => "Freeze",
        "pin" => "Pin",
        "refuse" => "Refuse",
        other => other,
    }
}

/// An Event when `Ready` turns. A first answer on its way is none.
fn turned(before: Option<&DnsFailoverStatus>, status: &DnsFailoverStatus) -> Option<Note> {
    let before = before.and_then(|status| status.conditions.condition(condition::READY));
    let ready = status.conditions.condition(condition::READY)?;
    if before.map(|condition| &condition.status) == Some(&ready.status) {
        return None;
    }
    let lost = before.is_some_and(|condition| condition.status == "True");
    let is_ready = ready.status == "True";
    if before.is_none() && !is_ready {
        return None;
    }
    let reason = if is_ready { "Ready" } else { "NotReady" };
    Some(Note { warning: lost, reason, action: "Observe", message: ready.message.clone() })
}

/// The end of a name. Kubernetes deletes its probers by their owner references.
async fn end(object: &DnsFailover, state: &State) -> Result<Action, Error> {
    let ctx = &state.ctx;
    if !object.finalizers().iter().any(|one| one == withdraw::FINALIZER) {
        return Ok(Action::await_change());
    }
    let uid = object.uid().unwrap_or_default();
    let valid = validate(object);
    let mut outcome = End::Withdrawn;
    if let Ok(valid) = &valid {
        let name = state.name(object);
        let mut name = name.lock().await;
        name.publication.rest();
        if name.seldom.read.is_none() {
            // This process has not seen it alive: its Secret may be there still.
            let _ = timeout(READ, seldom(valid, &[], &mut name.seldom, ctx)).await;
        }
        let status = name.written.as_ref().or(object.status.as_ref()).filter(|_| valid.provider.is_withdrawn());
        let names = status.map_or(&[][..], |status| &status.published_names);
        let names: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
        outcome = withdraw::withdraw(object, &names, &valid.owner, name.seldom.publisher.as_ref(), ctx).await;
    }
    match outcome {
        End::Withdrawn => {}
        End::NotYet { why } => {
            let note = Note { warning: true, reason: "NotWithdrawn", action: "Withdraw", message: why };
            ctx.recorder.publish(object, note).await;
            return Ok(Action::requeue(WITHDRAW_AGAIN));
        }
        End::LetGo { why } => {
            let message = format!("its answers stay where they were published: {why}");
            ctx.recorder.publish(object, Note { warning: true, reason: "LetGo", action: "Withdraw", message }).await;
        }
    }
    if !withdraw::hold(object, false, ctx).await.map_err(Error::Hold)? {
        return Ok(Action::requeue(SEEN_AGAIN));
    }
    state.memory.forget(&uid);
    ctx.metrics.name_gone(&ObjectRef::of(object));
    Ok(Action::await_change())
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn retry(object: Arc<Guarded>, error: &Error, state: Arc<State>) -> Action {
    if matches!(error, Error::NotLookedAt(_)) {
        return Action::requeue(OFFERED_AGAIN);
    }
    let category = if error.is_mistake() { Category::UserMustAct } else { Category::Retry };
    Action::requeue(state.ctx.backoff.next(&reference(&object), category))
}

fn reference(object: &Guarded) -> ObjectRef {
    ObjectRef::new(KIND, &object.namespace().unwrap_or_default(), &object.meta().name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::test_support::{cloud, managed};
    use super::*;

    #[test]
    fn probers_are_cut_off_where_they_reach_neither_the_cluster_nor_who_answers() {
        let settings = Settings {
            namespace: "rtc-fleet-system".into(),
            pod_name: "operator-0".into(),
            pod_ip: None,
            api_server: Some("10.96.0.1:443".into()),
            media_node_image: "media-node".into(),
            cluster_networks: vec![],
            azure: cloud(None),
        };
        let azure = "{provider: {azureTrafficManager: {subscriptionId: s, resourceGroup: g, profile: p}}}";
        for (spec, second) in [("{}", "192.0.2.53:53"), (azure, "management.azure.com:443")] {
            assert_eq!(canaries(&managed(spec), &settings), ["10.96.0.1:443", second], "{spec}");
        }
    }
}
