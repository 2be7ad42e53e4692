//! What the kernel writes into `/proc` and `/sys/fs/cgroup`, read. Pure: text in, numbers out.

/// One direction of an interface, since the interface was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub drops: u64,
}

/// Both directions of an interface, with all headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nic {
    pub sent: Traffic,
    pub received: Traffic,
}

/// The line of `interface` in `/proc/net/dev`. "drop" of what was received is what the driver had no room for and what
/// the adapter missed; queues drop what is to be sent without counting it here: see [`qdisc`](super::qdisc).
pub fn net_dev(text: &str, interface: &str) -> Option<Nic> {
    // A wide number follows the colon without a space.
    let of_name = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        (name.trim() == interface).then(|| counts.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>())
    };
    let counts = text.lines().find_map(of_name)?.ok()?;
    let traffic = |from: usize| {
        Some(Traffic { bytes: *counts.get(from)?, packets: *counts.get(from + 1)?, drops: *counts.get(from + 3)? })
    };
    Some(Nic { received: traffic(0)?, sent: traffic(8)? })
}

/// Where the kernel takes packets off the adapters, all processors together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet {
    /// Packets dropped because a processor's backlog was full.
    pub drops: u64,
    /// Times that it stopped with work left, for its share of time was over.
    pub squeezes: u64,
}

/// `/proc/net/softnet_stat`: hexadecimal, a line a processor: processed, dropped, squeezed, and more.
pub fn softnet(text: &str) -> Option<Softnet> {
    let mut sum = Softnet::default();
    for line in text.lines() {
        let mut columns = line.split_whitespace().map(|column| u64::from_str_radix(column, 16));
        let (drops, squeezes) = (columns.nth(1)?.ok()?, columns.next()?.ok()?);
        sum = Softnet { drops: sum.drops + drops, squeezes: sum.squeezes + squeezes };
    }
    (!text.is_empty()).then_some(sum)
}

/// Datagrams lost because the buffer of a socket was full, all sockets of the network namespace together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpDrops {
    pub sent: u64,
    pub received: u64,
}

/// `/proc/net/snmp`: a line `Udp:` with names, and one with numbers.
pub fn udp_v4(text: &str) -> Option<UdpDrops> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let of = |name: &str| {
        let column = names.split_whitespace().position(|found| found == name)?;
        numbers.split_whitespace().nth(column)?.parse().ok()
    };
    Some(UdpDrops { sent: of("SndbufErrors")?, received: of("RcvbufErrors")? })
}

/// `/proc/net/snmp6`: a line a number. Not there on kernels without IPv6.
pub fn udp_v6(text: &str) -> Option<UdpDrops> {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(UdpDrops { sent: of("Udp6SndbufErrors")?, received: of("Udp6RcvbufErrors")? })
}

/// Processor time since the start of the machine, in ticks: only shares of it mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    pub total: u64,
    /// Neither doing nothing nor waiting for disks. What a hypervisor took away is in it, for it was not to be had.
    pub busy: u64,
    pub softirq: u64,
}

/// The processors of `/proc/stat` for which `counts` is true; the machine as a whole if it shows none of them.
pub fn cpu_time(text: &str, counts: impl Fn(usize) -> bool) -> Option<CpuTime> {
    let mut sum: Option<CpuTime> = None;
    let mut all = None;
    for line in text.lines() {
        let Some((name, times)) = line.strip_prefix("cpu").and_then(|rest| rest.split_once(' ')) else { continue };
        let Some(time) = ticks(times) else { continue };
        match name.parse() {
            Err(_) => all = Some(time),
            Ok(number) if counts(number) => {
                let before = sum.unwrap_or_default();
                sum = Some(CpuTime {
                    total: before.total + time.total,
                    busy: before.busy + time.busy,
                    softirq: before.softirq + time.softirq,
                });
            }
            Ok(_) => {}
        }
    }
    sum.or(all)
}

/// user, nice, system, idle, iowait, irq, softirq, steal; what follows (guests) is in user and nice already.
fn ticks(times: &str) -> Option<CpuTime> {
    let times: Vec<u64> = times.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[user, nice, system, idle, iowait, irq, softirq, steal] = times.as_slice() else { return None };
    let busy = user + nice + system + irq + softirq + steal;
    Some(CpuTime { total: busy + idle + iowait, busy, softirq })
}

/// The path of version 2 in `/proc/self/cgroup`.
pub fn cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The path in the hierarchy of version 1 that has this controller.
pub fn cgroup_v1<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|each| each == controller).then_some(path)
    })
}

/// How many processors a `cpu.max` leaves: `150000 100000` is 1.5. None without a limit.
pub fn cpu_limit(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let micros = |text: &str| text.parse::<u32>().ok().filter(|micros| *micros > 0).map(f64::from);
    Some(micros(quota)? / micros(period)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 966411921 1838866    0    0    0     0          0         0 966411921 1838866    0    0    0     0       0          0
  eth0: 414304965   23141    0    7    0     0          0         0  2041126   17346    0    3    0     0       0          0
eth0.7:99414304965   31    0    0    0     0          0         0  5   6    0    0    0     0       0          0
";

    const SNMP: &str = "\
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails
Tcp: 1 200 120000 -1 9834 5522 2106
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 1581229 580 49918 1362835 49918 12 0 0 0
UdpLite: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
UdpLite: 0 0 0 0 1 2 0 0 0
";

    const SNMP6: &str = "\
Udp6InDatagrams                 \t3382
Udp6OutDatagrams                \t3400
Udp6RcvbufErrors                \t5
Udp6SndbufErrors                \t0
UdpLite6RcvbufErrors            \t9
";

    const STAT: &str = "\
cpu  791874 564040 200527 1148749 10140 0 5030 450 0 0
cpu0 388767 279420 97520 589888 2822 0 1806 225 0 0
cpu1 403106 284619 103006 558861 7317 0 3223 224 0 0
intr 33404683 0 0
ctxt 79097840
softirq 3405034 0 418231 1 1172430
";

    #[test]
    fn an_interface_is_found_by_its_whole_name() {
        let eth0 = Nic {
            received: Traffic { bytes: 414_304_965, packets: 23141, drops: 7 },
            sent: Traffic { bytes: 2_041_126, packets: 17346, drops: 3 },
        };
        assert_eq!(net_dev(NET_DEV, "eth0"), Some(eth0));
        assert_eq!(net_dev(NET_DEV, "eth0.7").map(|nic| nic.received.bytes), Some(99_414_304_965), "no space after :");
        for no in ["eth", "eth00", "", "face |bytes"] {
            assert_eq!(net_dev(NET_DEV, no), None, "{no}");
        }
    }

    #[test]
    fn softnet_columns_are_hexadecimal_and_added_up_over_processors() {
        let text = "0031e247 0000000a 00000001 00000000 00000000\n0027dfbe 00000010 00000003 00000000 00000000\n";
        assert_eq!(softnet(text), Some(Softnet { drops: 26, squeezes: 4 }));
        assert_eq!(softnet(""), None);
    }

    #[test]
    fn datagrams_lost_for_want_of_a_buffer_are_told_from_other_errors_and_protocols() {
        assert_eq!(udp_v4(SNMP), Some(UdpDrops { sent: 12, received: 49918 }));
        assert_eq!(udp_v6(SNMP6), Some(UdpDrops { sent: 0, received: 5 }));
        assert_eq!(udp_v4(SNMP6), None);
    }

    #[test]
    fn processors_that_the_process_may_not_use_do_not_count() {
        let whole = cpu_time(STAT, |_| true).unwrap();
        // Rounded by the kernel a processor at a time, so its own sum differs by a tick or two.
        assert_eq!(whole.softirq, 1806 + 3223);
        let one = cpu_time(STAT, |cpu| cpu == 1).unwrap();
        let busy = 403_106 + 284_619 + 103_006 + 3223 + 224;
        assert_eq!(one, CpuTime { total: busy + 558_861 + 7317, busy, softirq: 3223 });
        let none = cpu_time(STAT, |_| false).unwrap();
        assert_eq!(none.softirq, 5030, "the machine as a whole");
    }

    #[test]
    fn the_limit_of_a_container_is_a_number_of_processors() {
        assert_eq!(cpu_limit("150000 100000\n"), Some(1.5));
        assert_eq!(cpu_limit("max 100000\n"), None);
        assert_eq!(cpu_limit("0 0\n"), None);
        let hybrid = "3:cpuset:/\n1:cpu:/\n0::/kubepods.slice/pod7\n";
        assert_eq!(cgroup(hybrid), Some("/kubepods.slice/pod7"));
        assert_eq!(cgroup("1:cpu:/\n"), None);
        assert_eq!(cgroup_v1(hybrid, "cpu"), Some("/"));
        assert_eq!(cgroup_v1("4:cpu,cpuacct:/a\n", "cpuacct"), Some("/a"));
        assert_eq!(cgroup_v1(hybrid, "memory"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "(cpu|Udp:|eth0:|0::|[0-9a-f \\n]){0,40}.*") {
            net_dev(&text, "eth0");
            softnet(&text);
            udp_v4(&text);
            udp_v6(&text);
            cpu_time(&text, |cpu| cpu % 2 == 0);
            cgroup(&text);
            cgroup_v1(&text, "cpu");
            cpu_limit(&text);
        }
    }
}
