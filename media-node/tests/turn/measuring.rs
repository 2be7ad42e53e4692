//! How busy the node says that it is.

use std::time::Instant;

use rtcfleet_node_api::{CapacitySource, Load};

use crate::{
    admin::Admin,
    node::{PATIENCE, Plan},
};

fn load_of(admin: &Admin) -> Load {
    let over = Instant::now() + PATIENCE;
    loop {
        if let Some(load) = admin.status().load {
            return load;
        }
        assert!(Instant::now() < over, "no load");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn the_load_is_told_in_status_and_metrics_with_the_capacity_that_was_written() {
    let mut plan = Plan::new();
    let admin = Admin::new(&mut plan);
    plan.more += "\ncapacity: {nic: {tx: 2.5G, packets: 1M}}";
    let node = plan.start();
    let load = load_of(&admin);
    assert!(load.window_seconds > 0.5, "{load:?}");
    let cpu = [load.cpu.process_percent, load.cpu.machine_percent, load.cpu.softirq_percent];
    assert!(cpu.iter().all(|percent| (0.0..=100.0).contains(percent)), "{load:?}");
    let nic = load.nic.expect("an interface");
    assert_eq!((nic.interface.as_str(), nic.capacity.source), ("lo", CapacitySource::Configured));
    assert_eq!(nic.capacity.received_bits_per_second, Some(2_500_000_000), "as the other direction");
    assert!(nic.sent.packets_per_second > 0, "asking for the status goes through lo: {nic:?}");

    let (_, page) = node.get("/metrics");
    for row in [
        r#"rtcfleet_node_cpu_percent{of="softirq"} "#,
        r#"rtcfleet_node_nic_used_percent{of="packets"} "#,
        r#"rtcfleet_node_nic_capacity_bits_per_second{direction="sent"} 2500000000"#,
        "rtcfleet_node_nic_capacity_packets_per_second 1000000",
        r#"rtcfleet_node_nic_capacity_source{source="configured"} 1"#,
        r#"rtcfleet_node_nic_capacity_source{source="unknown"} 0"#,
        r#"rtcfleet_node_nic_bytes_total{direction="received"} "#,
        r#"rtcfleet_node_nic_drops_total{direction="sent"} "#,
        "rtcfleet_node_nic_queue_drops_total ",
        "rtcfleet_node_softnet_drops_total ",
        r#"rtcfleet_node_udp_buffer_drops_total{family="ipv4",direction="received"} "#,
    ] {
        assert!(page.lines().any(|line| line.starts_with(row)), "no {row}in\n{page}");
    }
}

#[test]
fn a_capacity_that_nobody_knows_is_warned_about_once() {
    // Said before or after the node is active.
    let node = Plan::new().spawn();
    let line = node.wait_for_line(&["what this interface can carry is not known"]);
    assert!(line.contains("\"WARN\"") && line.contains("capacity.nic.tx"), "{line}");
    let looked_again = || node.get("/metrics").1.contains("rtcfleet_node_cpu_percent");
    let over = Instant::now() + PATIENCE;
    while !looked_again() {
        assert!(Instant::now() < over, "no second look");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(!node.has_said("what this interface can carry is not known"), "twice");
}
