//! A decision → the record sets to publish. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::validate::ManagedName;
use crate::failover::answer::{Portion, answer};
use crate::failover::decide::Decision;
use crate::failover::slots;
use crate::publish::{DnsName, NoRecordSet, RecordSet};
use crate::turnregion::offer::Offer;

/// That of the name, and with `regionNames` one of each region that has a relay. Nothing is empty.
pub fn sets(
    name: &ManagedName,
    decision: &Decision,
    offers: &[Arc<Offer>],
    now: Timestamp,
) -> Result<Vec<RecordSet>, NoRecordSet> {
    let set = |of: DnsName, addresses| RecordSet::new(of, name.owner.clone(), name.ttl, addresses);
    let mut sets = Vec::new();
    if !decision.answer.is_empty() {
        sets.push(set(name.hostname.clone(), decision.answer.addresses().collect::<Vec<_>>())?);
    }
    for offer in offers.iter().filter(|_| name.region_names) {
        let portion = Portion { part: 1.0, relays: offer.seen.takers() };
        let found = answer(&[portion], name.policy.max_addresses, slots::number(now, name.policy.ttl));
        if let Some(own) = region_name(name, &offer.seen.name).filter(|_| !found.is_empty()) {
            sets.push(set(own, found.addresses().collect())?);
        }
    }
    Ok(sets)
}

/// Names that were published and are not answered for any more. That of a region without relays stays as it is.
pub fn gone<'a>(name: &ManagedName, published: &[String], regions: impl Iterator<Item = &'a str>) -> Vec<DnsName> {
    let mut stay: BTreeSet<DnsName> = BTreeSet::from([name.hostname.clone()]);
    stay.extend(regions.filter(|_| name.region_names).filter_map(|region| region_name(name, region)));
    published.iter().filter_map(|text| text.parse().ok()).filter(|one| !stay.contains(one)).collect()
}

fn region_name(name: &ManagedName, region: &str) -> Option<DnsName> {
    format!("{region}.{}", name.hostname).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dnsfailover::test_support::managed;

    #[test]
    fn names_of_regions_go_when_nobody_asks_for_them_or_the_region_leaves() {
        let published = ["turn.example.org", "a.turn.example.org", "b.turn.example.org"].map(str::to_owned);
        let gone = |spec: &str, regions: &[&str]| {
            let gone = gone(&managed(spec), &published, regions.iter().copied());
            gone.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(gone("{regionNames: true}", &["a", "b"]), [""; 0]);
        assert_eq!(gone("{regionNames: true}", &["a"]), ["b.turn.example.org"]);
        assert_eq!(gone("{}", &["a", "b"]), ["a.turn.example.org", "b.turn.example.org"]);
    }
}
