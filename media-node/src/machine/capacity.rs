//! What an interface can carry: as written, or else as the cloud promises, or else as the device says. Pure.

use rtcfleet_node_api::{CapacitySource, NicCapacity};

use super::cloud;
use crate::config::Capacity;

/// When nobody knows, bits a second each way. Low on purpose: a machine that looks busier than it is costs another
/// machine; one that looks idle while its interface is full costs calls.
pub const CAUTIOUS: u64 = 1_000_000_000;

/// Drivers of virtual adapters. What they report is a constant or the host's whole adapter, not this machine's share.
const VIRTUAL: [&str; 8] = ["ena", "gve", "hv_netvsc", "vif", "virtio_net", "vmxnet3", "xen_netfront", "xennet"];

/// Deeper stacks of devices are not looked through.
pub const MAX_DEPTH: usize = 4;

/// What `/sys/class/net` says of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Megabits a second.
    pub speed: Option<i64>,
    /// Of the device behind it. Software interfaces (veth, bridge, VLAN, bond) have none.
    pub driver: Option<String>,
    /// Those that it is made of, for a VLAN or a bond.
    pub lower: Vec<Link>,
}

impl Link {
    /// Whether the speed is that of hardware: veth reports 10000 whatever is true.
    fn tells_the_truth(&self) -> bool {
        match &self.driver {
            Some(driver) => !VIRTUAL.contains(&driver.as_str()),
            None => !self.lower.is_empty() && self.lower.iter().all(Self::tells_the_truth),
        }
    }

    fn bits_per_second(&self) -> Option<u64> {
        // Unknown is -1, as a signed or as an unsigned number of 32 bits.
        let known = self.speed.filter(|speed| (1..i64::from(u32::MAX)).contains(speed))?;
        self.tells_the_truth().then_some(known.unsigned_abs() * 1_000_000)
    }
}

/// A direction that is not written is taken to be as the other.
pub fn of(written: &Capacity, link: &Link) -> NicCapacity {
    let both = |source, bits| (source, bits, bits);
    let promised = || written.machine_type.as_deref().and_then(cloud::baseline);
    let (source, sent, received) = if let Some(either) = written.sent.or(written.received) {
        (CapacitySource::Configured, written.sent.unwrap_or(either), written.received.unwrap_or(either))
    } else if let Some(bits) = promised() {
        both(CapacitySource::CloudTable, bits)
    } else if let Some(bits) = link.bits_per_second() {
        both(CapacitySource::LinkSpeed, bits)
    } else {
        both(CapacitySource::Unknown, CAUTIOUS)
    };
    NicCapacity {
        source,
        sent_bits_per_second: Some(sent),
        received_bits_per_second: Some(received),
        packets_per_second: written.packets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: u64 = 1_000_000_000;

    fn device(driver: &str, speed: i64) -> Link {
        Link { speed: Some(speed), driver: Some(driver.to_owned()), lower: Vec::new() }
    }

    fn made_of(speed: i64, lower: Vec<Link>) -> Link {
        Link { speed: Some(speed), driver: None, lower }
    }

    #[test]
    fn the_surest_source_that_knows_wins() {
        use CapacitySource::{CloudTable, Configured, LinkSpeed, Unknown};
        let typed = |name: &str| Capacity { machine_type: Some(name.to_owned()), ..Capacity::default() };
        let nothing = Capacity::default();
        let mellanox = device("mlx5_core", 25_000);
        for (case, written, link, expected) in [
            (
                "written",
                Capacity { sent: Some(3), received: Some(4), ..typed("c5.large") },
                &mellanox,
                (Configured, 3, 4),
            ),
            ("one direction", Capacity { sent: Some(3), ..typed("c5.large") }, &mellanox, (Configured, 3, 3)),
            ("the other", Capacity { received: Some(4), ..Capacity::default() }, &mellanox, (Configured, 4, 4)),
            (
                "only packets are no bits",
                Capacity { packets: Some(5), ..nothing.clone() },
                &mellanox,
                (LinkSpeed, 25 * G, 25 * G),
            ),
            ("the type is known", typed("Standard_F2s_v2"), &mellanox, (CloudTable, 5 * G, 5 * G)),
            ("the type is not known", typed("q1.huge"), &mellanox, (LinkSpeed, 25 * G, 25 * G)),
            ("hardware", nothing.clone(), &mellanox, (LinkSpeed, 25 * G, 25 * G)),
            ("no cable", nothing.clone(), &device("e1000e", -1), (Unknown, G, G)),
            ("-1 of an older kernel", nothing.clone(), &device("e1000e", 4_294_967_295), (Unknown, G, G)),
            ("virtio", nothing.clone(), &device("virtio_net", -1), (Unknown, G, G)),
            ("virtio that was told a speed", nothing.clone(), &device("virtio_net", 100_000), (Unknown, G, G)),
            ("the host's adapter, on Azure", nothing.clone(), &device("hv_netvsc", 50_000), (Unknown, G, G)),
            ("veth", nothing.clone(), &made_of(10_000, vec![]), (Unknown, G, G)),
            (
                "a bond of hardware",
                nothing.clone(),
                &made_of(50_000, vec![mellanox.clone(); 2]),
                (LinkSpeed, 50 * G, 50 * G),
            ),
            (
                "a bridge of hardware and a veth",
                nothing.clone(),
                &made_of(25_000, vec![mellanox.clone(), made_of(10_000, vec![])]),
                (Unknown, G, G),
            ),
            ("nothing is known", nothing.clone(), &Link::default(), (Unknown, G, G)),
        ] {
            let got = of(&written, link);
            let (source, sent, received) = expected;
            assert_eq!(got.source, source, "{case}");
            assert_eq!(
                (got.sent_bits_per_second, got.received_bits_per_second),
                (Some(sent), Some(received)),
                "{case}"
            );
            assert_eq!(got.packets_per_second, written.packets, "{case}");
        }
    }
}
