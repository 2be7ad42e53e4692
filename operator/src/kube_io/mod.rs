//! Reading and writing the API server: every call has a timeout, and nothing is written that is there already.

mod apply;
mod client;
mod compare;
mod delete;
mod error;
mod events;
mod packed;
#[cfg(test)]
pub mod testing;

use std::time::Duration;

pub use apply::{Written, apply, apply_status, create};
pub use client::{client, config};
pub use compare::{differs, same_status};
pub use delete::{Deletion, delete};
pub use error::{IoError, is_already_exists, is_conflict, is_namespace_ending, is_not_found};
pub use events::{Note, Recorder};
pub use packed::Packed;

use crate::decisions::ObjectRef;

/// The field manager of everything that the operator writes.
pub const MANAGER: &str = "rtc-fleet-operator";

/// The longest that one call to the API server may take, answer included. Longer than the API server's own patience with
/// an unanswering etcd would keep a reconcile slot busy for nothing.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs one call with [`CALL_TIMEOUT`]; `doing` is for the message: `"read"`, `"list"`.
pub async fn call<T>(
    doing: &'static str,
    object: ObjectRef,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, IoError> {
    match tokio::time::timeout(CALL_TIMEOUT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(IoError::Refused { doing, object, source: Box::new(source) }),
        Err(_) => Err(IoError::NoAnswer { doing, object, waited: CALL_TIMEOUT }),
    }
}

/// Reads one object; `None` if it does not exist.
pub async fn get<K>(api: &kube::Api<K>, name: &str) -> Result<Option<K>, IoError>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let object = ObjectRef::new(&K::kind(&()), api.namespace().unwrap_or_default(), name);
    call("read", object, api.get_opt(name)).await
}

/// For watches, before the store: managedFields are the larger half of a small object, and nothing
/// here reads them (what we own is compared by content, see [`differs`]).
pub fn slim<K: kube::Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}
