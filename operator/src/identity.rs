//! Which object it is.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use rtcfleet_crds::labels;

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

    /// Labels of everything that is made for it: media nodes in the role `component`, and whose they are by the label `owner`.
    pub fn labels(&self, component: &str, owner: &str) -> BTreeMap<String, String> {
        [
            (labels::NAME, "media-node"),
            (labels::COMPONENT, component),
            (labels::MANAGED_BY, labels::MANAGER),
            (owner, &self.name),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Metadata of an object that is made for it. The owner reference makes Kubernetes delete it with this one, of `kind`.
    pub fn child(&self, kind: &str, name: String, labels: BTreeMap<String, String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![OwnerReference {
                api_version: format!("{}/{}", rtcfleet_crds::GROUP, rtcfleet_crds::VERSION),
                kind: kind.into(),
                name: self.name.clone(),
                uid: self.uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        }
    }
}
