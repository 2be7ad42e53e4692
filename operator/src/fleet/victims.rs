//! Which node goes first, when there are too many.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::machine::Machine;
use super::slot::{NodePod, Slot};

/// Nodes that a decision names; there may be hundreds.
const NAMED: usize = 16;

/// What is held against a node, the first that differs decides: an idle one always goes before a busy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(clippy::struct_excessive_bools, reason = "each is a question of its own, asked in this order")]
struct Merit {
    /// False goes first: no session can be on it, whatever else it is.
    runs: bool,
    /// A node that does not tell counts as busy.
    is_busy: bool,
    machine_stays: bool,
    is_current: bool,
    sessions: u64,
    /// Of equals the highest number goes.
    index: Reverse<u32>,
}

impl Merit {
    fn of(slot: &Slot, machines: &[Machine], revision: &str) -> Self {
        let sessions = slot.sessions().unwrap_or(u64::MAX);
        let machine = slot.pod.as_ref().and_then(|pod| pod.machine.as_deref());
        let leaving = machines.iter().any(|one| Some(one.name.as_str()) == machine && one.leaving);
        Self {
            runs: slot.pod.as_ref().is_some_and(NodePod::may_serve),
            is_busy: sessions > 0,
            machine_stays: !leaving,
            is_current: slot.revision.as_deref() == Some(revision),
            sessions,
            index: Reverse(slot.index),
        }
    }
}

/// The order in which `slots` go.
pub fn order<'a>(slots: &[&'a Slot], machines: &[Machine], revision: &str) -> Vec<&'a Slot> {
    let mut order: Vec<&Slot> = slots.to_vec();
    order.sort_by_cached_key(|slot| Merit::of(slot, machines, revision));
    order
}

/// The order with what it was made from, for people.
pub fn told(order: &[&Slot], machines: &[Machine], revision: &str) -> Value {
    let one = |slot: &&Slot| {
        let merit = Merit::of(slot, machines, revision);
        json!({
            "slot": slot.index, "sessions": slot.sessions(), "runs": merit.runs,
            "machineLeaves": !merit.machine_stays, "oldRevision": !merit.is_current,
        })
    };
    order.iter().take(NAMED).map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::test_support::{machine, old, on, silent, slot, stopped, with_sessions};

    fn first(slots: &[Slot], machines: &[Machine]) -> Vec<u32> {
        let all: Vec<&Slot> = slots.iter().collect();
        order(&all, machines, "a").iter().map(|slot| slot.index).collect()
    }

    #[test]
    fn nodes_go_in_the_order_of_what_it_costs_their_callers() {
        let machines = [machine("m1"), Machine { leaving: true, ..machine("m2") }];
        let busy = |index, sessions| with_sessions(slot(index), sessions);
        for (case, slots, expected) in [
            ("the one with the fewest sessions", vec![busy(0, 3), busy(1, 1), busy(2, 2)], [1, 2, 0]),
            ("of equals the highest number", vec![busy(0, 0), busy(1, 0), busy(2, 0)], [2, 1, 0]),
            (
                "an idle one before a busy one that runs on a machine that leaves",
                vec![on(busy(0, 1), "m2"), busy(1, 0), busy(2, 9)],
                [1, 0, 2],
            ),
            (
                "of busy ones the one on a machine that leaves",
                vec![busy(0, 1), on(busy(1, 9), "m2"), busy(2, 2)],
                [1, 0, 2],
            ),
            ("of busy ones an old revision", vec![busy(0, 1), old(busy(1, 9)), busy(2, 2)], [1, 0, 2]),
            ("one that does not run before all others", vec![busy(0, 0), busy(1, 0), stopped(slot(2))], [2, 1, 0]),
            ("one that does not tell last", vec![silent(slot(0)), busy(1, 7), busy(2, 8)], [1, 2, 0]),
        ] {
            assert_eq!(first(&slots, &machines), expected, "{case}");
        }
    }

    proptest! {
        #[test]
        fn no_node_with_sessions_goes_while_an_idle_one_is_there(
            nodes in vec((0_u64..3, any::<bool>(), any::<bool>()), 1..20),
        ) {
            let machines = [machine("m1"), Machine { leaving: true, ..machine("m2") }];
            let slots: Vec<Slot> = (0..)
                .zip(nodes)
                .map(|(index, (sessions, leaves, outdated))| {
                    let slot = on(with_sessions(slot(index), sessions), if leaves { "m2" } else { "m1" });
                    if outdated { old(slot) } else { slot }
                })
                .collect();
            let sessions: Vec<bool> =
                first(&slots, &machines).iter().map(|index| slots[*index as usize].sessions() > Some(0)).collect();
            prop_assert!(sessions.is_sorted(), "busy ones among idle ones: {sessions:?}");
        }
    }
}
