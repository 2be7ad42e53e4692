//! A machine as decisions see it.

use std::collections::BTreeSet;

use super::slot::Slot;

/// A machine that nodes of the fleet may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    /// Takes new pods: ready and not cordoned.
    pub usable: bool,
    /// Cordoned, or about to be removed by whoever made it.
    pub leaving: bool,
    /// Clients can be told how to reach a node on it.
    pub addressed: bool,
}

/// Machines that a node could be made on now: usable, and none of ours is on them or waits for one of them.
pub fn spare(machines: &[Machine], slots: &[Slot]) -> usize {
    let taken = occupied(slots);
    let free = machines.iter().filter(|one| one.usable && one.addressed && !taken.contains(one.name.as_str())).count();
    let waiting = slots.iter().filter(|slot| machine_of(slot).is_none()).count();
    free.saturating_sub(waiting)
}

/// Machines that have one of our nodes or could have one.
pub fn existing(machines: &[Machine], slots: &[Slot]) -> usize {
    let taken = occupied(slots);
    machines.iter().filter(|one| (one.usable && one.addressed) || taken.contains(one.name.as_str())).count()
}

fn occupied(slots: &[Slot]) -> BTreeSet<&str> {
    slots.iter().filter_map(machine_of).collect()
}

fn machine_of(slot: &Slot) -> Option<&str> {
    slot.pod.as_ref()?.machine.as_deref()
}
