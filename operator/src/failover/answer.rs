//! Which addresses does the answer hold? Few, of relays that take calls, and other ones over time, so that all are used.
//! It depends on the slot of time and not on what was answered before, so that every leader gives the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use rtcfleet_crds::dns_failover::AnswerStatus;

use super::policy::Policy;
use super::seen::Node;
use super::slots;

/// Sorted, without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub ipv4: Vec<Ipv4Addr>,
    pub ipv6: Vec<Ipv6Addr>,
}

impl Answer {
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut answer = Self::default();
        for address in addresses {
            match address {
                IpAddr::V4(address) => answer.ipv4.push(address),
                IpAddr::V6(address) => answer.ipv6.push(address),
            }
        }
        answer.ipv4.sort_unstable();
        answer.ipv4.dedup();
        answer.ipv6.sort_unstable();
        answer.ipv6.dedup();
        answer
    }

    pub fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.iter().copied().map(IpAddr::V4);
        ipv4.chain(self.ipv6.iter().copied().map(IpAddr::V6))
    }

    pub fn written(&self) -> AnswerStatus {
        AnswerStatus {
            ipv4: self.ipv4.iter().map(ToString::to_string).collect(),
            ipv6: self.ipv6.iter().map(ToString::to_string).collect(),
        }
    }

    /// From the status; what is no address is left out.
    pub fn read(written: &AnswerStatus) -> Self {
        let all = written.ipv4.iter().chain(&written.ipv6);
        Self::of(all.filter_map(|text| text.parse().ok()))
    }
}

/// A region's part of the callers, and relays that can be published, by name.
#[derive(Clone, Debug)]
pub struct Portion<'a> {
    pub part: f64,
    pub relays: Vec<&'a Node>,
}

/// The answer of a slot. Families are answered apart: a region may have relays without an address of one.
pub fn answer(portions: &[Portion<'_>], most: usize, slot: u64) -> Answer {
    let families = [IpAddr::is_ipv4 as fn(&IpAddr) -> bool, IpAddr::is_ipv6];
    Answer::of(families.into_iter().flat_map(|is_of| family(portions, is_of, most, slot)))
}

/// The answer with one region, or a part of it, alone.
pub fn alone(relays: Vec<&Node>, policy: &Policy, now: Timestamp) -> Answer {
    answer(&[Portion { part: 1.0, relays }], policy.max_addresses, slots::number(now, policy.ttl))
}

fn family(portions: &[Portion<'_>], is_of: fn(&IpAddr) -> bool, most: usize, slot: u64) -> Vec<IpAddr> {
    let address = |node: &&Node| node.addresses.iter().copied().find(is_of);
    let relays: Vec<Vec<IpAddr>> =
        portions.iter().map(|portion| portion.relays.iter().filter_map(address).collect()).collect();
    let has_any = |(portion, relays): (&Portion<'_>, &Vec<IpAddr>)| if relays.is_empty() { 0.0 } else { portion.part };
    let parts: Vec<f64> = portions.iter().zip(&relays).map(has_any).collect();
    let sum: f64 = parts.iter().sum();
    if sum <= 0.0 {
        return Vec::new();
    }
    let parts: Vec<f64> = parts.into_iter().map(|part| part / sum).collect();
    let sizes: Vec<usize> = relays.iter().map(Vec::len).collect();
    let counts = slots::counts(&parts, slots::size(&parts, &sizes, most), slot);
    relays.iter().zip(counts).flat_map(|(relays, count)| window(relays, count, slot)).collect()
}

/// So many in a row of the ring, one further each slot: one address goes and one comes.
fn window(ring: &[IpAddr], count: usize, slot: u64) -> Vec<IpAddr> {
    let length = ring.len().max(1);
    let first = usize::try_from(slot % length as u64).unwrap_or(0);
    let count = count.min(ring.len());
    let first = if count == ring.len() { 0 } else { first };
    (0..count).map(|step| ring[(first + step) % length]).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_support::seen;
    use super::*;

    fn portions<'a>(regions: &'a [super::super::seen::Seen], parts: &[f64]) -> Vec<Portion<'a>> {
        regions.iter().zip(parts).map(|(region, part)| Portion { part: *part, relays: region.takers() }).collect()
    }

    #[test]
    fn every_relay_is_used_over_time_and_one_address_moves_at_a_time() {
        let regions = [seen("a", 0, 10)];
        let portions = portions(&regions, &[1.0]);
        let answers: Vec<Answer> = (0..10).map(|slot| answer(&portions, 4, slot)).collect();
        let mut used: Vec<Ipv4Addr> = answers.iter().flat_map(|answer| answer.ipv4.clone()).collect();
        assert_eq!(used.len(), 40);
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 10);
        for pair in answers.windows(2) {
            assert_eq!(pair[1].ipv4.iter().filter(|address| !pair[0].ipv4.contains(address)).count(), 1);
        }
    }

    #[test]
    fn a_few_relays_give_the_same_answer_for_ever() {
        let regions = [seen("a", 0, 2), seen("b", 1, 2)];
        let portions = portions(&regions, &[0.5, 0.5]);
        let first = answer(&portions, 4, 0);
        assert_eq!(first.ipv4.len(), 4);
        assert!((0..200).all(|slot| answer(&portions, 4, slot) == first));
    }

    #[test]
    fn a_region_without_relays_leaves_its_part_to_the_others() {
        let regions = [seen("a", 0, 0), seen("b", 1, 3)];
        assert_eq!(answer(&portions(&regions, &[0.5, 0.5]), 4, 7).ipv4.len(), 3);
        assert!(answer(&portions(&regions, &[1.0, 0.0]), 4, 7).is_empty());
    }

    #[test]
    fn families_are_answered_apart() {
        let mut regions = [seen("a", 0, 2), seen("b", 1, 2)];
        regions[1].nodes[0].addresses.push("2001:db8::1".parse().unwrap());
        let both = answer(&portions(&regions, &[0.5, 0.5]), 4, 0);
        assert_eq!((both.ipv4.len(), both.ipv6.len()), (4, 1));
        assert_eq!(Answer::read(&both.written()), both);
    }
}
