//! Fixtures: they pass through the real `validate`, so that no test holds what a cluster could not.

use rtcfleet_crds::TurnRegion;

use super::offer::Offer;
use super::validate::{ManagedRegion, SecretKeys, Validated, validate};
use crate::failover::seen::Seen;

/// The shortest useful region: `centralindia` in namespace `rtc`.
pub fn region() -> TurnRegion {
    region_with("{}")
}

/// [`region`] with the fields of `spec` (YAML) put over its own; a null takes a field away.
pub fn region_with(spec: &str) -> TurnRegion {
    let mut whole = serde_json::json!({
        "apiVersion": "rtcfleet.dev/v1alpha1",
        "kind": "TurnRegion",
        "metadata": {"name": "centralindia", "namespace": "rtc", "uid": "0c1f", "generation": 3},
        "spec": {
            "region": "centralindia",
            "auth": {"realm": "turn.example.org", "secretRef": {"name": "turn-auth"}},
        },
    });
    let extra: serde_json::Map<String, serde_json::Value> = crate::yaml::parse(spec).expect("YAML");
    let fields = whole["spec"].as_object_mut().expect("an object");
    for (field, value) in extra {
        if value.is_null() {
            fields.remove(&field);
        } else {
            fields.insert(field, value);
        }
    }
    serde_json::from_value(whole).expect("a TurnRegion")
}

/// That of a region without relays.
pub fn offer(name: &str) -> Offer {
    Offer {
        uid: name.into(),
        failover_group: None,
        is_valid: true,
        seen: Seen { name: name.into(), transports: vec![], nodes: vec![], capacity: None, load: None },
        secret: SecretKeys { name: "auth".into(), current: "current".into(), previous: None },
        certificate: None,
        region: name.into(),
        tolerations: vec![],
        image_pull_secrets: vec![],
    }
}

/// [`region_with`], validated.
pub fn managed(spec: &str) -> ManagedRegion {
    match validate(&region_with(spec), &[]).expect("a valid region") {
        Validated::Managed(managed) => *managed,
        Validated::External { .. } => panic!("a managed region"),
    }
}
