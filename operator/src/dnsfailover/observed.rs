//! What is there: regions, probers and what they are made from, as values. No client, no clock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use rtcfleet_crds::labels;

use super::build::Families;
use crate::turnregion::offer::Offer;

/// Everything read for one name, but for what is asked for seldom ([`super::memory::Seldom`]).
#[derive(Debug, Default)]
pub struct Observed {
    /// Of the regions that it answers with. By name.
    pub offers: Vec<Arc<Offer>>,
    /// Why other regions are left out, a sentence each.
    pub left_out: Vec<LeftOut>,
    pub pods: Vec<ProberPod>,
    pub deployments: Vec<Deployment>,
    pub config: Option<ConfigMap>,
}

/// A region without an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub region: String,
    pub why: Why,
}

impl LeftOut {
    /// Nobody is to be sent there any more.
    pub fn is_gone(&self) -> bool {
        matches!(self.why, Why::Missing | Why::Ending)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no such TurnRegion.
    Missing,
    /// No pass of ours has looked at it yet.
    NotLookedAt,
    /// Its relays run elsewhere.
    External,
    /// It is being deleted.
    Ending,
}

/// The youngest pod of a prober that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProberPod {
    /// The vantage point.
    pub prober: String,
    /// One of each family at the most.
    pub addresses: Vec<IpAddr>,
    /// Where its machine is.
    pub machines: Option<String>,
}

impl Observed {
    pub fn pod(&self, prober: &str) -> Option<&ProberPod> {
        self.pods.iter().find(|pod| pod.prober == prober)
    }

    /// Families that our probers have; before there is any, that of the operator's own address.
    pub fn families(&self, own: Option<IpAddr>) -> Families {
        let known: Vec<IpAddr> = self.pods.iter().flat_map(|pod| pod.addresses.iter().copied()).collect();
        if known.is_empty() { Families::of(&[own.unwrap_or(IpAddr::from([0, 0, 0, 0]))]) } else { Families::of(&known) }
    }
}

/// Of each vantage point the youngest that has an address and is not ending. `machines_of` knows where a machine is.
pub fn prober_pods(pods: &[Arc<Pod>], machines_of: impl Fn(&str) -> Option<String>) -> Vec<ProberPod> {
    let mut youngest: BTreeMap<&str, &Pod> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Some(prober) = pod.labels().get(labels::VANTAGE_POINT) else { continue };
        let age = |pod: &Pod| (pod.creation_timestamp().map(|time| time.0), pod.name_any());
        let known = youngest.get(prober.as_str()).copied();
        if !addresses(pod).is_empty() && known.is_none_or(|known| age(known) < age(pod)) {
            youngest.insert(prober, pod);
        }
    }
    youngest
        .into_iter()
        .map(|(prober, pod)| ProberPod {
            prober: prober.to_owned(),
            addresses: addresses(pod),
            machines: pod.spec.as_ref().and_then(|spec| machines_of(spec.node_name.as_deref()?)),
        })
        .collect()
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let status = pod.status.as_ref();
    let all = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    all.filter_map(|one| one.ip.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, created: &str, ip: &str) -> Arc<Pod> {
        let ips: Vec<_> =
            [ip].into_iter().filter(|ip| !ip.is_empty()).map(|ip| serde_json::json!({"ip": ip})).collect();
        let pod = serde_json::json!({
            "metadata": {"name": name, "labels": {labels::VANTAGE_POINT: "operator"}, "creationTimestamp": created},
            "spec": {"nodeName": "m1", "containers": []},
            "status": {"podIPs": ips},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn the_youngest_pod_with_an_address_is_the_prober() {
        let pods = [
            pod("old", "2026-02-01T10:00:00Z", "10.0.0.1"),
            pod("young", "2026-02-01T10:01:00Z", "10.0.0.2"),
            pod("starts", "2026-02-01T10:02:00Z", ""),
        ];
        let found = prober_pods(&pods, |machine| (machine == "m1").then(|| "south".to_owned()));
        let expected = ProberPod {
            prober: "operator".into(),
            addresses: vec![[10, 0, 0, 2].into()],
            machines: Some("south".into()),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn families_are_those_of_probers_and_before_that_of_the_operator() {
        let observed = |addresses: &[&str]| Observed {
            pods: vec![ProberPod {
                prober: "a".into(),
                addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                machines: None,
            }],
            ..Observed::default()
        };
        let own = Some("2001:db8::1".parse().unwrap());
        assert_eq!(Observed::default().families(own), Families { ipv4: false, ipv6: true });
        assert_eq!(Observed::default().families(None), Families { ipv4: true, ipv6: false });
        assert_eq!(observed(&["10.0.0.1", "fd00::1"]).families(own), Families { ipv4: true, ipv6: true });
    }
}
