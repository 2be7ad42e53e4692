//! What is remembered of regions from one pass to the next: what they wanted, and how loaded they are. Bounded by the
//! number of regions. Lost with the process, and safe without: until enough is known again, nothing shrinks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use rtcfleet_crds::turn_region::Mode;

use super::caches::Guarded;
use super::observed::Observed;
use super::validate::ManagedRegion;
use crate::fleet::history::History;
use crate::fleet::load::Load;
use crate::fleet::scale::{self, OtherRegion, Scale, Seen};

/// By the uid of the region: one that is made again under its name is another one.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<String, Remembered>>);

struct Remembered {
    history: History,
    load: Option<(Instant, Load)>,
}

impl Memory {
    /// Decides the number of relays of `region`, and remembers what that was made from. `regions` are all there are,
    /// `before` is the number that was decided last.
    pub fn scale(
        &self,
        region: &ManagedRegion,
        observed: &Observed,
        regions: &[Arc<Guarded>],
        before: Option<u32>,
        (now, instant): (Timestamp, Instant),
    ) -> Scale {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_deleted(&mut known, regions);
        let others = others(region, regions, &known, instant);
        let machines = observed.for_fleet();
        let own = known
            .entry(region.identity.uid.clone())
            .or_insert_with(|| Remembered { history: History::new(instant), load: None });
        let seen = Seen {
            slots: &observed.slots,
            machines: &machines,
            others: &others.iter().flatten().cloned().collect::<Vec<_>>(),
            all_known: others.iter().all(Option::is_some),
            before,
            now,
            instant,
        };
        let scale = scale::decide(&region.fleet.count, &seen, &mut own.history);
        own.load = Some((instant, scale.load));
        scale
    }
}

fn forget_deleted(known: &mut HashMap<String, Remembered>, regions: &[Arc<Guarded>]) {
    if known.len() > regions.len() {
        let there: HashSet<String> = regions.iter().filter_map(|region| region.uid()).collect();
        known.retain(|uid, _| there.contains(uid));
    }
}

/// The other regions of the group, by name. None for one whose load is not known.
fn others(
    region: &ManagedRegion,
    regions: &[Arc<Guarded>],
    known: &HashMap<String, Remembered>,
    instant: Instant,
) -> Vec<Option<OtherRegion>> {
    let Some(group) = &region.failover_group else { return Vec::new() };
    let mut others: Vec<(String, Option<OtherRegion>)> = regions
        .iter()
        .filter(|other| {
            let is_ours = other.namespace().as_deref() == Some(&region.identity.namespace)
                && other.uid().as_deref() != Some(&region.identity.uid)
                && other.meta().deletion_timestamp.is_none();
            // One that runs elsewhere is measured by nobody: no reserve is kept for it.
            is_ours
                && other.0.as_ref().is_ok_and(|other| {
                    other.spec.failover_group.as_ref() == Some(group) && other.spec.mode != Some(Mode::External)
                })
        })
        .map(|other| {
            let name = other.name_any();
            let remembered = other.uid().and_then(|uid| known.get(&uid)?.load);
            let load = remembered.and_then(|remembered| OtherRegion::known(&name, remembered, instant));
            (name, load)
        })
        .collect();
    others.sort_by(|a, b| a.0.cmp(&b.0));
    others.into_iter().map(|(_, load)| load).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::core::DeserializeGuard;

    use super::*;
    use crate::fleet::scale::STALE;
    use crate::fleet::test_support::{noon, slot, with_load};
    use crate::turnregion::test_support::region_with;

    fn region(name: &str, spec: &str) -> Arc<Guarded> {
        let mut region = region_with(spec);
        region.metadata.name = Some(name.into());
        region.metadata.uid = Some(format!("uid-{name}"));
        Arc::new(DeserializeGuard(Ok(region)))
    }

    fn managed(region: &Guarded) -> ManagedRegion {
        match super::super::validate::validate(region.0.as_ref().expect("readable"), &[]).expect("valid") {
            super::super::validate::Validated::Managed(region) => *region,
            super::super::validate::Validated::External { .. } => panic!("managed"),
        }
    }

    fn loaded(load: f64) -> Observed {
        let machines = (0..20).map(|n| super::super::observed::Machine {
            name: format!("m{n}"),
            usable: true,
            leaving: false,
            addresses: vec!["10.0.0.1".parse().expect("an address")],
            public: Vec::new(),
            instance_type: None,
        });
        Observed { slots: vec![with_load(slot(0), load)], machines: machines.collect(), ..Observed::default() }
    }

    const GROUP: &str = "{failoverGroup: india, scaling: {min: 1, scaleDown: {stabilization: 0s}}}";

    #[test]
    fn a_region_keeps_a_reserve_for_each_other_one_of_its_group_and_for_nobody_else() {
        let all = [
            region("a", GROUP),
            region("b", GROUP),
            region("elsewhere", "{failoverGroup: europe, scaling: {min: 1}}"),
            region("alone", "{scaling: {min: 1}}"),
        ];
        let (memory, at) = (Memory::default(), (noon(), Instant::now()));
        for other in &all[1..] {
            memory.scale(&managed(other), &loaded(0.9), &all, None, at);
        }
        let scale = memory.scale(&managed(&all[0]), &loaded(0.9), &all, None, at);
        let rules: Vec<String> = scale.rules.iter().map(|one| format!("{} {}", one.rule, one.nodes)).collect();
        assert_eq!(rules, ["Minimum 1", "Target 2", "Headroom 2", "RegionLoss of b 3"]);
        assert_eq!((scale.desired, scale.reason), (3, "RegionLoss"));
    }

    #[test]
    fn a_region_does_not_shrink_while_the_load_of_another_one_is_not_known() {
        let all = [region("a", GROUP), region("b", GROUP)];
        let (memory, now, start) = (Memory::default(), noon(), Instant::now());
        let a = managed(&all[0]);
        let desired = |at: Instant| memory.scale(&a, &loaded(0.1), &all, Some(4), (now, at)).desired;
        assert_eq!(desired(start), 4, "nothing was heard of b yet");
        memory.scale(&managed(&all[1]), &loaded(0.1), &all, None, (now, start));
        assert_eq!(desired(start), 1);
        assert_eq!(desired(start + STALE + Duration::from_secs(1)), 4, "nothing was heard of b for long");
    }

    #[test]
    fn a_region_that_is_gone_is_forgotten() {
        let all = [region("a", GROUP), region("b", GROUP)];
        let (memory, at) = (Memory::default(), (noon(), Instant::now()));
        for region in &all {
            memory.scale(&managed(region), &loaded(0.1), &all, None, at);
        }
        memory.scale(&managed(&all[0]), &loaded(0.1), &all[..1], None, at);
        assert_eq!(memory.0.lock().expect("no panic").len(), 1);
    }
}
