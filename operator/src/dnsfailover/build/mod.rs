//! Validated name and what its regions offer → the Kubernetes objects of its probers. Pure.

mod config;
mod deployment;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rtcfleet_crds::labels;

pub use self::config::Families;
use super::validate::{BESIDE_OPERATOR, ManagedName, Probers};
use crate::identity::Identity;
use crate::turnregion::offer::Offer;

/// A prober that we run.
#[derive(Clone, Debug, PartialEq)]
pub struct Prober {
    /// Of the vantage point.
    pub name: String,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// On a machine of the region of this TurnRegion.
    In { machines: String, tolerations: Vec<Toleration>, image_pull_secrets: Vec<String> },
    /// On a machine of none of these regions where there is one, and near the operator.
    Outside { machines: Vec<String>, image_pull_secrets: Vec<String> },
}

/// One in each region, and one beside the operator. Sorted by name.
pub fn probers(offers: &[Arc<Offer>]) -> Vec<Prober> {
    let mut all: Vec<Prober> = offers
        .iter()
        .map(|offer| Prober {
            name: offer.seen.name.clone(),
            place: Place::In {
                machines: offer.region.clone(),
                tolerations: offer.tolerations.clone(),
                image_pull_secrets: offer.image_pull_secrets.clone(),
            },
        })
        .collect();
    if !offers.is_empty() && !all.iter().any(|prober| prober.name == BESIDE_OPERATOR) {
        let mut machines: Vec<String> = offers.iter().map(|offer| offer.region.clone()).collect();
        machines.sort();
        machines.dedup();
        let image_pull_secrets = offers.iter().flat_map(|offer| offer.image_pull_secrets.clone()).collect();
        all.push(Prober { name: BESIDE_OPERATOR.into(), place: Place::Outside { machines, image_pull_secrets } });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// What probers are made from, besides the name.
pub struct Material<'a> {
    pub offers: &'a [Arc<Offer>],
    /// Authorities of the regions' certificates, PEM. None: the public ones.
    pub authorities: Option<&'a str>,
    /// Address families that probers have.
    pub families: Families,
    /// `HOST:PORT` of what nearly always accepts connections and is no relay.
    pub canaries: Vec<String>,
    pub image: &'a str,
    pub operator_namespace: &'a str,
}

/// The objects of all probers of one name, but for the Secret of their admin ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    pub config: ConfigMap,
    pub deployments: Vec<Deployment>,
}

impl Objects {
    pub fn build(name: &ManagedName, asked: &Probers, probers: &[Prober], material: &Material<'_>) -> Self {
        Self {
            config: config::config_map(name, asked, material),
            deployments: probers.iter().map(|one| deployment::deployment(name, asked, one, material)).collect(),
        }
    }

    /// What probers run by.
    pub fn probe_yaml(&self) -> &str {
        self.config.data.as_ref().and_then(|data| data.get(config::CONFIG_FILE)).map_or("", String::as_str)
    }
}

/// Name of the Secret with the certificate of probers' admin ports.
pub fn admin_secret_name(name: &Identity) -> String {
    format!("{}-probe-admin", name.name)
}

/// The name that this certificate carries (a DNS SAN; nothing resolves it).
pub fn admin_server_name(name: &Identity) -> String {
    format!("{}.{}.probe.rtcfleet.dev", name.name, name.namespace)
}

/// Metadata of that Secret.
pub fn admin_meta(name: &Identity) -> ObjectMeta {
    meta(name, admin_secret_name(name))
}

fn config_name(name: &Identity) -> String {
    format!("{}-probe", name.name)
}

/// Labels of everything that belongs to a name.
fn own_labels(name: &Identity) -> BTreeMap<String, String> {
    name.labels("probe", labels::DNS_FAILOVER)
}

/// Of an object of the name.
fn meta(identity: &Identity, name: String) -> ObjectMeta {
    identity.child("DnsFailover", name, own_labels(identity))
}

#[cfg(test)]
mod tests;
