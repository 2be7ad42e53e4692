//! What connections may take, and for how long. Pure.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use ahash::RandomState;

use super::counters::Closed;

/// Bounds of one thread's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the connection to its first whole message, the TLS handshake included.
    pub first_message: Duration,
    /// From the last message to the end of a connection without an allocation.
    pub idle: Duration,
    /// Connections without an allocation that one source ([`Source`]) may have.
    pub strangers: u32,
    /// TLS handshakes that one turn of the loop goes on with: each may cost a signature, about a millisecond with RSA, and
    /// relayed packets wait meanwhile.
    pub handshakes: u32,
    /// Bytes that wait for one client's socket to take them, before relayed data is dropped.
    pub waiting: usize,
    /// The same of all clients together. Past it, only who has nothing waiting gets relayed data.
    pub waiting_in_all: usize,
    /// Bytes above `waiting` that are for answers. A client that does not read these either is given up.
    pub headroom: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_message: Duration::from_secs(10),
            idle: Duration::from_mins(1),
            strangers: 100,
            handshakes: 8,
            // A key frame of 1080p video that comes at once; more is older than a call has use for.
            waiting: 256 * 1024,
            waiting_in_all: 64 * 1024 * 1024,
            headroom: 64 * 1024,
        }
    }
}

/// The longest frame of somebody without an allocation: requests are far shorter, and data goes nowhere.
pub const STRANGERS_FRAME: usize = 4096;

/// Bytes of answers that may wait for somebody without an allocation: its questions are few. There can be many like it, and
/// what waits for them must not take the room that there is for all.
pub const STRANGERS_WAITING: usize = 16 * 1024;

/// What a connection has done so far.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub accepted: Instant,
    pub last_message: Option<Instant>,
    pub has_allocation: bool,
}

/// What its deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Look again then, and not before.
    Later(Instant),
    Ended(Closed),
}

impl Limits {
    /// Whether a connection has to end at `now`. An allocation ends by its own lifetime, and keeps its connection.
    pub fn due(&self, progress: Progress, now: Instant) -> Due {
        let (due, ended) = match progress.last_message {
            None => (progress.accepted + self.first_message, Closed::NoMessage),
            Some(_) if progress.has_allocation => return Due::Later(now + self.idle),
            Some(last) => (last + self.idle, Closed::Idle),
        };
        if due <= now { Due::Ended(ended) } else { Due::Later(due) }
    }

    /// Bytes that may wait for the socket of a client when it gets an answer.
    pub fn answers(&self, is_stranger: bool) -> usize {
        let all = self.waiting + self.headroom;
        if is_stranger { all.min(STRANGERS_WAITING) } else { all }
    }
}

/// Where connections come from, as one is told from another: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl Source {
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            // No IPv6 network begins with 32 zero bits, but for addresses that arrive here as IPv4.
            IpAddr::V4(v4) => Self(v4.to_bits().into()),
            IpAddr::V6(v6) => Self(u64::from_be_bytes(std::array::from_fn(|byte| v6.octets()[byte]))),
        }
    }
}

/// How many connections without an allocation each source has.
#[derive(Debug)]
pub struct Strangers(HashMap<Source, u32, RandomState>);

impl Strangers {
    pub fn new(hasher: RandomState) -> Self {
        Self(HashMap::with_hasher(hasher))
    }

    /// One more, unless the source has as many as it may.
    pub fn admit(&mut self, source: Source, limit: u32) -> bool {
        let count = self.0.entry(source).or_default();
        let admitted = *count < limit;
        *count += u32::from(admitted);
        admitted
    }

    /// One more, of which there is no choice: its allocation has ended.
    pub fn add(&mut self, source: Source) {
        *self.0.entry(source).or_default() += 1;
    }

    /// One less. Nothing is kept of sources that have none.
    pub fn remove(&mut self, source: Source) {
        if let Some(count) = self.0.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_without_a_first_message_in_time_and_when_idle_without_an_allocation() {
        let limits = Limits::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let progress = |last: Option<u64>, has_allocation| Progress {
            accepted: start,
            last_message: last.map(at),
            has_allocation,
        };
        for (case, progress, now, expected) in [
            ("still silent", progress(None, false), 9, Due::Later(at(10))),
            ("silent", progress(None, false), 10, Due::Ended(Closed::NoMessage)),
            ("was heard", progress(Some(5), false), 10, Due::Later(at(65))),
            ("idle", progress(Some(5), false), 65, Due::Ended(Closed::Idle)),
            ("idle with an allocation", progress(Some(5), true), 1000, Due::Later(at(1060))),
        ] {
            assert_eq!(limits.due(progress, at(now)), expected, "{case}");
        }
    }

    #[test]
    fn connections_are_counted_by_ipv4_address_and_by_ipv6_network() {
        let source = |ip: &str| Source::of(ip.parse().unwrap());
        let mut strangers = Strangers::new(RandomState::with_seeds(1, 2, 3, 4));
        assert!(strangers.admit(source("192.0.2.1"), 1));
        assert!(!strangers.admit(source("192.0.2.1"), 1));
        assert!(strangers.admit(source("192.0.2.2"), 1));
        assert!(strangers.admit(source("2001:db8::1"), 1));
        assert!(!strangers.admit(source("2001:db8::2"), 1), "the same /64");
        assert!(strangers.admit(source("2001:db8:0:1::1"), 1));
        strangers.remove(source("192.0.2.1"));
        assert!(strangers.admit(source("192.0.2.1"), 1));
        strangers.add(source("192.0.2.1"));
        strangers.remove(source("192.0.2.1"));
        assert!(!strangers.admit(source("192.0.2.1"), 1), "one is left");
        for ip in ["192.0.2.1", "192.0.2.2", "2001:db8::9", "2001:db8:0:1::9"] {
            strangers.remove(source(ip));
        }
        assert!(strangers.0.is_empty());
    }
}
