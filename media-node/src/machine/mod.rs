//! How busy machine and process are: what an autoscaler has to know (R6.3).
//!
//! A thread of its own looks every 5 s, because some of these files wait for a lock of the kernel's while interfaces are
//! being changed, and nothing else of the node should wait with it.

mod capacity;
mod cloud;
pub mod memory;
mod procfs;
mod qdisc;
mod reader;
mod window;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rtcfleet_node_api::{CapacitySource, Load};

use self::window::{NicSample, Window};
pub use self::{
    procfs::{Nic, Softnet, Traffic, UdpDrops},
    reader::{Look, Reader},
};
use crate::config::{Capacity, capacity::InterfaceName};

/// Between the first two looks, so that a node that has just started says soon how busy it is.
const FIRST: Duration = Duration::from_secs(1);
/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// What is older says nothing about now. An autoscaler handles a missing value; a stale one it believes.
const STALE: Duration = Duration::from_secs(30);

/// What was last seen.
#[derive(Debug, Default)]
pub struct Machine(Mutex<Option<Seen>>);

/// One look, and what it and those before it say.
#[derive(Clone, Debug)]
pub struct Seen {
    at: Instant,
    /// None before there are two looks.
    pub load: Option<Load>,
    pub cpus: f64,
    /// Since the interface was made. None if it cannot be told which interface relays.
    pub nic: Option<Nic>,
    pub queue_drops: Option<u64>,
    pub softnet: Option<Softnet>,
    pub udp_v4: Option<UdpDrops>,
    pub udp_v6: Option<UdpDrops>,
}

impl Machine {
    fn put(&self, seen: Option<Seen>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// None before the first look, and once the last is too long ago.
    pub fn seen(&self, now: Instant) -> Option<Seen> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        seen.filter(|seen| now.saturating_duration_since(seen.at) <= STALE)
    }
}

/// Looks from now on until the process ends. `capacity` says before each look what somebody wrote of the machine.
pub fn follow(machine: Arc<Machine>, relays: Vec<IpAddr>, capacity: impl Fn() -> Capacity + Send + 'static) {
    let looking = thread::Builder::new().name("machine".to_owned()).spawn(move || {
        let (mut window, mut said, mut wait) = (Window::default(), None, FIRST);
        loop {
            let reader = Reader { relays: relays.clone(), capacity: capacity() };
            let look = reader.look();
            if let Some(look) = &look {
                say(Doubt::about(look.sample.nic.as_ref()), &mut said, &reader);
            }
            machine.put(look.map(|look| see(look, &mut window)));
            thread::sleep(wait);
            wait = EVERY;
        }
    });
    if let Err(error) = looking {
        tracing::warn!(%error, "the load of this machine is not measured: raise the limit on threads");
    }
}

fn see(look: Look, window: &mut Window) -> Seen {
    let Look { sample, softnet, udp_v4, udp_v6 } = look;
    let (at, cpus, nic) = (sample.at, sample.cpus, sample.nic.as_ref().map(|nic| nic.counts));
    let queue_drops = sample.nic.as_ref().and_then(|nic| nic.queue_drops);
    window.push(sample);
    Seen { at, load: window.load(), cpus, nic, queue_drops, softnet, udp_v4, udp_v6 }
}

/// What keeps the load of the interface from being known.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    None,
    NoInterface,
    NoCapacity { interface: String },
}

impl Doubt {
    fn about(nic: Option<&NicSample>) -> Self {
        match nic {
            None => Self::NoInterface,
            Some(nic) if nic.capacity.source == CapacitySource::Unknown => {
                Self::NoCapacity { interface: nic.interface.clone() }
            }
            Some(_) => Self::None,
        }
    }
}

/// Once for each doubt.
fn say(doubt: Doubt, said: &mut Option<Doubt>, reader: &Reader) {
    if said.as_ref() == Some(&doubt) {
        return;
    }
    match &doubt {
        Doubt::None => {}
        Doubt::NoInterface => tracing::warn!(
            wanted = reader.capacity.interface.as_ref().map(InterfaceName::as_str), relays = ?reader.relays,
            "there is no interface to measure: write the name of the one that relayed traffic uses into \
             capacity.nic.interface"
        ),
        Doubt::NoCapacity { interface } => tracing::warn!(
            interface,
            machine_type = reader.capacity.machine_type,
            taken_bits_per_second = capacity::CAUTIOUS,
            "what this interface can carry is not known, a cautious guess is used: write capacity.nic.tx and rx, such \
             as 10G"
        ),
    }
    *said = Some(doubt);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_too_long_ago_is_not_told() {
        let machine = Machine::default();
        let at = Instant::now();
        assert!(machine.seen(at).is_none());
        let reader = Reader { relays: vec!["127.0.0.1".parse().unwrap()], capacity: Capacity::default() };
        let seen = see(reader.look().expect("/proc"), &mut Window::default());
        let at = seen.at;
        machine.put(Some(seen));
        assert!(machine.seen(at + STALE).is_some());
        assert!(machine.seen(at + STALE + Duration::from_millis(1)).is_none());
    }
}
