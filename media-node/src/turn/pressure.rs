//! When the node as a whole is full: it relays as much as it may, or its memory runs out. New allocations are refused
//! then (508) and those that live go on, so that the callers there are do not pay for those that come.
//!
//! A thread looks once a second, as the files of control groups may keep a reader waiting. Packets cost nothing more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    proto::Shared,
    refusals::{Notice, Notices},
};
use crate::machine::memory::{self, Memory};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Closes at `full` percent and opens again only below `free`, so that it does not flap.
#[derive(Debug)]
struct Gate {
    full: f64,
    free: f64,
    closed: bool,
}

impl Gate {
    /// At its quota. A second is short, and what live allocations relay goes up and down.
    const BANDWIDTH: Self = Self { full: 100.0, free: 90.0, closed: false };
    /// A tenth is left for what allocations that live may still need: permissions, channels, the kernel's buffers.
    const MEMORY: Self = Self { full: 90.0, free: 85.0, closed: false };

    /// Whether it is closed now. It is open if nobody knows how much is used: a limit that cannot be read must not close
    /// the node.
    fn look(&mut self, percent: Option<f64>) -> bool {
        let bound = if self.closed { self.free } else { self.full };
        self.closed = percent.is_some_and(|percent| percent >= bound);
        self.closed
    }
}

/// How much is relayed, from a count of bytes that only grows.
#[derive(Debug, Default)]
struct Rate(Option<(Instant, u64)>);

impl Rate {
    /// Bits a second since the last look. None at the first.
    #[allow(clippy::cast_precision_loss)] // of a rate
    fn look(&mut self, now: Instant, bytes: u64) -> Option<f64> {
        let (then, before) = self.0.replace((now, bytes))?;
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        (seconds > 0.0).then(|| bytes.saturating_sub(before) as f64 * 8.0 / seconds)
    }
}

/// What was last seen of the memory, for metrics. Without a limit: zeros.
#[derive(Debug, Default)]
pub struct Pressure {
    memory_used: AtomicU64,
    memory_limit: AtomicU64,
}

impl Pressure {
    /// None: there is no limit, or nobody has looked yet.
    pub fn memory(&self) -> Option<Memory> {
        let limit = self.memory_limit.load(Ordering::Relaxed);
        (limit > 0).then(|| Memory { used: self.memory_used.load(Ordering::Relaxed), limit })
    }

    fn note(&self, memory: Option<Memory>) {
        let Memory { used, limit } = memory.unwrap_or(Memory { used: 0, limit: 0 });
        self.memory_used.store(used, Ordering::Relaxed);
        self.memory_limit.store(limit, Ordering::Relaxed);
    }
}

/// Looks from now on until the process ends.
pub fn follow(shared: Arc<Shared>) -> Arc<Pressure> {
    let mut watch = Watch::new(shared);
    let pressure = Arc::clone(&watch.pressure);
    let looking = thread::Builder::new().name("pressure".to_owned()).spawn(move || {
        loop {
            watch.look(Instant::now(), memory::now());
            thread::sleep(EVERY);
        }
    });
    if let Err(error) = looking {
        tracing::warn!(%error, "quotas.bandwidth and the memory limit are not looked at: raise the limit on threads");
    }
    pressure
}

struct Watch {
    shared: Arc<Shared>,
    pressure: Arc<Pressure>,
    rate: Rate,
    by_bandwidth: Gate,
    by_memory: Gate,
    notices: Notices,
}

impl Watch {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            pressure: Arc::default(),
            rate: Rate::default(),
            by_bandwidth: Gate::BANDWIDTH,
            by_memory: Gate::MEMORY,
            notices: Notices::default(),
        }
    }

    fn look(&mut self, now: Instant, memory: Option<Memory>) {
        let totals = self.shared.totals();
        let rate = self.rate.look(now, totals.bytes_to_peers + totals.bytes_to_clients);
        let quota = self.shared.terms().quotas.bandwidth;
        let was = [self.by_bandwidth.closed, self.by_memory.closed];
        self.shared.set_bandwidth_full(self.by_bandwidth.look(percent(rate, quota)));
        self.shared.set_memory_full(self.by_memory.look(memory.map(Memory::percent)));
        self.pressure.note(memory);
        match (was[0], self.by_bandwidth.closed) {
            (false, true) => tracing::warn!(
                bits_per_second = rate,
                quota,
                "quotas.bandwidth is reached: new allocations are refused until less is relayed"
            ),
            (true, false) => tracing::info!(bits_per_second = rate, "less is relayed: new allocations are taken again"),
            _ => {}
        }
        let (used, limit) = (memory.map(|memory| memory.used), memory.map(|memory| memory.limit));
        match (was[1], self.by_memory.closed) {
            (false, true) => tracing::warn!(
                used,
                limit,
                "near the memory limit: new allocations are refused; raise the limit, or lower quotas.allocations"
            ),
            (true, false) => tracing::info!(used, limit, "there is memory again: new allocations are taken"),
            _ => {}
        }
        for Notice { why, advice, count } in self.notices.look(now, |why| totals.refused(why)) {
            tracing::warn!(reason = why.label(), count, "allocations were refused with 508: {advice}");
        }
    }
}

#[allow(clippy::cast_precision_loss)] // of a percentage
fn percent(used: Option<f64>, of: Option<u64>) -> Option<f64> {
    Some(100.0 * used? / of?.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::proto::{Refusal, test_support::World};

    fn looks(mut gate: Gate, percents: &[Option<f64>]) -> Vec<bool> {
        percents.iter().map(|percent| gate.look(*percent)).collect()
    }

    #[test]
    fn a_gate_that_closed_stays_so_until_there_is_room_again() {
        let percents = [50.0, 89.9, 90.0, 89.0, 85.0, 84.9, 89.0, 99.0].map(Some);
        assert_eq!(looks(Gate::MEMORY, &percents), [false, false, true, true, true, false, false, true]);
        let percents = [99.9, 100.0, 90.0, 89.9, 99.9].map(Some);
        assert_eq!(looks(Gate::BANDWIDTH, &percents), [false, true, true, false, false]);
    }

    #[test]
    fn a_gate_is_open_if_nobody_knows_how_much_is_used() {
        assert_eq!(looks(Gate::MEMORY, &[None, Some(95.0), None, Some(87.0)]), [false, true, false, false]);
    }

    #[test]
    fn a_rate_is_over_the_time_between_two_looks_whatever_clock_and_counter_do() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.look(start, 1_000_000), None, "all since the start is not of one second");
        let two_seconds = start + Duration::from_secs(2);
        assert_eq!(rate.look(two_seconds, 1_000_250), Some(1000.0));
        assert_eq!(rate.look(two_seconds, 2_000_000), None, "no time has passed");
        assert_eq!(rate.look(start, 3_000_000), None);
        assert_eq!(rate.look(two_seconds, 5), Some(0.0), "a counter that starts again");
    }

    #[test]
    fn the_node_refuses_and_takes_allocations_as_memory_and_bandwidth_say() {
        let mut world = World::with(|config| config.terms.quotas.bandwidth = Some(8000));
        let (mut client, _) = world.allocated("ann");
        let peer = "192.0.2.9:4000".parse().unwrap();
        let draft = client.request(crate::turn::proto::message::method::CREATE_PERMISSION).peer(peer);
        assert_eq!(world.ask(&client, draft).code(), 0);
        let mut watch = Watch::new(Arc::clone(&world.shared));
        let start = Instant::now();
        let mut second = 0;
        let mut look = |world: &mut World, bytes, used| {
            let indication = client.send(peer, &vec![0; bytes]);
            world.hear(&client.path, &indication);
            second += 1;
            watch.look(start + Duration::from_secs(second), Some(Memory { used, limit: 1000 }));
            world.shared.closed()
        };
        assert_eq!(look(&mut world, 5000, 500), None);
        assert_eq!(look(&mut world, 999, 899), None);
        assert_eq!(look(&mut world, 1000, 500), Some(Refusal::Bandwidth));
        assert_eq!(look(&mut world, 950, 500), Some(Refusal::Bandwidth));
        assert_eq!(look(&mut world, 100, 900), Some(Refusal::Memory));
        assert_eq!(look(&mut world, 100, 840), None);
        assert_eq!(watch.pressure.memory(), Some(Memory { used: 840, limit: 1000 }));
        watch.look(start, None);
        assert_eq!(watch.pressure.memory(), None);
    }
}
