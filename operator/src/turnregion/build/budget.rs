//! The PodDisruptionBudget: how many relays of a region `kubectl drain` and other evictions may end at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{meta, selector};
use crate::turnregion::validate::ManagedRegion;

pub fn budget(region: &ManagedRegion) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: meta(&region.identity, region.identity.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(i32::try_from(region.fleet.max_unavailable).unwrap_or(1))),
            selector: Some(LabelSelector {
                match_labels: Some(selector(&region.identity)),
                ..LabelSelector::default()
            }),
            // A relay that is not ready has no calls to protect, and must not hold up the drain of a machine.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
