//! A region: machines, and what Kubernetes does with pods on them. Time comes in; what is to happen later, and which calls
//! were cut, comes out.

use std::collections::BTreeMap;

use super::node::{Answer, CallId, Draining, MachineView, Meter, Node, NodeId, Readings};
use super::random::Random;
use super::time::{Millis, SECOND, millis};
use crate::fleet::imagined;
use crate::fleet::machine::Machine;

/// From a lost machine to a Lease that its kubelet, who renews it every 10 s, has not renewed for 20 s.
const CUT_OFF: Millis = 25 * SECOND;
/// To `NotReady`, and from there to the eviction of its pods: the toleration of the operator's own template, which the
/// comparison is given, too.
const NOTICED: Millis = 50 * SECOND;
const EVICTED: Millis = 30 * SECOND;
/// From being ready to the first session that a node sends through itself.
const PROVEN: Millis = 5 * SECOND;

/// How long nodes take from being given a machine to serving: median in seconds, and the standard deviation of the
/// logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Start {
    pub median: f64,
    pub spread: f64,
}

/// Something that happens to a region by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The process with this number of starts of the node serves.
    Ready {
        node: NodeId,
        starts: u32,
    },
    Proven {
        node: NodeId,
        starts: u32,
    },
    /// The node's drain is over: it ends what is left.
    Deadline {
        node: NodeId,
    },
    /// Kubernetes notices that the machine is cut off, and ends what it bound to it.
    Noticed {
        machine: usize,
        losses: u32,
    },
    Evicted {
        machine: usize,
        losses: u32,
    },
    /// The machine fails, and is there again.
    Lost {
        machine: usize,
    },
    Back {
        machine: usize,
    },
}

/// Why calls were cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Their machine was lost.
    Lost,
    /// The time that their node's drain was given is over.
    Deadline,
    /// Their node was ended before.
    Early,
}

/// What comes out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Out {
    pub later: Vec<(Millis, Happening)>,
    pub cut: Vec<(CallId, Cut)>,
}

#[derive(Clone, Debug, Default)]
struct Place {
    node: Option<NodeId>,
    /// Since when.
    lost: Option<Millis>,
    noticed: bool,
    /// How often it was lost: what was meant for an earlier loss does not count.
    losses: u32,
}

#[derive(Debug)]
pub struct Region {
    pub name: String,
    start: Start,
    leak: f64,
    machines: Vec<Place>,
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    random: Random,
    pub readings: Readings,
    pub out: Out,
}

impl Region {
    pub fn new(name: &str, machines: usize, start: Start, leak: f64, random: Random) -> Self {
        Self {
            name: name.to_owned(),
            start,
            leak,
            machines: vec![Place::default(); machines],
            nodes: BTreeMap::new(),
            next: 0,
            random,
            readings: Readings::default(),
            out: Out::default(),
        }
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// A pod, which gets a machine at once if there is one.
    pub fn make(&mut self, slot: u32, revision: u32, now: Millis) -> NodeId {
        let id = self.next;
        self.next += 1;
        let node = Node {
            id,
            slot,
            revision,
            created: now,
            machine: None,
            starts: 0,
            ready: None,
            proven: false,
            drain: None,
            calls: std::collections::BTreeSet::new(),
            leak: self.leak,
            meter: Meter::default(),
        };
        self.nodes.insert(id, node);
        self.schedule(now);
        id
    }

    /// One that serves already.
    pub fn begin_with(&mut self, slot: u32, revision: u32) -> NodeId {
        let id = self.make(slot, revision, 0);
        self.happens(Happening::Ready { node: id, starts: 0 }, 0);
        self.happens(Happening::Proven { node: id, starts: 0 }, 0);
        id
    }

    /// The pod is gone. Calls that are left are cut.
    pub fn end(&mut self, id: NodeId, now: Millis) {
        let Some(node) = self.nodes.remove(&id) else { return };
        let over = node.drain.is_some_and(|drain| now >= drain.deadline);
        let why = if over { Cut::Deadline } else { Cut::Early };
        self.out.cut.extend(node.calls.iter().map(|call| (*call, why)));
        if let Some(machine) = node.machine {
            self.machines[machine].node = None;
        }
        self.schedule(now);
    }

    /// No new calls, and the end of those that are left at the deadline.
    pub fn drain(&mut self, id: NodeId, deadline: Millis, terminating: bool, now: Millis) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let since = node.drain.map_or(now, |drain| drain.since);
        node.drain = Some(Draining { since, deadline, terminating });
        self.out.later.push((deadline, Happening::Deadline { node: id }));
    }

    pub fn activate(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.is_terminating()) {
            node.drain = None;
        }
    }

    pub fn happens(&mut self, what: Happening, now: Millis) {
        match what {
            Happening::Ready { node, starts } => self.ready(node, starts, now),
            Happening::Proven { node, starts } => {
                if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.starts == starts) {
                    node.proven = node.ready.is_some();
                }
            }
            Happening::Deadline { node } => self.deadline(node, now),
            Happening::Lost { machine } => self.lose(machine, now),
            Happening::Noticed { machine, losses } => {
                let place = &mut self.machines[machine];
                if place.lost.is_some() && place.losses == losses {
                    place.noticed = true;
                    self.out.later.push((now + EVICTED, Happening::Evicted { machine, losses }));
                }
            }
            Happening::Evicted { machine, losses } => self.evict(machine, losses, now),
            Happening::Back { machine } => self.restore(machine, now),
        }
    }

    pub fn lose_all(&mut self, now: Millis) {
        (0..self.machines.len()).for_each(|machine| self.lose(machine, now));
    }

    pub fn restore_all(&mut self, now: Millis) {
        (0..self.machines.len()).for_each(|machine| self.restore(machine, now));
    }

    /// A node for a new call: of two at random that take calls, the less loaded. `None`: nobody takes calls here.
    pub fn choose(&mut self, now: Millis) -> Option<NodeId> {
        let active: Vec<&Node> = self.nodes.values().filter(|node| self.takes_calls(node)).collect();
        let (one, other) = (self.random.below(active.len()), self.random.below(active.len()));
        let busier = |a: &&Node, b: &&Node| a.load(now).total_cmp(&b.load(now)).then(a.id.cmp(&b.id));
        [active.get(one)?, active.get(other)?].into_iter().copied().min_by(busier).map(|node| node.id)
    }

    pub fn is_open(&self) -> bool {
        self.nodes.values().any(|node| self.takes_calls(node))
    }

    /// False: the node is full.
    pub fn add(&mut self, id: NodeId, call: CallId, now: Millis) -> bool {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.has_room(now)) else { return false };
        node.meter.passed(now, node.load(now));
        node.calls.insert(call);
        true
    }

    pub fn hang_up(&mut self, id: NodeId, call: CallId, now: Millis) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.meter.passed(now, node.load(now));
            node.calls.remove(&call);
        }
    }

    pub fn sample(&mut self, now: Millis) {
        for node in self.nodes.values_mut().filter(|node| node.ready.is_some()) {
            node.meter.passed(now, node.load(now));
            node.meter.sample();
        }
    }

    /// The node's answer, as it arrives where decisions are made.
    pub fn answer(&mut self, id: NodeId) -> Answer {
        let Some(node) = self.nodes.get(&id) else { return Answer::Silent };
        let lost = node.machine.is_some_and(|machine| self.machines[machine].lost.is_some());
        if lost { Answer::Silent } else { self.readings.of(node, &mut self.random) }
    }

    /// Its kubelet has not said for a while that it is alive.
    pub fn is_cut_off(&self, node: &Node, now: Millis) -> bool {
        let since = node.machine.and_then(|machine| self.machines[machine].lost);
        since.is_some_and(|since| now >= since + CUT_OFF)
    }

    pub fn view(&self, node: &Node) -> Option<MachineView> {
        let machine = node.machine?;
        let place = &self.machines[machine];
        Some(MachineView { name: name(machine), noticed: place.noticed })
    }

    /// The machines as decisions see them.
    pub fn machines(&self) -> Vec<Machine> {
        let one =
            |(machine, place): (usize, &Place)| Machine { usable: !place.noticed, ..imagined::machine(&name(machine)) };
        self.machines.iter().enumerate().map(one).collect()
    }

    /// Serves, as far as Kubernetes knows.
    pub fn is_ready(&self, node: &Node) -> bool {
        let noticed = node.machine.is_some_and(|machine| self.machines[machine].noticed);
        node.ready.is_some() && !noticed
    }

    /// It is there, and takes calls.
    pub fn takes_calls(&self, node: &Node) -> bool {
        let lost = node.machine.is_some_and(|machine| self.machines[machine].lost.is_some());
        node.is_active() && !lost
    }

    fn schedule(&mut self, now: Millis) {
        let Self { machines, nodes, out, random, start, .. } = self;
        let waiting = nodes.values_mut().filter(|node| node.machine.is_none());
        for (node, machine) in waiting.zip(free(machines)) {
            machines[machine].node = Some(node.id);
            node.machine = Some(machine);
            let takes = millis(random.lognormal(start.median, start.spread));
            out.later.push((now + takes, Happening::Ready { node: node.id, starts: node.starts }));
        }
    }

    fn ready(&mut self, id: NodeId, starts: u32, now: Millis) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.starts == starts && node.ready.is_none()) else {
            return;
        };
        if node.machine.is_none_or(|machine| self.machines[machine].lost.is_some()) {
            return;
        }
        node.ready = Some(now);
        node.meter = Meter::begin(now);
        node.meter.sample();
        self.out.later.push((now + PROVEN, Happening::Proven { node: id, starts }));
    }

    /// What is left is ended by the node itself. A pod that Kubernetes ends goes with it.
    fn deadline(&mut self, id: NodeId, now: Millis) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(drain) = node.drain.filter(|drain| now >= drain.deadline) else { return };
        node.meter.passed(now, node.load(now));
        let calls = std::mem::take(&mut node.calls);
        self.out.cut.extend(calls.into_iter().map(|call| (call, Cut::Deadline)));
        if drain.terminating {
            self.end(id, now);
        }
    }

    fn lose(&mut self, machine: usize, now: Millis) {
        let place = &mut self.machines[machine];
        if place.lost.is_some() {
            return;
        }
        place.lost = Some(now);
        place.losses += 1;
        self.out.later.push((now + NOTICED, Happening::Noticed { machine, losses: place.losses }));
        if let Some(node) = place.node.and_then(|id| self.nodes.get_mut(&id)) {
            node.meter.passed(now, node.load(now));
            let calls = std::mem::take(&mut node.calls);
            self.out.cut.extend(calls.into_iter().map(|call| (call, Cut::Lost)));
        }
    }

    /// The Deployment makes another pod, with its template.
    fn evict(&mut self, machine: usize, losses: u32, now: Millis) {
        let place = &self.machines[machine];
        if place.lost.is_none() || place.losses != losses {
            return;
        }
        let Some(node) = place.node.and_then(|id| self.nodes.remove(&id)) else { return };
        self.machines[machine].node = None;
        if !node.is_terminating() {
            self.make(node.slot, node.revision, now);
        }
    }

    fn restore(&mut self, machine: usize, now: Millis) {
        let place = &mut self.machines[machine];
        if place.lost.is_none() {
            return;
        }
        (place.lost, place.noticed) = (None, false);
        if let Some(node) = place.node.and_then(|id| self.nodes.get_mut(&id)) {
            node.restart();
            let takes = millis(self.random.lognormal(self.start.median, self.start.spread));
            self.out.later.push((now + takes, Happening::Ready { node: node.id, starts: node.starts }));
        }
        self.schedule(now);
    }
}

fn free(machines: &[Place]) -> Vec<usize> {
    let is_free = |place: &Place| place.node.is_none() && !place.noticed && place.lost.is_none();
    machines.iter().enumerate().filter(|(_, place)| is_free(place)).map(|(machine, _)| machine).collect()
}

fn name(machine: usize) -> String {
    format!("machine-{machine}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A region in which nodes serve a second after they got a machine.
    fn region(machines: usize) -> Region {
        Region::new("a", machines, Start { median: 1.0, spread: 0.0 }, 0.0, Random::new(1, 1))
    }

    /// Lets everything happen until `until`, in order.
    fn pass(region: &mut Region, later: &mut Vec<(Millis, Happening)>, until: Millis) {
        loop {
            later.append(&mut region.out.later);
            later.sort_by_key(|(at, _)| *at);
            if later.first().is_none_or(|(at, _)| *at > until) {
                return;
            }
            let (at, what) = later.remove(0);
            region.happens(what, at);
        }
    }

    #[test]
    fn a_pod_waits_for_a_machine_and_gets_one_when_another_pod_goes() {
        let (mut region, mut later) = (region(1), Vec::new());
        let (first, second) = (region.make(0, 0, 0), region.make(1, 0, 0));
        pass(&mut region, &mut later, 10 * SECOND);
        assert!(region.node(first).unwrap().proven && region.node(second).unwrap().machine.is_none());
        region.end(first, 10 * SECOND);
        pass(&mut region, &mut later, 20 * SECOND);
        assert_eq!(region.node(second).unwrap().ready, Some(11 * SECOND));
    }

    #[test]
    fn calls_of_a_lost_machine_are_cut_and_its_pod_comes_again_elsewhere() {
        let (mut region, mut later) = (region(2), Vec::new());
        let node = region.begin_with(7, 0);
        assert!(region.add(node, 1, 0));
        region.happens(Happening::Lost { machine: 0 }, SECOND);
        assert_eq!(region.out.cut, [(1, Cut::Lost)]);
        assert_eq!(region.choose(SECOND), None);
        pass(&mut region, &mut later, SECOND + NOTICED);
        assert!(region.view(region.node(node).unwrap()).unwrap().noticed);
        pass(&mut region, &mut later, 2 * SECOND + NOTICED + EVICTED);
        let again: Vec<(u32, Option<usize>, bool)> =
            region.nodes().map(|node| (node.slot, node.machine, node.is_active())).collect();
        assert_eq!(again, [(7, Some(1), true)]);
    }

    #[test]
    fn a_machine_that_is_back_soon_keeps_its_pod_and_begins_it_again() {
        let (mut region, mut later) = (region(2), Vec::new());
        let node = region.begin_with(0, 0);
        region.happens(Happening::Lost { machine: 0 }, SECOND);
        region.happens(Happening::Back { machine: 0 }, 20 * SECOND);
        pass(&mut region, &mut later, 200 * SECOND);
        let node = region.node(node).unwrap();
        assert_eq!((node.starts, node.machine, node.ready), (1, Some(0), Some(21 * SECOND)));
    }

    #[test]
    fn a_full_node_refuses_and_a_drained_one_ends_what_is_left_at_its_deadline() {
        let (mut region, mut later) = (region(1), Vec::new());
        let node = region.begin_with(0, 0);
        assert!((0..400).all(|call| region.add(node, call, 0)));
        assert!(!region.add(node, 400, 0));
        region.drain(node, 60 * SECOND, false, 0);
        assert_eq!(region.choose(0), None);
        region.hang_up(node, 5, 30 * SECOND);
        pass(&mut region, &mut later, 60 * SECOND);
        assert_eq!(region.out.cut.len(), 399);
        assert!(region.out.cut.iter().all(|(_, why)| *why == Cut::Deadline));
    }
}
