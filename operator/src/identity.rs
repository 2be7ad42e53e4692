//! Which object it is.

use kube::{Resource, ResourceExt};

/// A stored object of a namespaced kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: i64,
}

/// An object that no API server has stored: it has no such field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata.{0}: the object has none; this is a mistake of the API server or of the operator, not yours")]
pub struct NoIdentity(pub &'static str);

impl Identity {
    pub fn of<K: Resource>(object: &K) -> Result<Self, NoIdentity> {
        Ok(Self {
            name: object.meta().name.clone().ok_or(NoIdentity("name"))?,
            namespace: object.namespace().ok_or(NoIdentity("namespace"))?,
            uid: object.uid().ok_or(NoIdentity("uid"))?,
            generation: object.meta().generation.unwrap_or_default(),
        })
    }
}
