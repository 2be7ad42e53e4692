//! `limits.yaml`: what may be changed while nodes run. They follow it, so it is no part of the revision: a change of it ends
//! no session and exchanges no node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Map, Value, json};

use super::{
    config::{LIMITS_FILE, seconds},
    meta,
};
use crate::turnregion::validate::{Identity, ManagedRegion, NicCapacity, NodeQuotas};
use crate::yaml;

/// Name of the ConfigMap. The same whatever is in it: a pod that runs can be brought another text, not another ConfigMap.
pub fn name(region: &Identity) -> String {
    format!("{}-limits", region.name)
}

/// The ConfigMap, and the hash by which nodes tell what they run.
pub fn config_map(region: &ManagedRegion) -> (ConfigMap, String) {
    let text = limits_yaml(region);
    let hash = yaml::hash(&text);
    let map = ConfigMap {
        metadata: meta(&region.identity, name(&region.identity)),
        data: Some(BTreeMap::from([(LIMITS_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    };
    (map, hash)
}

fn limits_yaml(region: &ManagedRegion) -> String {
    let mut limits = json!({
        "relay": {"allowPeers": region.allow_peers, "denyPeers": region.deny_peers},
        "auth": {"maxTtl": seconds(region.max_ttl)},
        "quotas": quotas(&region.quotas),
    });
    if let Some(nic) = nic(&region.nic) {
        limits["capacity"] = json!({ "nic": nic });
    }
    yaml::text(&limits)
}

fn quotas(quotas: &NodeQuotas) -> Value {
    let NodeQuotas { per_user, per_node, bandwidth } = quotas;
    let mut value = json!({"allocationsPerUser": per_user, "allocations": per_node});
    if let Some(bandwidth) = bandwidth {
        value["bandwidthPerAllocation"] = bandwidth.to_string().into();
    }
    value
}

fn nic(capacity: &NicCapacity) -> Option<Map<String, Value>> {
    let NicCapacity { tx, rx, packets } = capacity;
    let written = [("tx", tx), ("rx", rx), ("packets", packets)];
    let written: Map<String, Value> = written
        .into_iter()
        .filter_map(|(key, rate)| Some((key.to_owned(), rate.as_ref()?.to_string().into())))
        .collect();
    (!written.is_empty()).then_some(written)
}
