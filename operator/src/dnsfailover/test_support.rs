//! Fixtures: they pass through the real `validate`.

use rtcfleet_crds::DnsFailover;

use super::validate::{ManagedName, validate};
use crate::publish::azure::{Cloud, WorkloadIdentity};

/// `turn.example.org` for the group `india`, published by dynamic updates, with the fields of `spec` (YAML) put over.
pub fn object(spec: &str) -> DnsFailover {
    let mut whole = serde_json::json!({
        "apiVersion": "rtcfleet.dev/v1alpha1",
        "kind": "DnsFailover",
        "metadata": {"name": "india", "namespace": "rtc", "uid": "0d5f", "generation": 2},
        "spec": {
            "hostname": "turn.example.org",
            "failoverGroup": "india",
            "provider": {"rfc2136": {
                "servers": ["192.0.2.53"],
                "tsig": {"keyName": "rtc-fleet", "secretRef": {"name": "dns-key"}},
            }},
        },
    });
    let extra: serde_json::Map<String, serde_json::Value> = crate::yaml::parse(spec).expect("YAML");
    whole["spec"].as_object_mut().expect("an object").extend(extra);
    serde_json::from_value(whole).expect("a DnsFailover")
}

/// Azure's public cloud.
pub fn cloud(workload_identity: Option<WorkloadIdentity>) -> Cloud {
    let [resource_manager, authority] = ["https://management.azure.com", "https://login.microsoftonline.com"]
        .map(|site| site.parse().expect("an origin"));
    Cloud { resource_manager, authority, workload_identity }
}

/// [`object`], validated.
pub fn managed(spec: &str) -> ManagedName {
    validate(&object(spec)).expect("a valid name")
}
