//! A decision → the record sets to publish. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::observed::Observed;
use super::validate::ManagedName;
use crate::failover::answer::{Answer, alone};
use crate::failover::decide::Decision;
use crate::failover::region::Region;
use crate::publish::{Addresses, DnsName, NoRecordSet, RecordSet, Share};

/// That of the name, and with `regionNames` one of each region that has a relay. Nothing is empty.
pub fn sets(
    name: &ManagedName,
    decision: &Decision,
    observed: &Observed,
    now: Timestamp,
) -> Result<Vec<RecordSet>, NoRecordSet> {
    let set = |of: DnsName, addresses| RecordSet::new(of, name.owner.clone(), name.ttl, addresses);
    let mut sets = Vec::new();
    let shares = shares(name, decision, observed);
    let is_answered = shares.is_empty() || shares.iter().any(|share| !share.addresses.is_empty());
    if !decision.answer.is_empty() && is_answered {
        let whole = set(name.hostname.clone(), decision.answer.addresses().collect::<Vec<_>>())?;
        sets.push(whole.shared(shares));
    }
    for offer in observed.offers.iter().filter(|_| name.region_names) {
        let found = alone(offer.seen.takers(), &name.policy, now);
        if let Some(own) = region_name(name, &offer.seen.name).filter(|_| !found.is_empty()) {
            sets.push(set(own, found.addresses().collect())?);
        }
    }
    Ok(sets)
}

/// Of all regions, where the provider weighs them. Those that are gone have none.
fn shares(name: &ManagedName, decision: &Decision, observed: &Observed) -> Vec<Share> {
    if !name.provider.weighs_regions() {
        return Vec::new();
    }
    let share = |(region, alone): (&Region, &Answer)| {
        let percent = region.weight_percent;
        let taken = alone.addresses().filter(|_| percent > 0);
        Share { region: region.name.clone(), percent, addresses: Addresses::new(name.ttl.seconds(), taken) }
    };
    let gone = observed.left_out.iter().filter(|one| one.is_gone());
    let gone = gone.map(|one| Share { region: one.region.clone(), percent: 0, addresses: Addresses::default() });
    decision.regions.iter().zip(&decision.alone).map(share).chain(gone).collect()
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
    use crate::dnsfailover::observed::{LeftOut, Why};
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

    fn decided(regions: &[(&str, u32, &[&str])]) -> Decision {
        let address = |text: &&str| text.parse::<std::net::IpAddr>().unwrap();
        let region = |(name, percent, _): &(&str, u32, &[&str])| Region {
            weight_percent: *percent,
            ..Region::initial(name, Timestamp::UNIX_EPOCH)
        };
        Decision {
            answer: Answer::of(["192.0.2.1".parse().unwrap()]),
            regions: regions.iter().map(region).collect(),
            alone: regions.iter().map(|(_, _, list)| Answer::of(list.iter().map(address))).collect(),
            ..Decision::default()
        }
    }

    const WEIGHTED: &str = "{provider: {externalDns: {routing: Weighted}}}";

    #[test]
    fn providers_that_weigh_regions_are_told_the_part_and_the_relays_of_each() {
        let decision = decided(&[("a", 95, &["192.0.2.1"]), ("b", 5, &["192.0.2.2"]), ("c", 0, &["192.0.2.3"])]);
        let shares = |spec: &str| {
            let left_out = [("gone", Why::Ending), ("unknown", Why::NotLookedAt)];
            let left_out = left_out.map(|(region, why)| LeftOut { region: region.into(), why }).into();
            let observed = Observed { left_out, ..Observed::default() };
            let sets = sets(&managed(spec), &decision, &observed, Timestamp::UNIX_EPOCH).unwrap();
            let told = |share: &Share| (share.region.clone(), share.percent, share.addresses.iter().count());
            sets[0].shares().iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(
            shares(WEIGHTED),
            [("a", 95, 1), ("b", 5, 1), ("c", 0, 0), ("gone", 0, 0)].map(|(region, percent, relays)| (
                region.to_owned(),
                percent,
                relays
            ))
        );
        assert_eq!(shares("{provider: {externalDns: {}}}"), []);
        assert_eq!(shares("{}"), []);
    }

    #[test]
    fn what_was_published_stays_where_no_region_with_callers_has_a_relay() {
        let decision = decided(&[("a", 100, &[]), ("b", 0, &["192.0.2.2"])]);
        assert_eq!(sets(&managed(WEIGHTED), &decision, &Observed::default(), Timestamp::UNIX_EPOCH), Ok(vec![]));
    }
}
