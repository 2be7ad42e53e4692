//! `turn.yaml`, the configuration file of a region's nodes: what they are exchanged for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use rtcfleet_crds::turn_region::Protocol;
use serde::Deserialize;
use serde_json::json;

use super::meta;
use crate::admin_port;
use crate::listener::ListenerPort;
use crate::pod::METRICS_PORT;
use crate::turnregion::validate::ManagedRegion;
use crate::yaml;

/// Where the pod finds its files.
pub const TURN_FOLDER: &str = "/etc/rtc-fleet/turn";
pub const TURN_FILE: &str = "turn.yaml";
pub const MACHINES_FOLDER: &str = "/etc/rtc-fleet/machines";
pub const MACHINES_FILE: &str = "machines.yaml";
pub const LIMITS_FOLDER: &str = "/etc/rtc-fleet/limits";
pub const LIMITS_FILE: &str = "limits.yaml";
pub const AUTH_FOLDER: &str = "/etc/rtc-fleet/auth";
pub const TLS_FOLDER: &str = "/etc/rtc-fleet/tls";

pub fn config_map(region: &ManagedRegion, name: &str, turn_yaml: String) -> ConfigMap {
    ConfigMap {
        metadata: meta(&region.identity, name.to_owned()),
        data: Some(BTreeMap::from([(TURN_FILE.to_owned(), turn_yaml)])),
        ..ConfigMap::default()
    }
}

pub fn turn_yaml(region: &ManagedRegion) -> String {
    let listeners: Vec<_> = region
        .listeners
        .ports()
        .iter()
        .flat_map(|one| [format!("0.0.0.0:{}", one.port), format!("[::]:{}", one.port)].map(|at| (one.protocol, at)))
        .map(|(protocol, address)| json!({"protocol": protocol.text(), "address": address}))
        .collect();
    let secret_files: Vec<_> = [Some(&region.secret.current), region.secret.previous.as_ref()]
        .into_iter()
        .flatten()
        .map(|key| format!("{AUTH_FOLDER}/{key}"))
        .collect();
    let mut config = json!({
        "realm": region.realm,
        "listeners": listeners,
        "relay": {
            "machinesFile": format!("{MACHINES_FOLDER}/{MACHINES_FILE}"),
            "minPort": region.relay.first(),
            "maxPort": region.relay.last(),
        },
        "limitsFile": format!("{LIMITS_FOLDER}/{LIMITS_FILE}"),
        "auth": {"secretFiles": secret_files},
        "admin": admin_port::config(),
        // The pod narrows it to its own by a flag.
        "metrics": {"address": format!("127.0.0.1:{METRICS_PORT}")},
        "drain": {"onTerminate": seconds(region.eviction_drain)},
    });
    // Nothing is written for what is left out: a key more would be another revision, and exchange every node.
    if region.listeners.certificate().is_some() {
        config["tls"] = json!({"certificate": format!("{TLS_FOLDER}/tls.crt"), "key": format!("{TLS_FOLDER}/tls.key")});
    }
    yaml::text(&config)
}

/// What [`turn_yaml`] wrote of listeners. None for a text that it did not write.
pub fn listeners(turn_yaml: &str) -> Option<Vec<ListenerPort>> {
    #[derive(Deserialize)]
    struct Written {
        listeners: Vec<Listener>,
    }
    #[derive(Deserialize)]
    struct Listener {
        protocol: Protocol,
        address: SocketAddr,
    }
    let written: Written = yaml::parse(turn_yaml).ok()?;
    let ports = written.listeners.iter().map(|one| ListenerPort { protocol: one.protocol, port: one.address.port() });
    // Each is written for both families.
    let each_once: BTreeSet<ListenerPort> = ports.collect();
    Some(each_once.into_iter().collect())
}

pub fn seconds(span: Duration) -> String {
    format!("{}s", span.as_secs())
}
