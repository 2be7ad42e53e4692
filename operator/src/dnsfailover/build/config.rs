//! `probe.yaml`, the configuration file of a name's probers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ConfigMap;
use rtcfleet_crds::dns_failover::Echo;
use rtcfleet_crds::turn_region::Protocol;
use rtcfleet_node_api::MAX_TARGETS;
use serde_json::{Value, json};

use super::{Material, config_name, meta};
use crate::admin_port;
use crate::dnsfailover::validate::{ManagedName, Probers};
use crate::failover::seen::NodeState;
use crate::pod::METRICS_PORT;
use crate::turnregion::offer::Offer;
use crate::yaml;

/// Where a prober finds its files.
pub const CONFIG_FOLDER: &str = "/etc/rtc-fleet/probe";
pub const CONFIG_FILE: &str = "probe.yaml";
pub const AUTH_FOLDER: &str = "/etc/rtc-fleet/auth";

/// What a prober takes.
const MAX_CANARIES: usize = 16;

/// Families of addresses that are probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Families {
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a IpAddr>) -> Self {
        addresses.into_iter().fold(Self::default(), |known, address| Self {
            ipv4: known.ipv4 || address.is_ipv4(),
            ipv6: known.ipv6 || address.is_ipv6(),
        })
    }

    fn has(self, address: &IpAddr) -> bool {
        if address.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }
}

pub fn config_map(name: &ManagedName, asked: &Probers, material: &Material<'_>) -> ConfigMap {
    let mut data = BTreeMap::from([(CONFIG_FILE.to_owned(), text(name, asked, material))]);
    data.extend(material.authorities.map(|pem| (authorities_file(pem), pem.to_owned())));
    ConfigMap { metadata: meta(&name.identity, config_name(&name.identity)), data: Some(data), ..ConfigMap::default() }
}

fn text(name: &ManagedName, asked: &Probers, material: &Material<'_>) -> String {
    let mut config = json!({
        "targets": targets(name, material),
        "interval": format!("{}ms", asked.interval.as_millis()),
        "regions": material.offers.iter().map(|offer| (offer.seen.name.clone(), region(offer))).collect::<BTreeMap<_, _>>(),
        "canary": material.canaries.iter().take(MAX_CANARIES).map(|place| format!("tcp:{place}")).collect::<Vec<_>>(),
        "echo": {"peer": match asked.echo { Echo::Relay => "relay", Echo::Prober => "here" }},
        "admin": admin_port::config(),
        // The pod narrows it to its own by a flag.
        "metrics": {"address": format!("127.0.0.1:{METRICS_PORT}")},
    });
    if let Some(pem) = material.authorities {
        config["caFile"] = json!(authorities_file(pem));
    }
    yaml::text(&config)
}

/// Named by what it holds: a configuration that is brought to a prober before its kubelet has brought the authorities is
/// refused, and not taken with those of before.
fn authorities_file(pem: &str) -> String {
    format!("authorities-{}.pem", &yaml::hash(pem)[..10])
}

fn region(offer: &Offer) -> Value {
    let keys = [Some(&offer.secret.current), offer.secret.previous.as_ref()].into_iter().flatten();
    let files: Vec<String> = keys.map(|key| format!("{AUTH_FOLDER}/{}/{key}", offer.seen.name)).collect();
    json!({"auth": {"secretFiles": files}})
}

/// Each relay that takes calls or should, at each of its listeners that the region still wants, or is judged by. Of regions
/// with more than a prober can take, the first relays by name.
fn targets(name: &ManagedName, material: &Material<'_>) -> Vec<Value> {
    let share = MAX_TARGETS / material.offers.len().max(1);
    material.offers.iter().flat_map(|offer| of_region(name, offer, material).into_iter().take(share)).collect()
}

fn of_region(name: &ManagedName, offer: &Offer, material: &Material<'_>) -> Vec<Value> {
    let mut nodes: Vec<_> = offer.seen.nodes.iter().filter(|node| node.state != NodeState::Draining).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let probed: BTreeSet<Protocol> = offer.seen.transports.iter().copied().chain(offer.seen.judged()).collect();
    let mut targets = Vec::new();
    for node in nodes {
        let listeners = node.listeners.iter().filter(|one| probed.contains(&one.protocol));
        for address in node.addresses.iter().filter(|address| material.families.has(address)) {
            let family = if address.is_ipv4() { "4" } else { "6" };
            targets.extend(listeners.clone().map(|listener| {
                let mut target = json!({
                    "name": format!("{}/{family}/{}", node.name, listener.port),
                    "region": offer.seen.name,
                    "address": std::net::SocketAddr::new(*address, listener.port).to_string(),
                    "transport": listener.protocol.text(),
                });
                if listener.protocol == Protocol::Tls {
                    target["serverName"] = json!(name.hostname.as_str());
                }
                target
            }));
        }
    }
    targets
}
