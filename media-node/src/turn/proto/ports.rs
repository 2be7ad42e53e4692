//! Relayed ports: which are taken, which live, and the choice of the next (RFC 8656 section 7.2).
//!
//! The choice is random (RFC 6056), so that off-path attackers cannot guess where a client's peers will send from.
//! Shards agree by claiming bits in a map: a port is claimed before its socket is opened, and released after it is
//! closed.

use std::sync::atomic::{AtomicU64, Ordering};

use rand::{Rng, RngExt};

use super::config::{Family, ServerConfig};
use super::counters::Refusal;
use super::server::{OpenError, RelayId, RelayPorts};

/// Ports drawn at random before the range is walked from a random place. With a range half full, 1 in 2^32 allocations
/// walks.
const DRAWS: usize = 32;
/// Binds that may fail because somebody else on the machine has the port. Each is a system call, hence the bound.
const FAILED_BINDS: usize = 16;

/// One bit a port.
#[derive(Debug)]
struct Bits(Box<[AtomicU64]>);

impl Bits {
    fn new() -> Self {
        Self((0..1024).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(&self, port: u16) -> (&AtomicU64, u64) {
        (&self.0[usize::from(port >> 6)], 1 << (port & 63))
    }

    /// Whether it was clear before.
    fn set(&self, port: u16) -> bool {
        let (word, bit) = self.place(port);
        // When no port is free each request walks over all of them: then only looking leaves the line to other shards.
        word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    fn clear(&self, port: u16) {
        let (word, bit) = self.place(port);
        word.fetch_and(!bit, Ordering::AcqRel);
    }

    fn get(&self, port: u16) -> bool {
        let (word, bit) = self.place(port);
        word.load(Ordering::Relaxed) & bit != 0
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }
}

#[derive(Debug)]
struct PortsOfFamily {
    claimed: Bits,
    live: Bits,
}

/// The ports of all shards.
#[derive(Debug)]
pub(super) struct PortMap {
    v4: PortsOfFamily,
    v6: PortsOfFamily,
}

impl PortMap {
    pub(super) fn new() -> Self {
        let family = || PortsOfFamily { claimed: Bits::new(), live: Bits::new() };
        Self { v4: family(), v6: family() }
    }

    fn of(&self, family: Family) -> &PortsOfFamily {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn claim(&self, family: Family, port: u16) -> bool {
        self.of(family).claimed.set(port)
    }

    /// The port's socket is closed, or it never had one.
    pub(super) fn release(&self, family: Family, port: u16) {
        self.of(family).live.clear(port);
        self.of(family).claimed.clear(port);
    }

    fn set_live(&self, family: Family, port: u16) {
        self.of(family).live.set(port);
    }

    /// Whether an allocation of any shard relays through this port. Asked per packet between two clients of this node.
    pub(super) fn is_live(&self, family: Family, port: u16) -> bool {
        self.of(family).live.get(port)
    }

    /// Ports claimed, of both families.
    pub(super) fn claimed(&self) -> u32 {
        self.v4.claimed.count() + self.v6.claimed.count()
    }

    /// Ports that live, of both families.
    pub(super) fn live(&self) -> u32 {
        self.v4.live.count() + self.v6.live.count()
    }
}

/// What EVEN-PORT asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parity {
    Any,
    Even,
    /// An even port, and the next one kept for later.
    Pair,
}

/// A relay socket, and the port kept behind it if a pair was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) relay: RelayId,
    pub(super) port: u16,
}

/// Open a relay socket on a free port. The ports are claimed: the caller releases them. With [`Parity::Pair`] that
/// includes the next port.
pub(super) fn open(
    map: &PortMap,
    config: &ServerConfig,
    rng: &mut impl Rng,
    relays: &mut impl RelayPorts,
    family: Family,
    parity: Parity,
) -> Result<Opened, Refusal> {
    let address = config.relays.get(family).ok_or(Refusal::Sockets)?.local;
    let (first, count) = (u32::from(config.ports.first()), config.ports.count());
    let start = rng.random_range(0..count);
    let drawn: [u32; DRAWS] = std::array::from_fn(|_| rng.random_range(0..count));
    let walked = (0..count).map(|n| (start + n) % count);
    let mut failed = 0;
    for offset in drawn.into_iter().chain(walked) {
        let port = u16::try_from(first + offset).unwrap_or(u16::MAX);
        match claim_and_open(map, config, relays, family, (address, port), parity) {
            Attempt::Opened(relay) => return Ok(Opened { relay, port }),
            Attempt::Unfit => {}
            Attempt::InUse => failed += 1,
            Attempt::NoSocket(why) => return Err(why),
        }
        if failed == FAILED_BINDS {
            break;
        }
    }
    Err(Refusal::Ports)
}

enum Attempt {
    Opened(RelayId),
    /// Claimed already, or of the wrong parity.
    Unfit,
    InUse,
    NoSocket(Refusal),
}

fn claim_and_open(
    map: &PortMap,
    config: &ServerConfig,
    relays: &mut impl RelayPorts,
    family: Family,
    (address, port): (std::net::IpAddr, u16),
    parity: Parity,
) -> Attempt {
    let pair = parity == Parity::Pair;
    let odd = !port.is_multiple_of(2);
    if parity != Parity::Any && odd || pair && port >= config.ports.last() || !map.claim(family, port) {
        return Attempt::Unfit;
    }
    if pair && !map.claim(family, port + 1) {
        map.release(family, port);
        return Attempt::Unfit;
    }
    // Whether the second port could be bound is tried now; afterwards the claim guards it from every shard.
    let tried = if pair { relays.open(address, port + 1).map(|relay| relays.close(relay)) } else { Ok(()) };
    match tried.and_then(|()| relays.open(address, port)) {
        Ok(relay) => {
            map.set_live(family, port);
            Attempt::Opened(relay)
        }
        Err(error) => {
            map.release(family, port);
            if pair {
                map.release(family, port + 1);
            }
            match error {
                OpenError::InUse => Attempt::InUse,
                OpenError::Exhausted => Attempt::NoSocket(Refusal::Descriptors),
                OpenError::Failed => Attempt::NoSocket(Refusal::Sockets),
            }
        }
    }
}

/// Open the port that a reservation kept. The claim stays as it is, whatever comes of it.
pub(super) fn open_reserved(
    map: &PortMap,
    config: &ServerConfig,
    relays: &mut impl RelayPorts,
    family: Family,
    port: u16,
) -> Result<Opened, Refusal> {
    let address = config.relays.get(family).ok_or(Refusal::Sockets)?.local;
    let relay = relays.open(address, port).map_err(|error| match error {
        OpenError::InUse => Refusal::Ports,
        OpenError::Exhausted => Refusal::Descriptors,
        OpenError::Failed => Refusal::Sockets,
    })?;
    map.set_live(family, port);
    Ok(Opened { relay, port })
}
