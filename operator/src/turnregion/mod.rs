//! The controller of `TurnRegion`: what it watches, and the steps of a reconcile.

mod apply;
pub mod build;
pub mod caches;
mod dereference;
mod farewell;
pub mod file;
mod memory;
mod observed;
pub mod offer;
mod secrets;
mod status;
#[cfg(test)]
pub mod test_support;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::runtime::controller::{Action, Config, Controller};
use kube::{Api, Resource, ResourceExt};
use rtcfleet_crds::{ConditionsExt, TurnRegion, TurnRegionStatus, condition};

use self::apply::{Applied, Incomplete, apply};
use self::build::Objects;
use self::caches::{Caches, Guarded, Triggers};
use self::dereference::dereference;
use self::memory::Memory;
use self::offer::Offer;
use self::validate::{Mistakes, Validated, readable, validate};
use crate::context::Ctx;
use crate::decisions::{Decision, ObjectRef};
use crate::error::{Categorised, Category, with_causes};
use crate::fleet::pace;
use crate::fleet::plan::{Choice, Situation, plan};
use crate::kube_io::{self, IoError, Note};
use crate::metrics::Queue;
use crate::pass;

const KIND: &str = "TurnRegion";
/// Regions reconciled at a time.
const CONCURRENCY: usize = 8;
/// Of a pass.
const LONGEST: Duration = Duration::from_mins(2);

/// Runs until `shutdown` resolves and the reconciles in progress are done.
pub async fn run(
    ctx: Arc<Ctx>,
    caches: Caches,
    triggers: Triggers,
    shutdown: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let queue = ctx.metrics.queue(KIND, CONCURRENCY);
    let farewell = tokio::spawn(farewell::run(caches.clone(), ctx.clone()));
    let state = Arc::new(State { caches: caches.clone(), memory: Memory::default(), ctx, queue });
    Controller::for_stream(triggers.regions, caches.regions)
        .with_config(Config::default().debounce(Duration::from_millis(200)))
        .reconcile_on(triggers.children)
        .reconcile_on(triggers.machines)
        .graceful_shutdown_on(shutdown)
        .run(reconcile, retry, state)
        .for_each(async |outcome| {
            // Errors of reconciles are reported where they happen; an object that went between event and reconcile is none.
            if let Err(error @ kube::runtime::controller::Error::QueueError(_)) = outcome {
                tracing::warn!(%error, "the watch of TurnRegions broke off and is begun again");
            }
        })
        .await;
    farewell.abort();
}

struct State {
    caches: Caches,
    memory: Memory,
    ctx: Arc<Ctx>,
    queue: Queue,
}

/// Why a pass did not go through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the object cannot be read: {0}")]
    Malformed(String),
    #[error(transparent)]
    Invalid(#[from] Mistakes),
    #[error(transparent)]
    Dereference(IoError),
    #[error(transparent)]
    Apply(#[from] Incomplete),
    #[error("the status cannot be written")]
    Report(#[source] IoError),
    #[error("the reconcile took longer than {LONGEST:?} and was given up")]
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
            Self::Dereference(error) | Self::Report(error) => error.category(),
            Self::Apply(incomplete) => incomplete.error.category(),
            Self::TooLong => Category::Retry,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::Invalid(mistakes) => mistakes.reason(),
            Self::Dereference(error) | Self::Report(error) => error.reason(),
            Self::Apply(incomplete) => incomplete.error.reason(),
            Self::TooLong => "TooLong",
        }
    }
}

/// What a pass came to.
enum Outcome {
    Managed(Box<Applied>),
    External { not_in_effect: Vec<String> },
}

/// One look at one region: a turn in the queue, a time limit, and what it came to is measured.
async fn reconcile(region: Arc<Guarded>, state: Arc<State>) -> Result<Action, Error> {
    let (object, limit) = (reference(&region), (LONGEST, Error::TooLong));
    pass::bounded(KIND, &object, &state.queue, &state.ctx, pass(&region, &state), limit).await
}

/// The table of contents. A failed step is reported like a finished one.
async fn pass(region: &Guarded, state: &State) -> Result<Action, Error> {
    state.caches.ready().await;
    let region = pass::readable(region, &state.ctx).await.map_err(Error::Malformed)?;
    if region.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change()); // Kubernetes deletes what it owns; `farewell` ends its nodes.
    }
    let outcome = steps(region, state).await;
    report(region, &outcome, &state.ctx).await?;
    outcome.map(|outcome| next_look(&outcome, state.ctx.clock.now()))
}

async fn steps(region: &TurnRegion, state: &State) -> Result<Outcome, Error> {
    let ctx = &state.ctx;
    let valid = match validate(region, &ctx.settings.cluster_networks) {
        Ok(Validated::Managed(valid)) => valid,
        Ok(Validated::External { identity, not_in_effect }) => {
            ctx.offers.withdraw(&identity);
            return Ok(Outcome::External { not_in_effect });
        }
        Err(mistakes) => {
            offer_what_runs(region, state).await;
            return Err(mistakes.into());
        }
    };
    let observed = dereference(&valid, &state.caches, ctx).await.map_err(Error::Dereference)?;
    let objects = Objects::build(&valid, &observed.machines, &ctx.settings.media_node_image);
    let now = ctx.clock.now();
    let regions = state.caches.regions.state();
    let scale = state.memory.scale(&valid, &observed, &regions, decided_before(region), (now, ctx.clock.instant()));
    let mut plan = plan(Situation {
        policy: &valid.fleet,
        scale: &scale,
        slots: &observed.slots,
        machines: &observed.for_fleet(),
        revision: &objects.revision,
        now,
    });
    plan.choices.insert(0, scale.choice());
    ctx.metrics.fleet(&ObjectRef::of(region), &scale, &observed.slots);
    ctx.offers.put(&valid.identity, Offer::of(&valid, &observed, now));
    let applied = apply(&valid, observed, &objects, scale, plan, ctx).await?;
    Ok(Outcome::Managed(Box::new(applied)))
}

/// Nothing is done for a region with mistakes, but names go on answering with its relays, and notice when they fail: also
/// a leader that has never seen it without.
async fn offer_what_runs(region: &TurnRegion, state: &State) {
    let ctx = &state.ctx;
    let Some(readable) = readable(region, &ctx.settings.cluster_networks) else { return };
    match dereference(&readable, &state.caches, ctx).await {
        Ok(observed) => ctx.offers.put_what_runs(&readable.identity, Offer::of(&readable, &observed, ctx.clock.now())),
        Err(error) => {
            let object = ObjectRef::of(region);
            tracing::warn!(%object, error = with_causes(&error), "what runs of a region with mistakes cannot be read");
        }
    }
}

/// The number of relays that was decided last, also by another leader.
fn decided_before(region: &TurnRegion) -> Option<u32> {
    let scaling = region.status.as_ref()?.scaling.as_ref()?;
    u32::try_from(scaling.desired).ok()
}

/// Writes the status if it says something new, and an Event for each thing done or refused.
async fn report(region: &TurnRegion, outcome: &Result<Outcome, Error>, ctx: &Ctx) -> Result<(), Error> {
    let now = ctx.clock.now();
    let before = region.status.as_ref();
    let generation = region.metadata.generation.unwrap_or_default();
    let status = match outcome {
        Ok(Outcome::Managed(applied)) => status::applied(generation, before, applied, now),
        Ok(Outcome::External { not_in_effect }) => status::external(generation, before, not_in_effect, now),
        Err(error) => status::failed(generation, before, error.is_mistake(), error.reason(), &with_causes(error), now),
    };
    tell(region, outcome, &status, ctx).await;
    let regions = Api::<TurnRegion>::namespaced(ctx.client.clone(), &region.namespace().unwrap_or_default());
    match kube_io::apply_status(&regions, region, &status, before).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile, or deleted and made again: there is nobody to report to.
        Err(error) if error.api().is_some_and(|api| kube_io::is_not_found(api) || kube_io::is_conflict(api)) => Ok(()),
        Err(error) => Err(Error::Report(error)),
    }
}

/// Decisions that were carried out, also in a pass of which something else failed, then what was refused.
async fn tell(region: &TurnRegion, outcome: &Result<Outcome, Error>, status: &TurnRegionStatus, ctx: &Ctx) {
    let done = match outcome {
        Ok(Outcome::Managed(applied)) => applied.done.as_slice(),
        Err(Error::Apply(incomplete)) => incomplete.done.as_slice(),
        Ok(Outcome::External { .. }) | Err(_) => &[],
    };
    for choice in done {
        record(region, choice.clone(), telling(choice, region, status), ctx).await;
    }
    match outcome {
        Ok(_) => {}
        // Passes by itself, and is tried again: no decision about the object, and mostly nobody to publish an Event to.
        Err(error) if error.category() == Category::Retry => {
            let object = ObjectRef::of(region);
            tracing::warn!(%object, reason = error.reason(), error = with_causes(error), "a pass failed and is tried again");
        }
        Err(error) => {
            let (reason, message) = (error.reason(), with_causes(error));
            let inputs = serde_json::json!({"category": error.category().as_str()});
            let choice = Choice { kind: "refuse", reason, slot: None, message, inputs };
            record(region, choice, Telling::Warning, ctx).await;
        }
    }
    for note in turned(region, status).into_iter().chain(alarms(region, status)) {
        ctx.recorder.publish(region, note).await;
    }
}

/// How people are told of a new decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    Event,
    Warning,
    /// It is in the log and in `operator explain`.
    Quietly,
}

/// A number that is what the status says already is news to a new leader alone.
fn telling(choice: &Choice, region: &TurnRegion, status: &TurnRegionStatus) -> Telling {
    let before = region.status.as_ref().and_then(|status| status.scaling.as_ref());
    match choice.kind {
        "halt" => Telling::Warning,
        "scale" if before == status.scaling.as_ref() => Telling::Quietly,
        _ => Telling::Event,
    }
}

/// Remembers a decision, and tells of a new one.
async fn record(region: &TurnRegion, choice: Choice, telling: Telling, ctx: &Ctx) {
    let Choice { kind, reason, slot, message, inputs } = choice;
    let slot = slot.and_then(|slot| i32::try_from(slot).ok());
    let warning = telling == Telling::Warning;
    let note = Note { warning, reason, action: action(kind), message: message.clone() };
    let (object, at) = (ObjectRef::of(region), ctx.clock.now());
    if ctx.decisions.record(Decision { kind, reason, object, slot, message, inputs, at }) && telling != Telling::Quietly
    {
        ctx.recorder.publish(region, note).await;
    }
}

/// An Event when `Ready` turns.
fn turned(region: &TurnRegion, status: &TurnRegionStatus) -> Option<Note> {
    let before = region.status.as_ref().and_then(|status| status.conditions.condition(condition::READY));
    let ready = status.conditions.condition(condition::READY)?;
    if before.map(|condition| &condition.status) == Some(&ready.status) {
        return None;
    }
    let is_ready = ready.status == "True";
    let lost = before.is_some_and(|condition| condition.status == "True");
    let reason = if is_ready { "Ready" } else { "NotReady" };
    Some(Note { warning: lost, reason, action: "Observe", message: ready.message.clone() })
}

/// An Event when a condition comes up that nobody who waits for `Ready` sees, or when its reason turns.
fn alarms(region: &TurnRegion, status: &TurnRegionStatus) -> Vec<Note> {
    let before = region.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let alarm = |kind: &'static str| {
        let condition = status.conditions.condition(kind)?;
        let is_new = before.condition(kind).is_none_or(|before| before.reason != condition.reason);
        is_new.then(|| Note { warning: true, reason: kind, action: "Observe", message: condition.message.clone() })
    };
    [condition::CERTIFICATE_EXPIRING, condition::PEER_RULES_VIOLATED].into_iter().filter_map(alarm).collect()
}

/// The Event's action: the decision's kind, as Kubernetes writes such words.
fn action(kind: &'static str) -> &'static str {
    match kind {
        "create" => "Create",
        "delete" => "Delete",
        "drain" => "Drain",
        "update" => "Update",
        "restore" => "Restore",
        "certify" => "Certify",
        "refuse" => "Refuse",
        "scale" => "Scale",
        "halt" => "Halt",
        other => other,
    }
}

fn next_look(outcome: &Outcome, now: Timestamp) -> Action {
    match outcome {
        Outcome::Managed(applied) if applied.again => Action::requeue(Duration::from_millis(500)),
        Outcome::Managed(applied) => {
            let Applied { slots, scale, rollout, waiting, .. } = &**applied;
            Action::requeue(pace::next_look(slots, scale.desired, rollout, waiting, now))
        }
        Outcome::External { .. } => Action::await_change(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn retry(region: Arc<Guarded>, error: &Error, state: Arc<State>) -> Action {
    if matches!(error, Error::Invalid(_)) {
        // What runs of it is offered to names, and changes.
        return Action::requeue(pace::STEADY);
    }
    // A refusal by the API server can end without an edit of the object, so it is tried again soon.
    let category = if error.is_mistake() { Category::UserMustAct } else { Category::Retry };
    Action::requeue(state.ctx.backoff.next(&reference(&region), category))
}

fn reference(region: &Guarded) -> ObjectRef {
    ObjectRef::new(KIND, &region.namespace().unwrap_or_default(), &region.meta().name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests;
