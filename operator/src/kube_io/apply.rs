//! Writes by server-side apply, and only what differs.

use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    IoError, MANAGER, call,
    compare::{self, HASH},
    is_already_exists,
};
use crate::decisions::ObjectRef;

/// What an apply did.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<K> {
    /// The cluster holds it already: no request was made.
    Unchanged,
    /// It did not exist.
    Created(K),
    /// It was changed; `field` is the first one that differed.
    Updated { object: K, field: String },
}

impl<K> Written<K> {
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Unchanged)
    }
}

/// Makes the cluster hold `desired`, given `live` as it was last seen (`None`: not seen). Fields that `desired` does not
/// set stay as they are, unless an earlier apply of ours set them. An edit of ours by others is put back.
///
/// A `live` that is behind costs a write without effect, never a wrong one.
pub async fn apply<K>(api: &Api<K>, desired: &K, live: Option<&K>) -> Result<Written<K>, IoError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let (name, object) = identify("apply", desired)?;
    let unwritable = |source| IoError::Unwritable { doing: "apply", object: object.clone(), source };
    let desired = with_hash(serde_json::to_value(desired).map_err(unwritable)?);
    let field = match live {
        None => None,
        Some(live) => {
            let live = serde_json::to_value(live).map_err(unwritable)?;
            match compare::differs(&desired, &live) {
                None => return Ok(Written::Unchanged),
                Some(field) => Some(field),
            }
        }
    };
    // Forced: these objects are ours, and an edit by others is to be put back, not to be fought about.
    let params = PatchParams::apply(MANAGER).force();
    let written = call("apply", object, api.patch(&name, &params, &Patch::Apply(&desired))).await?;
    // What the API server takes back to what it was (a mutating webhook does that) is no change, however often it is tried.
    let version = |object: &K| object.meta().resource_version.clone();
    if live.is_some_and(|live| version(live).is_some() && version(live) == version(&written)) {
        tracing::debug!(%name, field, "an apply changed nothing: something in the cluster keeps the field as it is");
        return Ok(Written::Unchanged);
    }
    Ok(match field {
        None => Written::Created(written),
        Some(field) => Written::Updated { object: written, field },
    })
}

/// Writes `status` as a whole, if it says anything else than `live` does; times of conditions alone do not count.
/// True if it was written.
pub async fn apply_status<K, S>(api: &Api<K>, object: &K, status: &S, live: Option<&S>) -> Result<bool, IoError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    S: Serialize,
{
    let (name, reference) = identify("write the status of", object)?;
    let unwritable = |source| IoError::Unwritable { doing: "write the status of", object: reference.clone(), source };
    let status = serde_json::to_value(status).map_err(unwritable)?;
    let live = live.map(serde_json::to_value).transpose().map_err(unwritable)?;
    if live.is_some_and(|live| compare::same_status(&status, &live)) {
        return Ok(false);
    }
    // The uid makes the write fail instead of landing on a namesake that was created in between.
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name, "uid": object.meta().uid},
        "status": without_nulls(status),
    });
    let params = PatchParams::apply(MANAGER).force();
    call("write the status of", reference, api.patch_status(&name, &params, &Patch::Apply(&patch))).await?;
    Ok(true)
}

/// Creates `desired` unless it exists: `None` then, and nothing is changed.
pub async fn create<K>(api: &Api<K>, desired: &K) -> Result<Option<K>, IoError>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let (_, object) = identify("create", desired)?;
    let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
    match call("create", object, api.create(&params, desired)).await {
        Ok(created) => Ok(Some(created)),
        Err(error) if error.api().is_some_and(is_already_exists) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn identify<K: Resource<DynamicType = ()>>(
    doing: &'static str,
    object: &K,
) -> Result<(String, ObjectRef), IoError> {
    match object.meta().name.clone() {
        Some(name) if !name.is_empty() => Ok((name, ObjectRef::of(object))),
        _ => Err(IoError::Nameless { doing, kind: K::kind(&()).into_owned() }),
    }
}

/// Adds the digest of everything else, so that a field which we no longer set is seen as a difference.
fn with_hash(mut desired: Value) -> Value {
    // serde_json sorts the keys of objects, so equal content has one spelling.
    let digest = Sha256::digest(desired.to_string());
    let mut hex = format!("{digest:x}");
    hex.truncate(32);
    if let Some(metadata) = desired.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        annotations[HASH] = Value::String(hex);
    }
    desired
}

/// A null in an applied object would become a field that we own.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
