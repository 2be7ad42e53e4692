//! The end of a name: its answers are withdrawn, then it is let go. After a bounded time it is let go in any case: a DNS
//! server that is gone must not keep a namespace from being deleted.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use rtcfleet_crds::DnsFailover;
use serde_json::json;

use super::dereference::NoPublisher;
use crate::context::Ctx;
use crate::decisions::ObjectRef;
use crate::error::with_causes;
use crate::kube_io::{self, IoError, MANAGER};
use crate::publish::{DnsName, Owner, Publisher};

/// Keeps an object until its answers are withdrawn.
pub const FINALIZER: &str = "rtcfleet.dev/dns";
/// From the deletion on.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// How far the end is.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing of it is left.
    Withdrawn,
    /// Tried again until the patience is over.
    NotYet { why: String },
    /// What is there stays.
    LetGo { why: String },
}

/// Removes what the object owns from where it was published.
pub async fn withdraw(
    object: &DnsFailover,
    names: &[DnsName],
    owner: &Owner,
    publisher: Option<&Result<Arc<dyn Publisher>, NoPublisher>>,
    ctx: &Ctx,
) -> End {
    let why = match publisher {
        _ if names.is_empty() => return End::Withdrawn,
        Some(Ok(publisher)) => match remove(names, owner, &**publisher, ctx).await {
            Ok(()) => return End::Withdrawn,
            Err(why) => why,
        },
        Some(Err(why)) => why.to_string(),
        None => "who answers for the name, or the key, is not known".to_owned(),
    };
    let since = object.metadata.deletion_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    if ctx.clock.now().duration_since(since) < PATIENCE { End::NotYet { why } } else { End::LetGo { why } }
}

async fn remove(names: &[DnsName], owner: &Owner, publisher: &dyn Publisher, ctx: &Ctx) -> Result<(), String> {
    for name in names {
        if ctx.leadership.fence(ctx.clock.instant()).is_none() {
            return Err("another replica leads".to_owned());
        }
        publisher.withdraw(name, owner).await.map_err(|error| with_causes(&error))?;
    }
    Ok(())
}

/// Adds the finalizer or takes it away, and leaves those of others alone. False if the object is not as it was seen: look again.
pub async fn hold(object: &DnsFailover, holds: bool, ctx: &Ctx) -> Result<bool, IoError> {
    let before = object.finalizers();
    if before.iter().any(|one| one == FINALIZER) == holds {
        return Ok(true);
    }
    let mut finalizers: Vec<&str> = before.iter().map(String::as_str).filter(|one| *one != FINALIZER).collect();
    finalizers.extend(holds.then_some(FINALIZER));
    // The version makes it fail where somebody else's finalizer came or went meanwhile.
    let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.meta().resource_version}});
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let api = Api::<DnsFailover>::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default());
    let (name, patch) = (object.name_any(), Patch::Merge(&patch));
    let request = api.patch_metadata(&name, &params, &patch);
    match kube_io::call("hold", ObjectRef::of(object), request).await {
        Ok(_) => Ok(true),
        Err(error) if error.api().is_some_and(kube_io::is_not_found) => Ok(true),
        Err(error) if error.api().is_some_and(kube_io::is_conflict) => Ok(false),
        Err(error) => Err(error),
    }
}
