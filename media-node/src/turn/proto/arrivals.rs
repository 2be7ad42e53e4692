//! Clients that have said by a Refresh with a ticket that they will be heard on a path of this shard, and have not been
//! heard there yet: the allocation is where it was, maybe on another shard.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use ahash::RandomState;

use super::mobility::Serial;
use super::server::ClientPath;

/// Between two questions for the allocation. An answer takes less than a millisecond.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What waits for the allocation of one client: a key frame.
const PACKETS: usize = 64;
const BYTES: usize = 96 * 1024;

/// What has arrived from a client. `Debug` shows nothing of it: there are tickets inside.
pub(super) struct Waiting(pub(super) Box<[u8]>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting({} bytes)", self.0.len())
    }
}

/// One client that is expected.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) serial: Serial,
    /// When it is forgotten.
    pub(super) until: Instant,
    /// When its allocation was asked for.
    asked: Option<Instant>,
    pub(super) waiting: Vec<Waiting>,
    bytes: usize,
}

impl Arrival {
    pub(super) fn new(serial: Serial, until: Instant) -> Self {
        Self { serial, until, asked: None, waiting: Vec::new(), bytes: 0 }
    }

    /// Whether there was room for it.
    pub(super) fn wait(&mut self, bytes: &[u8]) -> bool {
        let room = self.waiting.len() < PACKETS && self.bytes + bytes.len() <= BYTES;
        if room {
            self.bytes += bytes.len();
            self.waiting.push(Waiting(bytes.into()));
        }
        room
    }

    /// Whether to ask for the allocation now.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let ask = self.asked.is_none_or(|asked| now >= asked + ASK_AGAIN);
        if ask {
            self.asked = Some(now);
        }
        ask
    }
}

/// Those of one shard: one path for each allocation at the most.
#[derive(Debug)]
pub(super) struct Arrivals {
    by_path: HashMap<ClientPath, Arrival, RandomState>,
    paths: HashMap<Serial, ClientPath, RandomState>,
}

impl Arrivals {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { by_path: HashMap::with_hasher(hasher.clone()), paths: HashMap::with_hasher(hasher) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_path.len()
    }

    pub(super) fn contains(&self, path: &ClientPath) -> bool {
        self.by_path.contains_key(path)
    }

    pub(super) fn get_mut(&mut self, path: &ClientPath) -> Option<&mut Arrival> {
        self.by_path.get_mut(path)
    }

    /// Only when neither the path nor the allocation is known here.
    pub(super) fn insert(&mut self, path: ClientPath, arrival: Arrival) {
        self.paths.insert(arrival.serial, path);
        self.by_path.insert(path, arrival);
    }

    pub(super) fn remove(&mut self, path: &ClientPath) -> Option<Arrival> {
        let gone = self.by_path.remove(path)?;
        self.paths.remove(&gone.serial);
        Some(gone)
    }

    pub(super) fn remove_of(&mut self, serial: Serial) -> Option<Arrival> {
        let path = *self.paths.get(&serial)?;
        self.remove(&path)
    }
}
