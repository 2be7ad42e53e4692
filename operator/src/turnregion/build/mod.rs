//! Validated region → Kubernetes objects. Pure, and golden-tested: a template that changes without a change of the
//! TurnRegion or of the node image would restart calls.

mod budget;
mod config;
mod deployment;
mod limits;
mod machines;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rtcfleet_crds::labels;
use sha2::{Digest, Sha256};

use super::observed::Machine;
use super::validate::{Identity, ManagedRegion};
use crate::listener::ListenerPort;

/// Pod annotation: the uid of the region. A region that is deleted and made again is another one.
pub const REGION_UID: &str = "rtcfleet.dev/turnregion-uid";

/// Everything that does not depend on a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// `<region>-machines`: which address each machine has. Followed by nodes that start, so it is no part of the revision.
    pub machines: ConfigMap,
    /// `<region>-limits`: what may be changed while nodes run. Followed by them, so it is no part of the revision.
    pub limits: ConfigMap,
    /// By which nodes tell what they run of it.
    pub limits_hash: String,
    /// `<region>-turn-<revision>`: the configuration of the nodes of one revision. A new revision gets a new one, so that
    /// a node that has not been drained restarts with what it had.
    pub turn: ConfigMap,
    pub budget: PodDisruptionBudget,
    /// Hash of all that a node must be exchanged for.
    pub revision: String,
    /// The Deployment of slot 0; [`Objects::deployment`] gives the others.
    template: Deployment,
}

impl Objects {
    /// `default_image` is that of regions that name no other.
    pub fn build(region: &ManagedRegion, machines: &[Machine], default_image: &str) -> Self {
        let image = region.template.image.as_deref().unwrap_or(default_image);
        let turn_yaml = config::turn_yaml(region);
        let revision = deployment::revision(region, image, &turn_yaml);
        let turn_name = turn_config_name(&region.identity, &revision);
        let (limits, limits_hash) = limits::config_map(region);
        Self {
            limits,
            limits_hash,
            machines: machines::config_map(region, machines),
            turn: config::config_map(region, &turn_name, turn_yaml),
            budget: budget::budget(region),
            template: deployment::deployment(region, image, &turn_name, &revision),
            revision,
        }
    }

    /// The Deployment of one slot.
    pub fn deployment(&self, region: &ManagedRegion, slot: u32) -> Deployment {
        deployment::of_slot(&self.template, region, slot)
    }
}

/// Name of the Secret with the certificate of the region's admin ports.
pub fn admin_secret_name(region: &Identity) -> String {
    format!("{}-admin", region.name)
}

/// The name that the certificate of a region's admin ports carries (a DNS SAN; nothing resolves it).
pub fn admin_server_name(region: &Identity) -> String {
    format!("{}.{}.turn.rtcfleet.dev", region.name, region.namespace)
}

/// Metadata of that Secret.
pub fn admin_meta(region: &Identity) -> ObjectMeta {
    meta(region, admin_secret_name(region))
}

/// Where nodes of a revision are open: by the configuration that they were made with, if it is among `maps`.
pub fn listeners(region: &Identity, revision: &str, maps: &[ConfigMap]) -> Option<Vec<ListenerPort>> {
    let name = turn_config_name(region, revision);
    let of_revision = maps.iter().find(|map| map.metadata.name.as_deref() == Some(&name))?;
    config::listeners(of_revision.data.as_ref()?.get(config::TURN_FILE)?)
}

fn turn_config_name(region: &Identity, revision: &str) -> String {
    format!("{}-turn-{revision}", region.name)
}

/// Labels of everything that belongs to a region.
pub fn region_labels(region: &Identity) -> BTreeMap<String, String> {
    region.labels("turn", labels::TURN_REGION)
}

/// What a Service, a budget or the scale subresource selects the region's pods by.
pub fn selector(region: &Identity) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned()),
        (labels::TURN_REGION.to_owned(), region.name.clone()),
    ])
}

/// Of an object of the region.
fn meta(region: &Identity, name: String) -> ObjectMeta {
    region.child("TurnRegion", name, region_labels(region))
}

/// The first 10 hex digits of a SHA-256: enough to tell revisions of one region apart.
fn short_hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
