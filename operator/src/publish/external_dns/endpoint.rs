//! The kind `DNSEndpoint` as external-dns publishes it (externaldns.k8s.io/v1alpha1), and what we write into it. Pure.

use std::net::IpAddr;

use kube::{CustomResource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::Routing;
use crate::publish::{Addresses, RecordSet, Share};

/// Of the provider for Route 53: 0 to 255.
const WEIGHT: &str = "aws/weight";

/// As much of its spec as we write.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "externaldns.k8s.io",
    version = "v1alpha1",
    kind = "DNSEndpoint",
    namespaced,
    status = "DNSEndpointStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(default)]
pub struct DNSEndpointSpec {
    pub endpoints: Vec<Endpoint>,
}

/// Records of one name and type.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    pub dns_name: String,
    pub record_type: String,
    pub targets: Vec<String>,
    /// Seconds.
    #[serde(rename = "recordTTL")]
    pub record_ttl: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub set_identifier: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider_specific: Vec<Property>,
}

/// What one provider alone knows.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct Property {
    pub name: String,
    pub value: String,
}

/// What external-dns says of it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct DNSEndpointStatus {
    pub observed_generation: Option<i64>,
}

/// The records of an answer. None is without a target.
pub fn endpoints(set: &RecordSet, routing: Routing) -> Vec<Endpoint> {
    let plain = |addresses| records(set, addresses, &Endpoint::default());
    match routing {
        Routing::Weighted if !set.shares().is_empty() => {
            set.shares().iter().flat_map(|share| weighed(set, share)).collect()
        }
        Routing::Weighted | Routing::Simple => plain(set.addresses()),
    }
}

fn weighed(set: &RecordSet, share: &Share) -> Vec<Endpoint> {
    let weight = Property { name: WEIGHT.to_owned(), value: share.percent.to_string() };
    let template =
        Endpoint { set_identifier: share.region.clone(), provider_specific: vec![weight], ..Endpoint::default() };
    records(set, &share.addresses, &template)
}

fn records(set: &RecordSet, addresses: &Addresses, template: &Endpoint) -> Vec<Endpoint> {
    let of_type = |record_type: &str, is_of: fn(&IpAddr) -> bool| {
        let targets: Vec<String> = addresses.iter().filter(is_of).map(|address| address.to_string()).collect();
        (!targets.is_empty()).then(|| Endpoint {
            dns_name: set.name().to_string(),
            record_type: record_type.to_owned(),
            targets,
            record_ttl: set.ttl().into(),
            ..template.clone()
        })
    };
    [of_type("A", IpAddr::is_ipv4), of_type("AAAA", IpAddr::is_ipv6)].into_iter().flatten().collect()
}

/// All addresses that an object holds, whatever their weights.
pub fn addresses(object: &DNSEndpoint) -> Addresses {
    let endpoints = &object.spec.endpoints;
    let ttl = endpoints.first().and_then(|first| u32::try_from(first.record_ttl).ok()).unwrap_or_default();
    let is_one = endpoints.iter().all(|one| i64::from(ttl) == one.record_ttl);
    let targets = endpoints.iter().flat_map(|one| &one.targets).filter_map(|text| text.parse().ok());
    Addresses::new(if is_one { ttl } else { 0 }, targets)
}

/// Nothing would be changed by writing `wanted`, which was made from `live`.
pub fn is_same(live: &DNSEndpoint, wanted: &DNSEndpoint) -> bool {
    live.spec == wanted.spec
        && live.labels() == wanted.labels()
        && live.annotations() == wanted.annotations()
        && live.metadata.owner_references == wanted.metadata.owner_references
}

/// Why external-dns does not tell it yet, as far as the object says.
pub fn not_taken(live: &DNSEndpoint) -> Option<String> {
    let observed = live.status.as_ref().and_then(|status| status.observed_generation);
    (observed < live.metadata.generation).then(|| {
        format!(
            "it has not looked at DNSEndpoint {} as it is now: does it run with --source=crd, and do its filters let namespace and labels pass?",
            live.name_any()
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::publish::{Owner, Ttl};

    fn set(shares: &[(&str, u32, &[&str])]) -> RecordSet {
        let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let all = addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        let owner = Owner::new("rtc", "india", "1").unwrap();
        let set = RecordSet::new("turn.example.org".parse().unwrap(), owner, Ttl::new(30).unwrap(), all).unwrap();
        let share = |(region, percent, list): &(&str, u32, &[&str])| Share {
            region: (*region).to_owned(),
            percent: *percent,
            addresses: Addresses::new(30, addresses(list)),
        };
        set.shared(shares.iter().map(share).collect())
    }

    fn written(set: &RecordSet, routing: Routing) -> Value {
        serde_json::to_value(endpoints(set, routing)).unwrap()
    }

    const SHARES: &[(&str, u32, &[&str])] =
        &[("a", 95, &["192.0.2.1", "2001:db8::1"]), ("b", 5, &["192.0.2.2"]), ("c", 0, &[])];

    #[test]
    fn a_simple_answer_is_one_record_of_each_family() {
        let expected = json!([
            {"dnsName": "turn.example.org", "recordType": "A", "targets": ["192.0.2.1", "192.0.2.2"], "recordTTL": 30},
            {"dnsName": "turn.example.org", "recordType": "AAAA", "targets": ["2001:db8::1"], "recordTTL": 30},
        ]);
        assert_eq!(written(&set(SHARES), Routing::Simple), expected);
        assert_eq!(written(&set(&[]), Routing::Weighted), expected, "names of regions are not divided");
    }

    #[test]
    fn a_weighted_answer_is_a_set_for_each_region_that_has_callers() {
        let one = |kind: &str, targets: &[&str], region: &str, weight: &str| {
            json!({
                "dnsName": "turn.example.org", "recordType": kind, "targets": targets, "recordTTL": 30,
                "setIdentifier": region, "providerSpecific": [{"name": "aws/weight", "value": weight}],
            })
        };
        let expected = json!([
            one("A", &["192.0.2.1"], "a", "95"),
            one("AAAA", &["2001:db8::1"], "a", "95"),
            one("A", &["192.0.2.2"], "b", "5"),
        ]);
        assert_eq!(written(&set(SHARES), Routing::Weighted), expected);
    }

    #[test]
    fn an_object_that_external_dns_has_not_looked_at_is_behind() {
        let mut object = DNSEndpoint::new("turn.example.org", DNSEndpointSpec::default());
        object.metadata.generation = Some(2);
        for (observed, expected) in [(None, true), (Some(1), true), (Some(2), false)] {
            object.status = Some(DNSEndpointStatus { observed_generation: observed });
            assert_eq!(not_taken(&object).is_some(), expected, "{observed:?}");
        }
    }

    #[test]
    fn what_is_not_an_address_of_ours_is_not_taken_for_one() {
        let spec: DNSEndpointSpec = serde_json::from_value(json!({"endpoints": [
            {"dnsName": "a", "recordType": "CNAME", "targets": ["b.example"], "recordTTL": 30},
            {"dnsName": "a", "recordType": "A", "targets": ["192.0.2.1"], "recordTTL": 60},
        ]}))
        .unwrap();
        assert_eq!(addresses(&DNSEndpoint::new("a", spec)), Addresses::new(0, ["192.0.2.1".parse().unwrap()]));
    }
}
