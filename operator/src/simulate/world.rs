//! The world: one policy lives through one trace, event after event. Everything is decided by the trace and the seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::calls::{self, Call};
use super::hpa::Hpa;
use super::node::{CallId, NodeId, SAMPLE};
use super::random::Random;
use super::region::{Cut, Happening, Region};
use super::rtcfleet::RtcFleet;
use super::tally::{Outcome, Tally};
use super::time::{Clock, Millis, SECOND, of};
use super::traces::{Contestant, Fault, Trace};
use crate::fleet::scale::OtherRegion;

/// How often a Deployment of the comparison is looked at: Kubernetes does it when something changes.
const DEPLOYMENT: Millis = 3 * SECOND;

/// Streams of randomness, so that calls are the same whatever a policy does.
const CALLS: u64 = 1;
const MACHINES: u64 = 1_000;
const REGIONS: u64 = 2_000;
const WAYS: u64 = 3_000;

#[derive(Clone, Copy, Debug)]
enum Event {
    Begins(CallId),
    Ends(CallId),
    Sample,
    Look(usize),
    Region(usize, Happening),
    Fault(usize),
}

/// Who decides the number of nodes of a region.
enum Decider {
    RtcFleet(Box<RtcFleet>),
    Hpa(Hpa),
}

impl Decider {
    fn desired(&self) -> u32 {
        match self {
            Self::RtcFleet(fleet) => fleet.desired,
            Self::Hpa(hpa) => hpa.desired,
        }
    }
}

/// One policy in one trace.
pub struct World<'a> {
    trace: &'a Trace,
    contestant: &'a Contestant,
    clock: Clock,
    now: Millis,
    queue: Queue,
    pub regions: Vec<Region>,
    deciders: Vec<Decider>,
    revision: u32,
    calls: Vec<Call>,
    /// Where each call is.
    places: Vec<Option<(usize, NodeId)>>,
    ways: Random,
    tally: Tally,
}

/// Lives through `trace`. `origin` is any instant: only differences count.
pub fn live<'a>(trace: &'a Trace, contestant: &'a Contestant, seed: u64, origin: Instant) -> World<'a> {
    let mut world = World::new(trace, contestant, seed, origin);
    while let Some((at, event)) = world.queue.pop().filter(|(at, _)| *at <= trace.length) {
        world.now = at;
        world.step(event);
        world.settle();
    }
    world
}

impl<'a> World<'a> {
    fn new(trace: &'a Trace, contestant: &'a Contestant, seed: u64, origin: Instant) -> Self {
        let clock = Clock { start: trace.start, origin };
        let calls: Vec<Call> = (CALLS..)
            .zip(trace.sites.iter().enumerate())
            .flat_map(|(stream, (region, site))| {
                let mut random = Random::new(seed, stream);
                calls::of(region, &site.curve, site.calls_last, trace.length, &mut random)
            })
            .collect();
        let mut regions: Vec<Region> = (0..)
            .zip(&trace.sites)
            .map(|(stream, site)| {
                Region::new(site.name, site.machines, trace.start_up, trace.leak, Random::new(seed, REGIONS + stream))
            })
            .collect();
        let deciders = regions
            .iter_mut()
            .zip(&trace.sites)
            .map(|(region, site)| match contestant {
                Contestant::RtcFleet { policy, .. } => {
                    Decider::RtcFleet(Box::new(RtcFleet::begin((**policy).clone(), site.begin, region, &clock)))
                }
                Contestant::Hpa { autoscaler, .. } => Decider::Hpa(Hpa::begin(*autoscaler, site.begin, region)),
            })
            .collect();
        let mut world = Self {
            trace,
            contestant,
            clock,
            now: 0,
            queue: Queue::default(),
            regions,
            deciders,
            revision: 0,
            places: vec![None; calls.len()],
            calls,
            ways: Random::new(seed, WAYS),
            tally: Tally::new(trace.sites.len()),
        };
        world.begin(seed);
        world
    }

    pub fn outcome(self) -> Outcome {
        self.tally.outcome(self.contestant.name())
    }

    fn begin(&mut self, seed: u64) {
        self.settle();
        for (id, call) in (0..).zip(&self.calls) {
            self.queue.push(call.begins, Event::Begins(id));
        }
        self.queue.push(SAMPLE, Event::Sample);
        for (fault, (at, _)) in self.trace.faults.iter().enumerate() {
            self.queue.push(*at, Event::Fault(fault));
        }
        for region in 0..self.regions.len() {
            self.queue.push((1 + region as u64) * SECOND, Event::Look(region));
            let mut random = Random::new(seed, MACHINES + region as u64);
            for (at, what) in self.trace.machine_failures(region, &mut random) {
                self.queue.push(at, Event::Region(region, what));
            }
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Begins(call) => {
                self.tally.calls += 1;
                self.queue.push(self.calls[call as usize].ends, Event::Ends(call));
                self.place(call);
            }
            Event::Ends(call) => {
                if let Some((region, node)) = self.places[call as usize].take() {
                    self.regions[region].hang_up(node, call, self.now);
                }
            }
            Event::Sample => {
                let desired: Vec<u32> = self.deciders.iter().map(Decider::desired).collect();
                for region in &mut self.regions {
                    region.sample(self.now);
                }
                self.tally.sample(&self.regions, &desired, self.now);
                self.queue.push(self.now + SAMPLE, Event::Sample);
            }
            Event::Look(region) => self.look(region),
            Event::Region(region, what) => self.regions[region].happens(what, self.now),
            Event::Fault(fault) => self.fault(self.trace.faults[fault].1),
        }
    }

    fn look(&mut self, region: usize) {
        let others = self.others(region);
        let (place, now) = (&mut self.regions[region], self.now);
        let next = match &mut self.deciders[region] {
            Decider::RtcFleet(fleet) => of(fleet.look(place, &others, self.revision, now, &self.clock)),
            Decider::Hpa(hpa) => {
                hpa.look(place, self.revision, now);
                DEPLOYMENT
            }
        };
        self.queue.push(now + next, Event::Look(region));
    }

    fn others(&self, region: usize) -> Vec<Option<OtherRegion>> {
        let instant = self.clock.instant(self.now);
        let others = self.deciders.iter().zip(&self.regions).enumerate().filter(|(other, _)| *other != region);
        others
            .filter_map(|(_, (decider, place))| match decider {
                Decider::RtcFleet(fleet) => {
                    Some(fleet.load.and_then(|load| OtherRegion::known(&place.name, load, instant)))
                }
                Decider::Hpa(_) => None,
            })
            .collect()
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::LoseRegion(region) => self.regions[region].lose_all(self.now),
            Fault::RegionIsBack(region) => self.regions[region].restore_all(self.now),
            Fault::NewRevision => self.revision += 1,
            Fault::Readings(readings) => {
                for region in &mut self.regions {
                    region.readings = readings;
                }
            }
        }
    }

    /// A caller calls: in the own region, or in another one while nobody takes calls there.
    fn place(&mut self, call: CallId) {
        let home = self.calls[call as usize].region;
        let region = if self.regions[home].is_open() {
            Some(home)
        } else {
            let open: Vec<usize> = (0..self.regions.len()).filter(|region| self.regions[*region].is_open()).collect();
            let one = self.ways.below(open.len());
            open.get(one).copied()
        };
        let chosen = region.and_then(|region| Some((region, self.regions[region].choose(self.now)?)));
        let place = chosen.filter(|(region, node)| self.regions[*region].add(*node, call, self.now));
        self.places[call as usize] = place;
        if place.is_none() {
            self.tally.refused();
        }
    }

    /// What regions let out: later events, and callers who were cut and call again at once.
    fn settle(&mut self) {
        for region in 0..self.regions.len() {
            let out = std::mem::take(&mut self.regions[region].out);
            for (at, what) in out.later {
                self.queue.push(at, Event::Region(region, what));
            }
            for (call, why) in out.cut {
                self.cut(call, why);
            }
        }
    }

    fn cut(&mut self, call: CallId, why: Cut) {
        self.tally.cut(why);
        self.places[call as usize] = None;
        if self.calls[call as usize].ends > self.now {
            self.place(call);
        }
    }
}

/// Events in the order of their time; those of one time in the order in which they were made.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    made: u64,
}

struct Entry {
    at: Millis,
    number: u64,
    event: Event,
}

impl Queue {
    fn push(&mut self, at: Millis, event: Event) {
        self.heap.push(Reverse(Entry { at, number: self.made, event }));
        self.made += 1;
    }

    fn pop(&mut self) -> Option<(Millis, Event)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}

impl Entry {
    fn key(&self) -> (Millis, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
