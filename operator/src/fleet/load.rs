//! How busy a fleet is, in whole nodes: 1.0 is what one node can carry.

use jiff::Timestamp;
use rtcfleet_node_api::{CapacitySource, NicLoad};

use super::policy::Target;
use super::slot::{NodeReport, Slot};

/// How busy one node is, each part against its capacity: 0 is idle, 1 is full.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeLoad {
    /// Its own processor time, and the machine's in soft interrupts, where the kernel receives packets for it. What
    /// neighbours on the machine use is not its load: it would not move to another node.
    pub cpu: f64,
    /// Of both directions and packets, the fullest.
    pub nic: f64,
    /// Nobody knows what the interface can carry.
    pub guessed: bool,
}

impl NodeLoad {
    pub fn of(load: &rtcfleet_node_api::Load) -> Self {
        let cpu = (load.cpu.process_percent + load.cpu.softirq_percent) / 100.0;
        Self {
            cpu: cpu.clamp(0.0, 1.0),
            nic: load.nic.as_ref().map_or(0.0, fullest),
            guessed: load.nic.as_ref().is_some_and(|nic| nic.capacity.source == CapacitySource::Unknown),
        }
    }

    /// Part of a whole node.
    pub fn busiest(self) -> f64 {
        self.cpu.max(self.nic)
    }

    /// Nodes at their targets that this load fills.
    fn against(self, target: Target) -> f64 {
        (self.cpu / share(target.cpu_percent)).max(self.nic / share(target.nic_percent))
    }
}

/// More than 1 where somebody wrote less than the interface can carry.
fn fullest(nic: &NicLoad) -> f64 {
    let capacity = &nic.capacity;
    let part = |used: u64, of: Option<u64>| of.filter(|of| *of > 0).map_or(0.0, |of| used as f64 / of as f64);
    let packets = nic.sent.packets_per_second.saturating_add(nic.received.packets_per_second);
    part(nic.sent.bits_per_second, capacity.sent_bits_per_second)
        .max(part(nic.received.bits_per_second, capacity.received_bits_per_second))
        .max(part(packets, capacity.packets_per_second))
}

/// Percent as a part of one.
pub fn share(percent: u32) -> f64 {
    f64::from(percent) / 100.0
}

/// The load of nodes that have sessions: those that serve and those that drain.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Nodes that should tell.
    pub nodes: u32,
    /// Nodes that do.
    pub reporting: u32,
    /// Nodes that answer and have nothing to tell yet: they have just begun.
    pub begun: u32,
    /// A node that does not tell counts as idle: nobody grows because of it.
    pub up: Sum,
    /// A node that does not tell counts as loaded to its target: nobody shrinks because of it.
    pub down: Sum,
    /// The sums depend on a guess of what an interface can carry.
    pub guessed: bool,
}

/// Sums over nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// In whole nodes.
    pub whole: f64,
    /// In nodes at their targets.
    pub at_target: f64,
}

impl Sum {
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { whole: self.whole * factor, at_target: self.at_target * factor }
    }
}

impl Load {
    pub fn of(slots: &[Slot], target: Target, now: Timestamp) -> Self {
        slots
            .iter()
            .filter(|slot| has_load(slot))
            .map(|slot| reading(slot, now))
            .fold(Self::default(), |load, reading| load.and(reading, target))
    }

    /// How busy nodes are, in whole ones, whatever their targets. None: too few tell, or what their interfaces can carry is a
    /// guess, and a low one.
    pub fn whole(slots: &[Slot], now: Timestamp) -> Option<f64> {
        let load = Self::of(slots, Target { nic_percent: 100, cpu_percent: 100 }, now);
        load.known().filter(|_| !load.guessed)
    }

    fn and(self, reading: Reading, target: Target) -> Self {
        let plus = |sum: Sum, whole, at_target| Sum { whole: sum.whole + whole, at_target: sum.at_target + at_target };
        let Self { nodes, reporting, begun, up, down, guessed } = self;
        if let Reading::Load(load) = reading {
            Self {
                nodes: nodes + 1,
                reporting: reporting + 1,
                begun,
                up: plus(up, load.busiest(), load.against(target)),
                down: plus(down, load.busiest(), load.against(target)),
                guessed: guessed || (load.guessed && load.nic > load.cpu),
            }
        } else {
            let assumed = share(target.nic_percent.max(target.cpu_percent));
            let begun = begun + u32::from(matches!(reading, Reading::Begun));
            Self { nodes: nodes + 1, reporting, begun, up, down: plus(down, assumed, 1.0), guessed }
        }
    }

    /// In whole nodes, if nodes that do not answer carry as much as others: what a trend is drawn through, so that
    /// silence is no fall, and its end no rise. None: too few tell.
    pub fn likely(&self) -> Option<f64> {
        self.known().map(|whole| whole * f64::from(self.nodes - self.begun) / f64::from(self.reporting))
    }

    /// In whole nodes, of those that tell. None: too few do.
    fn known(&self) -> Option<f64> {
        (self.reporting > 0 && !self.is_blind()).then_some(self.up.whole)
    }

    /// Fewer than half of the nodes that could tell how busy they are do so.
    pub fn is_blind(&self) -> bool {
        2 * self.reporting < self.nodes - self.begun
    }
}

/// It serves or drains, as far as the kubelet knows: it may have sessions.
fn has_load(slot: &Slot) -> bool {
    !slot.is_being_deleted && slot.pod.as_ref().is_some_and(|pod| pod.ready)
}

/// What one node tells.
#[derive(Clone, Copy)]
enum Reading {
    Load(NodeLoad),
    Begun,
    Silent,
}

fn reading(slot: &Slot, now: Timestamp) -> Reading {
    let told = match &slot.node {
        NodeReport::Says(status) => status.load.as_ref(),
        NodeReport::Silent { .. } | NodeReport::Absent => None,
    };
    match told {
        Some(load) => Reading::Load(NodeLoad::of(load)),
        None if slot.has_just_begun(now) => Reading::Begun,
        None => Reading::Silent,
    }
}

#[cfg(test)]
mod tests {
    use rtcfleet_node_api::{CpuLoad, NicCapacity, Rate};

    use super::*;
    use crate::fleet::test_support::{TARGET, noon, silent, slot, with_load};

    const M: u64 = 1_000_000;

    fn nic(sent: u64, received: u64, packets: u64) -> rtcfleet_node_api::Load {
        let rate = |bits_per_second| Rate { bits_per_second, packets_per_second: packets / 2, drops_per_second: 0 };
        rtcfleet_node_api::Load {
            window_seconds: 15.0,
            cpu: CpuLoad { process_percent: 20.0, machine_percent: 90.0, softirq_percent: 5.0 },
            nic: Some(NicLoad {
                interface: "eth0".into(),
                sent: rate(sent),
                received: rate(received),
                capacity: NicCapacity {
                    source: CapacitySource::Configured,
                    sent_bits_per_second: Some(100 * M),
                    received_bits_per_second: Some(200 * M),
                    packets_per_second: Some(10_000),
                },
            }),
        }
    }

    #[test]
    fn a_node_is_as_busy_as_the_fullest_of_what_it_needs() {
        for (case, load, expected) in [
            ("processors: its own and the kernel's for it, not its neighbours'", nic(0, 0, 0), 0.25),
            ("sending", nic(70 * M, 20 * M, 0), 0.7),
            ("receiving", nic(20 * M, 120 * M, 0), 0.6),
            ("packets, both ways together", nic(0, 0, 8_000), 0.8),
            ("more than was written", nic(150 * M, 0, 0), 1.5),
        ] {
            let busy = NodeLoad::of(&load).busiest();
            assert!((busy - expected).abs() < 1e-9, "{case}: {busy}");
        }
    }

    #[test]
    fn how_busy_nodes_are_is_not_known_where_it_is_a_guess_or_too_few_tell() {
        let telling = |source, sent| {
            let mut load = nic(sent, 0, 0);
            load.nic.as_mut().unwrap().capacity.source = source;
            let mut node = slot(0);
            let NodeReport::Says(status) = &mut node.node else { panic!("it answers") };
            status.load = Some(load);
            node
        };
        for (case, slots, expected) in [
            ("it is written", vec![telling(CapacitySource::Configured, 50 * M)], Some(50)),
            ("a guess", vec![telling(CapacitySource::Unknown, 50 * M)], None),
            ("a guess that does not matter", vec![telling(CapacitySource::Unknown, 10 * M)], Some(25)),
            ("too few tell", vec![telling(CapacitySource::Configured, 50 * M), silent(slot(1)), silent(slot(2))], None),
        ] {
            let percent = Load::whole(&slots, noon()).map(|whole| format!("{:.0}", whole * 100.0));
            assert_eq!(percent, expected.map(|percent: u32| percent.to_string()), "{case}");
        }
    }

    #[test]
    fn a_node_that_does_not_tell_is_idle_on_the_way_up_and_loaded_to_its_target_on_the_way_down() {
        let load = Load::of(&[with_load(slot(0), 0.3), slot(1)], TARGET, noon());
        assert_eq!((load.nodes, load.reporting, load.is_blind()), (2, 1, false));
        assert!((load.up.whole - 0.3).abs() < 1e-9 && (load.down.whole - 0.95).abs() < 1e-9, "{load:?}");
        assert!((load.down.at_target - (0.3 / 0.65 + 1.0)).abs() < 1e-9, "{load:?}");
    }

    #[test]
    fn a_fleet_is_blind_when_fewer_than_half_of_those_tell_that_could() {
        let later = noon() + jiff::SignedDuration::from_mins(1);
        for (case, slots, now, expected) in [
            ("nobody is there", vec![], noon(), false),
            ("half of them tell", vec![with_load(slot(0), 0.3), silent(slot(1))], noon(), false),
            ("fewer tell", vec![with_load(slot(0), 0.3), silent(slot(1)), silent(slot(2))], noon(), true),
            ("a fleet that has just begun", vec![slot(0), slot(1)], noon(), false),
            ("one that still does not tell", vec![slot(0), slot(1)], later, true),
        ] {
            assert_eq!(Load::of(&slots, TARGET, now).is_blind(), expected, "{case}");
        }
    }

    #[test]
    fn a_node_that_does_not_answer_likely_carries_as_much_as_others_and_one_that_has_just_begun_nothing() {
        let loaded = |index| with_load(slot(index), 0.4);
        for (case, slots, expected) in [
            ("all tell", vec![loaded(0), loaded(1)], Some(0.8)),
            ("one is silent", vec![loaded(0), loaded(1), silent(slot(2))], Some(1.2)),
            ("one has just begun", vec![loaded(0), loaded(1), slot(2)], Some(0.8)),
            ("most are silent", vec![loaded(0), silent(slot(1)), silent(slot(2))], None),
            ("nobody is there", Vec::new(), None),
        ] {
            let likely = Load::of(&slots, TARGET, noon()).likely().map(|load| (load * 1e6).round() / 1e6);
            assert_eq!(likely, expected, "{case}");
        }
    }
}
