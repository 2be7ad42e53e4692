//! How busy machine and process are, as of the last look at them.
#![allow(clippy::cast_precision_loss)]

use std::fmt;

use rtcfleet_node_api::{CapacitySource, CpuLoad, NicLoad};

use super::Page;
use crate::machine::{Nic, Seen, Softnet, UdpDrops};

pub(super) fn metrics(page: &mut Page<'_>, seen: &Seen) -> fmt::Result {
    page.gauge("rtcfleet_node_cpus", "Processors that the process may use; a limit counts.", None, seen.cpus)?;
    if let Some(load) = &seen.load {
        cpu(page, load.cpu)?;
        load.nic.as_ref().map_or(Ok(()), |nic| nic_load(page, nic))?;
    }
    seen.nic.map_or(Ok(()), |nic| nic_counts(page, nic))?;
    if let Some(drops) = seen.queue_drops {
        page.counter(
            "rtcfleet_node_nic_queue_drops",
            "Packets that the queue in front of the interface that relays threw away.",
            None,
            drops as f64,
        )?;
    }
    seen.softnet.map_or(Ok(()), |softnet| softnet_counts(page, softnet))?;
    udp_drops(page, seen.udp_v4, seen.udp_v6)
}

fn cpu(page: &mut Page<'_>, cpu: CpuLoad) -> fmt::Result {
    let CpuLoad { process_percent, machine_percent, softirq_percent } = cpu;
    page.gauges(
        "rtcfleet_node_cpu_percent",
        "Processor time of the last 15 s, of what the process may use: this process, the machine, its soft interrupts.",
        [("process", process_percent), ("machine", machine_percent), ("softirq", softirq_percent)]
            .map(|(of, percent)| ([("of", of)], percent)),
    )
}

fn nic_load(page: &mut Page<'_>, nic: &NicLoad) -> fmt::Result {
    let capacity = nic.capacity;
    let packets = nic.sent.packets_per_second + nic.received.packets_per_second;
    let used = [
        ("sent", nic.sent.bits_per_second, capacity.sent_bits_per_second),
        ("received", nic.received.bits_per_second, capacity.received_bits_per_second),
        ("packets", packets, capacity.packets_per_second),
    ];
    page.gauges(
        "rtcfleet_node_nic_used_percent",
        "What the interface that relays carried in the last 15 s, of what it can carry: bits sent, bits received, packets.",
        used.iter().filter_map(|(of, rate, most)| Some(([("of", *of)], *rate as f64 / (*most)? as f64 * 100.0))),
    )?;
    let bits = [("sent", capacity.sent_bits_per_second), ("received", capacity.received_bits_per_second)];
    page.gauges(
        "rtcfleet_node_nic_capacity_bits_per_second",
        "What the interface that relays can carry.",
        bits.iter().filter_map(|(direction, bits)| Some(([("direction", *direction)], (*bits)? as f64))),
    )?;
    if let Some(packets) = capacity.packets_per_second {
        page.gauge(
            "rtcfleet_node_nic_capacity_packets_per_second",
            "Packets that the interface that relays can carry, both ways together.",
            None,
            packets as f64,
        )?;
    }
    let sources =
        [CapacitySource::Configured, CapacitySource::CloudTable, CapacitySource::LinkSpeed, CapacitySource::Unknown];
    page.gauges(
        "rtcfleet_node_nic_capacity_source",
        "1 for where the capacity is known from, 0 for the others.",
        sources.map(|source| ([("source", label(source))], f64::from(u8::from(source == capacity.source)))),
    )
}

fn label(source: CapacitySource) -> &'static str {
    match source {
        CapacitySource::Configured => "configured",
        CapacitySource::CloudTable => "cloud_table",
        CapacitySource::LinkSpeed => "link_speed",
        CapacitySource::Unknown => "unknown",
    }
}

fn nic_counts(page: &mut Page<'_>, nic: Nic) -> fmt::Result {
    let directions = [("sent", nic.sent), ("received", nic.received)];
    let rows = |of: fn(crate::machine::Traffic) -> u64| {
        directions.map(|(direction, traffic)| ([("direction", direction)], of(traffic)))
    };
    page.counters(
        "rtcfleet_node_nic_bytes",
        "Bytes through the interface that relays, with all headers, since it was made.",
        rows(|traffic| traffic.bytes),
    )?;
    page.counters("rtcfleet_node_nic_packets", "Packets through the interface that relays.", rows(|t| t.packets))?;
    page.counters(
        "rtcfleet_node_nic_drops",
        "Packets that the interface that relays threw away.",
        rows(|traffic| traffic.drops),
    )
}

fn softnet_counts(page: &mut Page<'_>, softnet: Softnet) -> fmt::Result {
    page.counter(
        "rtcfleet_node_softnet_drops",
        "Packets received by any interface of the machine that were dropped because a processor's backlog was full.",
        None,
        softnet.drops as f64,
    )?;
    page.counter(
        "rtcfleet_node_softnet_squeezes",
        "Times that a processor stopped receiving packets with work left.",
        None,
        softnet.squeezes as f64,
    )
}

fn udp_drops(page: &mut Page<'_>, v4: Option<UdpDrops>, v6: Option<UdpDrops>) -> fmt::Result {
    let families = [("ipv4", v4), ("ipv6", v6)];
    let rows = families.iter().filter_map(|(family, drops)| Some((*family, (*drops)?))).flat_map(|(family, drops)| {
        [("sent", drops.sent), ("received", drops.received)]
            .map(|(direction, count)| ([("family", family), ("direction", direction)], count))
    });
    page.counters(
        "rtcfleet_node_udp_buffer_drops",
        "Datagrams lost because the buffer of a socket was full: all sockets of the network namespace.",
        rows,
    )
}
