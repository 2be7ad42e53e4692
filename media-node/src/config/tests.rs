use std::{net::IpAddr, path::Path, time::Duration};

use super::{
    Adjustable, Capacity, ConfigHash, LimitsSource, Listener, Overrides, Protocol, RelaySource, Threads, TurnConfig,
    adjustable,
    capacity::InterfaceName,
    json_schema,
    machines::{self, Found, Machine},
    parse,
    warnings::{PortSettings, of_ports},
};
use crate::turn::proto::{PortRange, RelayAddress, RelayAddresses};

const SMALLEST: &str = "
realm: turn.example.org
listeners: [{protocol: UDP, address: '0.0.0.0:3478'}]
auth: {secretFiles: [secrets/current]}
";

fn good(text: &str) -> TurnConfig {
    parse(text, Path::new("/etc/turn"), &Overrides::default()).unwrap_or_else(|m| panic!("{m:?}"))
}

fn mistakes_of(text: &str, overrides: &Overrides) -> Vec<String> {
    match parse(text, Path::new("/etc/turn"), overrides) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(mistakes) => mistakes.all().iter().map(ToString::to_string).collect(),
    }
}

fn given(config: &TurnConfig) -> &Adjustable {
    match &config.limits {
        LimitsSource::Given(adjustable) => adjustable,
        LimitsSource::File(file) => panic!("in {}", file.display()),
    }
}

/// [`SMALLEST`] with the top-level key of `line` replaced, or added.
fn with(line: &str) -> String {
    let key = line.trim_start().split(':').next().unwrap_or_default();
    let kept: Vec<_> = SMALLEST.lines().filter(|l| !l.starts_with(&format!("{key}:"))).collect();
    format!("{}\n{line}\n", kept.join("\n"))
}

fn relays(pairs: &[(&str, &str)]) -> RelayAddresses {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let pairs: Vec<_> = pairs.iter().map(|(l, p)| RelayAddress { local: ip(l), public: ip(p) }).collect();
    RelayAddresses::new(&pairs).unwrap()
}

#[test]
fn a_file_with_only_what_has_no_default_is_enough() {
    let config = good(SMALLEST);
    assert_eq!(config.realm.as_str(), "turn.example.org");
    assert_eq!(config.listeners, [Listener { protocol: Protocol::Udp, address: "0.0.0.0:3478".parse().unwrap() }]);
    assert_eq!(config.tls, None);
    assert_eq!(config.relay_addresses, RelaySource::Detect);
    assert_eq!((config.relay_ports.first(), config.relay_ports.last()), (49152, 65535));
    assert_eq!(config.auth.current, Path::new("/etc/turn/secrets/current"), "relative to the file");
    assert_eq!(config.auth.previous, None);
    let Adjustable { terms, capacity } = given(&config);
    assert_eq!(terms.max_credential_ttl, Duration::from_hours(24));
    assert_eq!((terms.quotas.per_user, terms.quotas.total), (20, 100_000));
    assert_eq!((terms.quotas.bandwidth_per_allocation, terms.quotas.bandwidth), (None, None));
    assert_eq!(terms.limits.unauthenticated_per_prefix, 1000);
    assert_eq!(config.metrics, "127.0.0.1:9090".parse().unwrap());
    assert_eq!(config.admin, None);
    assert_eq!(config.on_terminate, Duration::from_secs(30));
    assert_eq!(config.threads, Threads::OneACore);
    assert_eq!(*capacity, Capacity::default());
    assert_eq!(config.probe_interval, Some(Duration::from_secs(30)));
    assert!(config.mobility);
    assert_eq!(config.hash.to_string().len(), 64);
}

#[test]
fn every_key_is_taken_over() {
    let config = good(
        "
realm: turn.example.org
listeners:
  - {protocol: UDP, address: '0.0.0.0:3478'}
  - {protocol: UDP, address: '[::]:3478'}
  - {protocol: TCP, address: '0.0.0.0:3478'}
  - {protocol: TLS, address: '0.0.0.0:443'}
tls: {certificate: tls.crt, key: /run/tls.key}
relay:
  addresses: [10.0.0.7, '2001:db8::7']
  publicAddresses: [203.0.113.7]
  minPort: 50000
  maxPort: 50999
  allowPeers: [10.20.0.0/16, 10.30.0.1]
  denyPeers: ['2001:db8:bad::/48']
auth: {secretFiles: [/run/current, previous], maxTtl: 1h30m}
quotas: {allocationsPerUser: 5, allocations: 500, bandwidthPerAllocation: 4M, bandwidth: 2.5G}
limits: {unauthenticatedPerPrefix: 0}
admin: {address: '0.0.0.0:9443', certificate: tls.crt, key: tls.key, clientCa: /ca.crt}
metrics: {address: '127.0.0.1:9091'}
drain: {onTerminate: 1h}
threads: 3
capacity: {nic: {interface: eth1, tx: 10G, rx: 2.5G, packets: 1M}, machineType: Standard_F8s_v2}
probe: {interval: 5m}
mobility: {enabled: false}
",
    );
    let protocols: Vec<_> = config.listeners.iter().map(|listener| listener.protocol).collect();
    assert_eq!(protocols, [Protocol::Udp, Protocol::Udp, Protocol::Tcp, Protocol::Tls]);
    let tls = config.tls.as_ref().unwrap();
    assert_eq!(
        (tls.certificate.as_path(), tls.key.as_path()),
        (Path::new("/etc/turn/tls.crt"), Path::new("/run/tls.key"))
    );
    assert_eq!(
        config.relay_addresses,
        RelaySource::Given(relays(&[("10.0.0.7", "203.0.113.7"), ("2001:db8::7", "2001:db8::7")]))
    );
    assert_eq!(config.relay_ports.count(), 1000);
    let Adjustable { terms, capacity } = given(&config);
    assert_eq!(terms.peers.allow(), ["10.20.0.0/16".parse().unwrap(), "10.30.0.1/32".parse().unwrap()]);
    assert_eq!(terms.peers.deny(), ["2001:db8:bad::/48".parse().unwrap()]);
    assert_eq!(config.auth.current, Path::new("/run/current"));
    assert_eq!(config.auth.previous.as_deref(), Some(Path::new("/etc/turn/previous")));
    assert_eq!(terms.max_credential_ttl, Duration::from_mins(90));
    assert_eq!((terms.quotas.per_user, terms.quotas.total), (5, 500));
    let bandwidth = (terms.quotas.bandwidth_per_allocation, terms.quotas.bandwidth);
    assert_eq!(bandwidth, (Some(4_000_000), Some(2_500_000_000)));
    assert_eq!(terms.limits.unauthenticated_per_prefix, 0);
    let admin = config.admin.as_ref().unwrap();
    assert_eq!(
        (admin.certificate.as_path(), admin.client_ca.as_path()),
        (Path::new("/etc/turn/tls.crt"), Path::new("/ca.crt"))
    );
    assert_eq!(config.on_terminate, Duration::from_hours(1));
    assert_eq!(config.threads, Threads::Exactly(3.try_into().unwrap()));
    let expected = Capacity {
        interface: InterfaceName::new("eth1"),
        sent: Some(10_000_000_000),
        received: Some(2_500_000_000),
        packets: Some(1_000_000),
        machine_type: Some("Standard_F8s_v2".into()),
    };
    assert_eq!(*capacity, expected);
    assert_eq!(config.probe_interval, Some(Duration::from_mins(5)));
    assert!(!config.mobility);
    assert_eq!(good(&with("probe: {interval: 0s}")).probe_interval, None);
}

/// The line in place of its key in [`SMALLEST`], and what the only mistake then is.
const MISTAKES: &[(&str, &str)] = &[
    (
        "realm: ''",
        r#"realm: "" is not a realm: write 1 to 63 printable ASCII characters without quotes and backslashes, such as turn.example.org"#,
    ),
    ("realm: 7", "realm: this is integer `7`: write a realm such as turn.example.org"),
    ("realm:", "realm: is missing: write the DNS name of the service, such as turn.example.org"),
    (
        "relm: x",
        "relm: there is no such key: those here are realm, listeners, tls, limitsFile, relay, auth, quotas, limits, admin, metrics, drain, threads, capacity, probe, mobility",
    ),
    ("listeners: []", r#"listeners: is empty: write a list such as [{protocol: UDP, address: "0.0.0.0:3478"}]"#),
    ("listeners: 3478", "listeners: this is integer `3478`: write a list, such as [a, b]"),
    (
        "listeners: [{protocol: UDP}]",
        r#"listeners[0].address: is missing: write an address and a port such as "0.0.0.0:3478""#,
    ),
    ("listeners: [{address: '1.2.3.4:1'}]", "listeners[0].protocol: is missing: write UDP, TCP or TLS"),
    (
        "listeners: [{protocol: TLS, address: '1.2.3.4:443'}]",
        "tls: is missing: write tls: {certificate: tls.crt, key: tls.key} for listeners[0]",
    ),
    ("tls: {certificate: c, key: k}", "tls: stands there without a listener for TLS: write one, or remove this group"),
    (
        "listeners: [{protocol: TLS, address: '1.2.3.4:443'}]\ntls: {certificate: c}",
        "tls.key: is missing: write the PEM file with the certificate's private key",
    ),
    (
        "listeners: [{protocol: TCP, address: '1.2.3.4:443'}, {protocol: TLS, address: '1.2.3.4:443'}]\ntls: {certificate: c, key: k}",
        "listeners[1].address: 1.2.3.4:443 is the address of listeners[0] (TCP) as well: TCP and TLS share their ports; keep listeners[1] alone, since a TLS listener takes plain TCP too, or write another port",
    ),
    (
        "listeners: [{protocol: TCP, address: '0.0.0.0:9090'}]",
        "listeners[0].address: 0.0.0.0:9090 takes metrics.address 127.0.0.1:9090 as well: write another port for one of them",
    ),
    (
        "listeners: [{protocol: TCP, address: '127.0.0.1:9443'}]\nadmin: {certificate: c, key: k, clientCa: c}",
        "listeners[0].address: 127.0.0.1:9443 takes admin.address 127.0.0.1:9443 as well: write another port for one of them",
    ),
    (
        "listeners: [{protocol: SCTP, address: '1.2.3.4:443'}]",
        r#"listeners[0].protocol: "SCTP" is not a protocol: write UDP or TCP or TLS"#,
    ),
    (
        "listeners: [{protocol: UDP, address: 3478}]",
        r#"listeners[0].address: this is integer `3478`: write an address and a port such as "0.0.0.0:3478" or "[::]:3478""#,
    ),
    (
        "listeners: [{protocol: UDP, address: '0.0.0.0'}]",
        r#"listeners[0].address: "0.0.0.0" is not an address and a port: write "0.0.0.0:3478" or "[::]:3478""#,
    ),
    (
        "listeners: [{protocol: UDP, address: '0.0.0.0:0'}]",
        r#"listeners[0].address: "0.0.0.0:0" is not an address and a port: write a port from 1 to 65535"#,
    ),
    (
        "listeners: [{protocol: UDP, address: '224.0.0.1:1'}]",
        "listeners[0].address: 224.0.0.1 is a multicast address: write one of this machine",
    ),
    (
        "listeners: [{protocol: UDP, address: '1.2.3.4:1'}, {protocol: UDP, address: '1.2.3.4:1'}]",
        "listeners[1].address: 1.2.3.4:1 is the address of listeners[0] as well: remove one of them",
    ),
    (
        "listeners: [{protocol: UDP, address: '1.2.3.4:50000'}]",
        "listeners[0].address: port 50000 is one of the relayed ports 49152-65535: write one outside, or narrow the range",
    ),
    ("listeners: [~]", "listeners[0]: is empty: remove it, or write a value"),
    ("relay: {minPort: 70000}", "relay.minPort: 70000 is not a port: write 1024 to 65535, such as 49152"),
    ("relay: {minPort: -1}", "relay.minPort: -1 is not a port: write 1024 to 65535, such as 49152"),
    (
        "relay: {maxPort: '60000'}",
        r#"relay.maxPort: this is string "60000": write a port: a whole number from 1024 to 65535, such as 49152"#,
    ),
    (
        "relay: {minPort: 60000, maxPort: 50000}",
        "relay.minPort: 60000 is above relay.maxPort 50000: write minPort <= maxPort, such as 49152 and 65535",
    ),
    (
        "relay: {minport: 60000}",
        "relay.minport: there is no such key: those here are addresses, publicAddresses, machinesFile, minPort, maxPort, allowPeers, denyPeers",
    ),
    ("relay: {addresses: []}", "relay.addresses: is empty: write an address of this machine, or leave the key out"),
    (
        "relay: {addresses: [0.0.0.0]}",
        "relay.addresses[0]: 0.0.0.0 stands for every address: write the one that packets arrive at",
    ),
    (
        "relay: {addresses: [255.255.255.255]}",
        "relay.addresses[0]: 255.255.255.255 is not the address of one machine: write one that is",
    ),
    (
        "relay: {addresses: ['fe80::1']}",
        "relay.addresses[0]: fe80::1 means something else on every link: write a global or a unique local address",
    ),
    (
        "relay: {addresses: ['::ffff:10.0.0.1']}",
        r#"relay.addresses[0]: "::ffff:10.0.0.1" is not an IP address: write 10.0.0.1"#,
    ),
    (
        "relay: {addresses: [example.org]}",
        r#"relay.addresses[0]: "example.org" is not an IP address: write 203.0.113.7 or "2001:db8::7""#,
    ),
    (
        "relay: {addresses: [10.0.0.1, 10.0.0.2]}",
        "relay.addresses[1]: 10.0.0.2 is the second of its family after 10.0.0.1: write one IPv4 and one IPv6 at the most",
    ),
    (
        "relay: {addresses: [10.0.0.1], publicAddresses: ['2001:db8::1']}",
        "relay.publicAddresses: 2001:db8::1 stands for no address: write this machine's IPv6 address in addresses too",
    ),
    (
        "relay: {publicAddresses: [203.0.113.7]}",
        "relay.publicAddresses: 203.0.113.7 stands for no address: write this machine's IPv4 address in addresses too",
    ),
    (
        "relay: {machinesFile: m.yaml}",
        "relay.machinesFile: needs this machine's name: pass --machine NAME or set NODE_NAME",
    ),
    (
        "relay: {allowPeers: [10.0.0.5/8]}",
        r#"relay.allowPeers[0]: "10.0.0.5/8" is not a CIDR: write 10.0.0.0/8 for the network or 10.0.0.5 for the one address"#,
    ),
    (
        "relay: {denyPeers: ['::ffff:192.0.2.0/120']}",
        r#"relay.denyPeers[0]: "::ffff:192.0.2.0/120" is not a CIDR: write 192.0.2.0/24: it holds in IPv6 addresses that carry IPv4 ones, too"#,
    ),
    (
        "relay: {denyPeers: ['::ffff:192.0.2.7']}",
        r#"relay.denyPeers[0]: "::ffff:192.0.2.7" is not a CIDR: write 192.0.2.7/32: it holds in IPv6 addresses that carry IPv4 ones, too"#,
    ),
    (
        "relay: {denyPeers: [lan]}",
        r#"relay.denyPeers[0]: "lan" is not a CIDR: write 10.20.0.0/16 or 10.20.0.7 or "fd00:20::/48""#,
    ),
    ("auth:", "auth: is missing: write auth: {secretFiles: [secrets/current]}"),
    (
        "auth: {}",
        "auth.secretFiles: is missing: write the files that hold the current secret and, during a rotation, the previous one",
    ),
    ("auth: {secretFiles: [a, b, c]}", "auth.secretFiles: has 3 entries: write 2 at the most"),
    (
        "auth: {secretFiles: [a], maxTtl: 24}",
        "auth.maxTtl: this is integer `24`: write a duration such as 30s or 10m or 24h or 1h30m",
    ),
    (
        "auth: {secretFiles: [a], maxTtl: 1 fortnight}",
        r#"auth.maxTtl: "1 fortnight" is not a duration: write 30s or 10m or 24h or 1h30m"#,
    ),
    ("auth: {secretFiles: [a], maxTtl: 1s}", "auth.maxTtl: 1s is out of range: write 1m to 8760h, such as 24h"),
    (
        "quotas: {allocations: 0}",
        "quotas.allocations: 0 is not a number of allocations: write 1 to 1000000, such as 1000",
    ),
    (
        "quotas: {allocations: 10, allocationsPerUser: 11}",
        "quotas.allocationsPerUser: 11 is above quotas.allocations 10: write that number or less",
    ),
    (
        "quotas: {bandwidthPerAllocation: 4Mbps}",
        r#"quotas.bandwidthPerAllocation: "4Mbps" is not an amount: write digits and at the most one of k, M, G and T (decimal), such as 10G, 2.5G or 400k"#,
    ),
    (
        "quotas: {bandwidthPerAllocation: 4M, bandwidth: 3M}",
        "quotas.bandwidthPerAllocation: 4000000 bits a second are above quotas.bandwidth, 3000000: write that or less",
    ),
    (
        "limits: {unauthenticatedPerPrefix: 1k}",
        r#"limits.unauthenticatedPerPrefix: this is string "1k": write a number of answers a second: a whole number from 0 to 1000000, such as 1000"#,
    ),
    ("admin: {key: k, clientCa: c}", "admin.certificate: is missing: write the PEM file with the server's certificate"),
    (
        "admin: {address: '127.0.0.1:9090', certificate: c, key: k, clientCa: c}",
        "admin.address: 127.0.0.1:9090 is metrics.address as well: write another port",
    ),
    (
        "metrics: {address: '127.0.0.1:50000'}",
        "metrics.address: port 50000 is one of the relayed ports 49152-65535: write one outside, or narrow the range",
    ),
    ("drain: {onTerminate: 200h}", "drain.onTerminate: 720000s is out of range: write 0s to 168h, such as 1h"),
    ("drain: 1h", r#"drain: this is string "1h": write a group of keys"#),
    ("threads: 1000", "threads: 1000 is not a number of threads: write 0 to 256, such as 0"),
    (
        "capacity: {nic: {tx: 10Gbps}}",
        r#"capacity.nic.tx: "10Gbps" is not an amount: write digits and at the most one of k, M, G and T (decimal), such as 10G, 2.5G or 400k"#,
    ),
    (
        "capacity: {nic: {rx: 10000000000}}",
        "capacity.nic.rx: this is integer `10000000000`: write an amount such as 10G or 2.5G or 400k",
    ),
    ("capacity: {nic: {packets: '0'}}", r#"capacity.nic.packets: "0" is not an amount: write 1 to 1000T, such as 10G"#),
    (
        "capacity: {nic: {interface: ../lo}}",
        r#"capacity.nic.interface: "../lo" is not the name of a network interface: write a name of 1 to 15 bytes as `ip link` shows it, such as eth0"#,
    ),
    ("probe: {interval: 1s}", "probe.interval: 1s is out of range: write 2s to 1h, such as 30s, or 0s for none"),
    ("mobility: {enabled: 'no'}", r#"mobility.enabled: this is string "no": write true or false"#),
    ("1: x", ": the key 1 is not a string: remove it"),
];

#[test]
fn each_mistake_is_named_with_its_path_and_a_remedy() {
    for (text, expected) in MISTAKES {
        assert_eq!(mistakes_of(&with(text), &Overrides::default()), [expected.trim_start_matches(": ")], "{text}");
    }
}

#[test]
fn udp_shares_ports_with_tcp_and_tls_and_these_may_have_numbers_of_relayed_ports() {
    for listeners in [
        "[{protocol: UDP, address: '0.0.0.0:3478'}, {protocol: TCP, address: '0.0.0.0:3478'}]",
        "[{protocol: TLS, address: '0.0.0.0:443'}, {protocol: UDP, address: '0.0.0.0:443'}]",
        "[{protocol: TLS, address: '0.0.0.0:443'}, {protocol: TCP, address: '[::]:443'}]",
        "[{protocol: TLS, address: '0.0.0.0:50000'}]",
        "[{protocol: TLS, address: '1.2.3.4:443'}, {protocol: UDP, address: '0.0.0.0:9090'}]",
        "[{protocol: TLS, address: '1.2.3.4:443'}, {protocol: TCP, address: '1.2.3.4:9090'}]",
    ] {
        let config = good(&with(&format!(
            "listeners: {listeners}\n{}",
            if listeners.contains("TLS") { "tls: {certificate: c, key: k}" } else { "" }
        )));
        assert!(!config.listeners.is_empty());
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = mistakes_of(
        "
realm: turn.example.org
listners: []
listeners: [{protocol: TCP, address: nowhere}, {protocol: UDP, address: '0.0.0.0:3478', port: 1}]
relay: {minPort: 70000, addresses: [0.0.0.0, nonsense]}
auth: {secretFiles: [], maxTtl: 24}
threads: many
",
        &Overrides::default(),
    );
    let paths: Vec<_> = found.iter().filter_map(|m| m.split(": ").next()).collect();
    assert_eq!(
        paths,
        [
            "listners",
            "listeners[0].address",
            "listeners[1].port",
            "relay.minPort",
            "relay.addresses[1]",
            "auth.maxTtl",
            "threads",
            "relay.addresses[0]",
            "auth.secretFiles",
        ],
        "{found:#?}"
    );
}

#[test]
fn what_is_not_yaml_is_refused_with_its_line() {
    let found = mistakes_of("realm: [", &Overrides::default());
    assert!(found[0].starts_with("this is not YAML: ") && found[0].contains("line 2"), "{found:?}");
    let found = mistakes_of("realm: a\nrealm: b", &Overrides::default());
    assert!(found[0].contains("duplicate"), "{found:?}");
    assert_eq!(
        mistakes_of("just words", &Overrides::default())[0],
        "this is string \"just words\": write a group of keys"
    );
}

#[test]
fn the_command_line_wins_over_the_file() {
    let overrides = Overrides {
        machine: Some("centralindia-1".into()),
        metrics_address: Some("10.0.0.1:9090".parse().unwrap()),
        admin_address: Some("10.0.0.1:9443".parse().unwrap()),
        machine_type: Some("c5.large".into()),
    };
    let text = format!("{SMALLEST}\nrelay: {{machinesFile: m.yaml}}\nadmin: {{certificate: c, key: k, clientCa: a}}");
    let config = parse(&text, Path::new("/etc/turn"), &overrides).unwrap();
    assert_eq!(config.metrics, "10.0.0.1:9090".parse().unwrap());
    assert_eq!(config.admin.as_ref().unwrap().address, "10.0.0.1:9443".parse().unwrap());
    assert_eq!(given(&config).capacity.machine_type.as_deref(), Some("c5.large"));
    let expected = RelaySource::Machines { file: "/etc/turn/m.yaml".into(), machine: "centralindia-1".into() };
    assert_eq!(config.relay_addresses, expected);
    assert_eq!(
        mistakes_of(
            &with("relay: {machinesFile: m, addresses: [10.0.0.1]}"),
            &Overrides { admin_address: None, ..overrides.clone() }
        ),
        ["relay.addresses: stands beside relay.machinesFile, which holds the addresses: remove one of the two"]
    );
    assert_eq!(
        mistakes_of(SMALLEST, &overrides),
        [
            "admin: is missing: write admin: {certificate: …, key: …, clientCa: …}, or leave out --admin-address=10.0.0.1:9443"
        ]
    );
}

#[test]
fn a_machine_is_found_by_its_name_and_others_mistakes_do_not_matter() {
    let text = "
machines:
  centralindia-1: {addresses: [10.200.0.11, 'fd00:200::11'], publicAddresses: [203.0.113.7], machineType: c5.2xlarge}
  centralindia-2: {addresses: [nonsense]}
  southindia-1: {addresses: []}
";
    assert_eq!(
        machines::find(text, "centralindia-1"),
        Ok(Found::Machine(Machine {
            relays: relays(&[("10.200.0.11", "203.0.113.7"), ("fd00:200::11", "fd00:200::11")]),
            machine_type: Some("c5.2xlarge".into()),
        }))
    );
    assert_eq!(machines::find(text, "southindia-1"), Ok(Found::NotYet));
    assert_eq!(machines::find(text, "southindia-2"), Ok(Found::NotYet));
    assert_eq!(machines::find("", "southindia-2"), Ok(Found::NotYet));
    let mistakes = machines::find(text, "centralindia-2").unwrap_err();
    let found: Vec<_> = mistakes.all().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            r#"machines.centralindia-2.addresses[0]: "nonsense" is not an IP address: write 203.0.113.7 or "2001:db8::7""#
        ]
    );
}

#[test]
fn ports_that_others_pick_from_are_warned_about() {
    let ports = |first, last| PortRange::parse(first, last).unwrap();
    let settings = |reserved: &str| PortSettings { local_range: "32768\t60999\n".into(), reserved: reserved.into() };
    for (case, range, reserved, expected) in [
        ("clear of both", ports(61000, 65535), "", vec![]),
        ("inside the ephemeral ports", ports(49152, 65535), "\n", vec!["49152-60999"]),
        ("reserved", ports(49152, 65535), "8080,49152-65535", vec![]),
        ("reserved in part", ports(49152, 65535), "49152-60000", vec!["60001-60999"]),
        ("NodePorts", ports(20000, 32767), "", vec!["30000-32767"]),
        ("both", ports(20000, 40000), "", vec!["32768-40000", "30000-32767"]),
    ] {
        let warnings = of_ports(range, &settings(reserved));
        assert_eq!(warnings.len(), expected.len(), "{case}: {warnings:?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.contains(&format!("relayed ports {part} ")), "{case}: {warning}");
        }
    }
}

#[test]
fn the_schema_describes_every_key_and_refuses_others() {
    let schema = serde_json::to_value(json_schema()).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["realm", "listeners", "auth"]));
    let root = &schema["properties"];
    let groups = schema["$defs"].as_object().expect("groups of keys").values().map(|group| &group["properties"]);
    let undocumented: Vec<_> = groups
        .chain([root, &root["auth"]["properties"]])
        .flat_map(|properties| properties.as_object().expect("a group has properties"))
        // A group carries its description where it is defined.
        .filter(|(_, property)| property.get("description").is_none() && property.get("anyOf").is_none())
        .collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
}

const LIMITS: &str = "
relay: {allowPeers: [10.20.0.0/16], denyPeers: [198.51.100.0/24]}
auth: {maxTtl: 1h}
quotas: {allocationsPerUser: 5, allocations: 500, bandwidthPerAllocation: 4M, bandwidth: 2G}
limits: {unauthenticatedPerPrefix: 7}
capacity: {nic: {tx: 10G}}
";

#[test]
fn a_limits_file_says_the_same_as_the_keys_that_it_stands_for() {
    let followed = adjustable::parse(LIMITS, &Overrides::default()).unwrap();
    let inline =
        format!("{}{}", SMALLEST.replace("auth: {", "auth: {maxTtl: 1h, "), LIMITS.replace("auth: {maxTtl: 1h}", ""));
    assert_eq!(followed, *given(&good(&inline)));
    let nothing = adjustable::parse("{}", &Overrides::default()).unwrap();
    assert_eq!(nothing, *given(&good(SMALLEST)), "the same defaults");
    assert_eq!(nothing, Adjustable::default());
    let typed = Overrides { machine_type: Some("c5.large".into()), ..Overrides::default() };
    let capacity = adjustable::parse("capacity: {machineType: other}", &typed).unwrap().capacity;
    assert_eq!(capacity.machine_type.as_deref(), Some("c5.large"), "the command line wins");
}

#[test]
fn what_needs_a_restart_is_refused_in_a_limits_file_and_every_mistake_is_named() {
    let text = "realm: a\nrelay: {minPort: 5000, denyPeers: [a]}\nauth: {secretFiles: [a]}\nquotas: {allocations: 0}";
    let mistakes = adjustable::parse(text, &Overrides::default()).unwrap_err();
    let paths: Vec<_> = mistakes.all().iter().map(|mistake| mistake.path.as_str()).collect();
    for path in ["realm", "relay.minPort", "relay.denyPeers[0]", "auth.secretFiles", "quotas.allocations"] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
}

#[test]
fn each_limit_is_written_in_one_of_the_two_files() {
    let config = good(&format!("{SMALLEST}limitsFile: limits.yaml"));
    assert_eq!(config.limits, LimitsSource::File("/etc/turn/limits.yaml".into()), "relative to the file");
    let both = format!(
        "{}limitsFile: limits.yaml{}",
        SMALLEST.replace("auth: {", "auth: {maxTtl: 1h, "),
        LIMITS.replace("auth: {maxTtl: 1h}", "")
    );
    let beside = "stands beside limitsFile: write it into that file, or leave limitsFile out";
    let keys = ["relay.allowPeers", "relay.denyPeers", "auth.maxTtl", "quotas", "limits", "capacity"];
    assert_eq!(mistakes_of(&both, &Overrides::default()), keys.map(|key| format!("{key}: {beside}")));
}

/// FIPS 180-2, appendix B.1. The operator's test has the same: by this it knows what a node runs.
#[test]
fn a_hash_is_the_sha_256_of_the_bytes_in_lower_case() {
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(ConfigHash::of("abc").to_string(), expected);
}
