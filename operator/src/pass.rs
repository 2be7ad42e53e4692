//! What passes over objects of every kind have in common.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;

use crate::context::Ctx;
use crate::decisions::ObjectRef;
use crate::error::Categorised;
use crate::kube_io::Note;
use crate::metrics::{Outcome, Queue};

/// A pass with a turn in the queue and a time limit; what it came to is measured. One that hangs is given up: every call in
/// it has a shorter timeout of its own.
pub async fn bounded<E: Categorised>(
    kind: &'static str,
    object: &ObjectRef,
    queue: &Queue,
    ctx: &Ctx,
    pass: impl Future<Output = Result<Action, E>>,
    (longest, too_long): (Duration, E),
) -> Result<Action, E> {
    let _turn = queue.turn().await;
    let began = Instant::now();
    let outcome = tokio::time::timeout(longest, pass).await.unwrap_or(Err(too_long));
    let measured = outcome.as_ref().map_or_else(|error| Outcome::Failed(error.category()), |_| Outcome::Ok);
    ctx.metrics.reconciled(kind, measured, began.elapsed());
    if outcome.is_ok() {
        ctx.backoff.forget(object);
    }
    outcome
}

/// An object that was stored under an older schema and cannot be read is told about, and stops nobody else. The error is
/// what to do about it.
pub async fn readable<'a, K>(object: &'a DeserializeGuard<K>, ctx: &Ctx) -> Result<&'a K, String>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    match &object.0 {
        Ok(object) => Ok(object),
        Err(invalid) => {
            let message = format!("{}: correct the field and apply the object again", invalid.error);
            let note = Note { warning: true, reason: "Malformed", action: "Refuse", message: message.clone() };
            ctx.recorder.publish(object, note).await;
            Err(message)
        }
    }
}
