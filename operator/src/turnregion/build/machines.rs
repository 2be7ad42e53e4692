//! `machines.yaml`: which addresses each machine has, and of what type it is. A pod knows the machine it runs on,
//! not how clients reach it nor its labels.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Map, Value, json};

use super::{config::MACHINES_FILE, meta};
use crate::turnregion::observed::Machine;
use crate::turnregion::validate::ManagedRegion;
use crate::yaml;

/// Sorted by name, so that the same machines give the same text. A machine without an address is left out: a relay
/// there waits until it has one, and says so.
pub fn config_map(region: &ManagedRegion, machines: &[Machine]) -> ConfigMap {
    let by_name: BTreeMap<&String, &Machine> = machines.iter().map(|machine| (&machine.name, machine)).collect();
    let machines: Map<String, Value> = by_name
        .into_values()
        .filter(|machine| !machine.addresses.is_empty())
        .map(|machine| {
            let mut entry = json!({"addresses": machine.addresses, "publicAddresses": machine.public});
            if let Some(instance_type) = &machine.instance_type {
                entry["machineType"] = instance_type.as_str().into();
            }
            (machine.name.clone(), entry)
        })
        .collect();
    let text = yaml::text(&json!({ "machines": machines }));
    ConfigMap {
        metadata: meta(&region.identity, format!("{}-machines", region.identity.name)),
        data: Some(BTreeMap::from([(MACHINES_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    }
}
