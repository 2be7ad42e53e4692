//! How long it takes to decide about many regions, measured on this machine.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rtcfleet_node_api::{NodeState, Sessions};

use crate::fleet::history::History;
use crate::fleet::imagined;
use crate::fleet::machine::Machine;
use crate::fleet::plan::{Situation, plan};
use crate::fleet::policy::{Count, Scaling};
use crate::fleet::scale::{self, OtherRegion, Seen};
use crate::fleet::slot::Slot;
use crate::table::{Align, Table};

const FLEETS: [u32; 3] = [25, 50, 100];
const NODES: u32 = 200;
/// Of a failover group.
const GROUP: u32 = 5;
/// The middle one counts.
const TIMES: usize = 9;

/// A row a size of fleet.
pub fn measured() -> String {
    let mut table = Table::new(&[
        ("regions", Align::Right),
        ("nodes", Align::Right),
        ("one look at all of them", Align::Right),
        ("a node", Align::Right),
    ]);
    for regions in FLEETS {
        let took = middle((0..TIMES).map(|_| look_at(regions)).collect());
        let nodes = regions * NODES;
        table.row(vec![
            regions.to_string(),
            nodes.to_string(),
            format!("{:.1} ms", took.as_secs_f64() * 1e3),
            format!("{:.2} µs", took.as_secs_f64() * 1e6 / f64::from(nodes)),
        ]);
    }
    table.text("")
}

fn middle(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// Number and plan of each region, in turn. What is looked at is made before.
fn look_at(regions: u32) -> Duration {
    let (now, instant) = (Timestamp::UNIX_EPOCH, Instant::now());
    let machines: Vec<Machine> = (0..=NODES).map(|number| imagined::machine(&name(number))).collect();
    let slots: Vec<Slot> = (0..NODES).map(|index| slot(index, now)).collect();
    let other = |number| OtherRegion { name: format!("region-{number}"), up: 80.0, down: 80.0 };
    let others: Vec<OtherRegion> = (1..GROUP).map(other).collect();
    let policy = imagined::policy(Count::Follow(Box::new(Scaling { max: Some(400), ..imagined::scaling() })));
    let mut histories: Vec<History> = (0..regions).map(|_| History::new(instant)).collect();
    let began = Instant::now();
    let steps: usize = histories
        .iter_mut()
        .map(|history| {
            let before = Some(NODES);
            let seen =
                Seen { slots: &slots, machines: &machines, others: &others, all_known: true, before, now, instant };
            let scale = scale::decide(&policy.count, &seen, history);
            let situation =
                Situation { policy: &policy, scale: &scale, slots: &slots, machines: &machines, revision: "new", now };
            plan(situation).steps.len()
        })
        .sum();
    let took = began.elapsed();
    std::hint::black_box(steps);
    took
}

/// Busy to 40 %, and of an older revision: an upgrade is under way.
fn slot(index: u32, now: Timestamp) -> Slot {
    let mut status = imagined::status(NodeState::Active, now);
    status.load = Some(imagined::load(0.4));
    status.sessions = Sessions { allocations: 160 };
    imagined::serving(index, if index == 0 { "new" } else { "old" }, &name(index), status)
}

fn name(machine: u32) -> String {
    format!("machine-{machine}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_told_for_each_size() {
        assert!(look_at(1) > Duration::ZERO);
        assert_eq!(middle([3, 1, 2].map(Duration::from_millis).to_vec()), Duration::from_millis(2));
    }
}
