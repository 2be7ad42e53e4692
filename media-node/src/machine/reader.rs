//! The look at the machine: files of `/proc` and `/sys`, a netlink socket, and nothing decided.
//!
//! `/proc/net` is of the network namespace of this process, so interfaces are the machine's only with the machine's
//! network (hostNetwork). `/proc/stat` and `softnet_stat` are of the machine in any case.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_getaffinity},
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike,
    },
    unistd::Pid,
};

use super::{
    capacity::{self, Link, MAX_DEPTH},
    procfs::{self, Softnet, UdpDrops},
    qdisc,
    window::{NicSample, Sample},
};
use crate::config::{Capacity, capacity::InterfaceName};

/// What one look finds.
#[derive(Debug)]
pub struct Look {
    pub sample: Sample,
    pub softnet: Option<Softnet>,
    pub udp_v4: Option<UdpDrops>,
    pub udp_v6: Option<UdpDrops>,
}

/// Where to look.
#[derive(Debug)]
pub struct Reader {
    /// Addresses that relayed ports are opened on, the first of them first.
    pub relays: Vec<IpAddr>,
    pub capacity: Capacity,
}

impl Reader {
    /// None on a machine without `/proc`.
    pub fn look(&self) -> Option<Look> {
        let at = Instant::now();
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let micros: i64 = [usage.user_time(), usage.system_time()].map(|time| time.num_microseconds()).iter().sum();
        let allowed = Allowed::now();
        Some(Look {
            sample: Sample {
                at,
                process_cpu: Duration::from_micros(micros.unsigned_abs()),
                cpus: allowed.count(),
                cpu: procfs::cpu_time(&read("/proc/stat")?, |cpu| allowed.has(cpu))?,
                nic: self.nic(),
            },
            softnet: read("/proc/net/softnet_stat").and_then(|text| procfs::softnet(&text)),
            udp_v4: read("/proc/net/snmp").and_then(|text| procfs::udp_v4(&text)),
            udp_v6: read("/proc/net/snmp6").and_then(|text| procfs::udp_v6(&text)),
        })
    }

    fn nic(&self) -> Option<NicSample> {
        let name = match &self.capacity.interface {
            Some(name) => name.clone(),
            None => holder(&addresses(), &self.relays)?,
        };
        let counts = procfs::net_dev(&read("/proc/net/dev")?, name.as_str())?;
        let queue_drops = if_nametoindex(name.as_str()).ok().and_then(|index| qdisc::drops(index).ok());
        let capacity = capacity::of(&self.capacity, &link(name.as_str(), MAX_DEPTH));
        Some(NicSample { interface: name.as_str().to_owned(), counts, queue_drops, capacity })
    }
}

/// The interface that holds the first of `wanted` that any holds.
fn holder(addresses: &[(String, IpAddr)], wanted: &[IpAddr]) -> Option<InterfaceName> {
    let of = |wanted: &IpAddr| addresses.iter().find(|(_, address)| address == wanted);
    let (name, _) = wanted.iter().find_map(of)?;
    // An address with a label (`eth0:1`) is one of the interface before the colon.
    InterfaceName::new(name.split(':').next()?)
}

fn addresses() -> Vec<(String, IpAddr)> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let pairs = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
        Some((interface.interface_name, ip))
    });
    pairs.collect()
}

fn link(name: &str, depth: usize) -> Link {
    let directory = Path::new("/sys/class/net").join(name);
    let driver = fs::read_link(directory.join("device/driver")).ok();
    let lower = fs::read_dir(&directory).into_iter().flatten().flatten().filter_map(|entry| {
        let below = entry.file_name().to_str()?.strip_prefix("lower_").and_then(InterfaceName::new)?;
        (depth > 0).then(|| link(below.as_str(), depth - 1))
    });
    Link {
        // Reading it of an interface that is down is an error.
        speed: fs::read_to_string(directory.join("speed")).ok().and_then(|text| text.trim().parse().ok()),
        driver: driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())),
        lower: lower.collect(),
    }
}

/// The processors that the process may use.
struct Allowed {
    set: Option<CpuSet>,
    limit: Option<f64>,
}

impl Allowed {
    fn now() -> Self {
        Self { set: sched_getaffinity(Pid::from_raw(0)).ok(), limit: limit() }
    }

    /// On a machine with more processors than a set of them has room for, all count.
    fn has(&self, cpu: usize) -> bool {
        self.set.as_ref().is_none_or(|set| set.is_set(cpu).unwrap_or(false))
    }

    #[allow(clippy::cast_precision_loss)] // a number of processors
    fn count(&self) -> f64 {
        // Which knows version 1 of control groups too, in whole processors.
        let whole = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let set = self
            .set
            .as_ref()
            .map_or(whole, |set| (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count());
        self.limit.map_or(whole as f64, |limit| limit.min(set as f64))
    }
}

/// The least `cpu.max` of this process's control group and those around it.
fn limit() -> Option<f64> {
    let groups = read("/proc/self/cgroup")?;
    let path = procfs::cgroup(&groups)?.trim_start_matches('/');
    let around = Path::new(path).ancestors();
    let limits = around.filter_map(|group| {
        let file = Path::new("/sys/fs/cgroup").join(group).join("cpu.max");
        procfs::cpu_limit(&fs::read_to_string(file).ok()?)
    });
    limits.reduce(f64::min)
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_that_holds_a_relay_address_is_taken_without_its_label() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let machine = [("lo", "127.0.0.1"), ("eth0", "10.0.0.7"), ("eth1:vip", "10.0.0.8"), ("eth1", "2001:db8::8")];
        let machine = machine.map(|(name, address)| (name.to_owned(), ip(address)));
        let found = |relays: &[&str]| {
            let relays: Vec<_> = relays.iter().map(|relay| ip(relay)).collect();
            holder(&machine, &relays).map(|name| name.as_str().to_owned())
        };
        assert_eq!(found(&["10.0.0.8", "10.0.0.7"]).as_deref(), Some("eth1"));
        assert_eq!(found(&["203.0.113.9", "2001:db8::8"]).as_deref(), Some("eth1"), "the first that any holds");
        assert_eq!(found(&["203.0.113.9"]), None);
    }

    #[test]
    fn a_look_at_this_machine_finds_its_loopback_interface() {
        let reader = Reader { relays: vec!["127.0.0.1".parse().unwrap()], capacity: Capacity::default() };
        let look = reader.look().expect("/proc");
        assert!(look.sample.cpus >= 0.01 && look.sample.cpu.total > 0, "{look:?}");
        let nic = look.sample.nic.expect("an interface");
        assert_eq!(nic.interface, "lo");
        assert_eq!(nic.capacity.source, rtcfleet_node_api::CapacitySource::Unknown);
    }
}
