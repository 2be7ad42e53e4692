//! From what is written to what is meant: presence, defaults, and rules between fields. Pure.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Admin, Auth, ConfigHash, LimitsSource, Mistakes, Overrides, RelaySource, Threads, TurnConfig,
    adjustable::{self, Written},
    listeners,
    raw::{RawAdmin, RawAuth, RawProbe, RawRelay, RawTurn},
    values::{As, List, Whole},
};
use crate::turn::proto::{PortRange, Realm, RelayAddress, RelayAddresses};

const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_mins(1);
pub const HOUR: Duration = Duration::from_hours(1);

pub const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9443);
const DEFAULT_ON_TERMINATE: Duration = Duration::from_secs(30);
const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// Everything is looked at before anything is refused.
pub fn check(
    raw: RawTurn,
    mut mistakes: Mistakes,
    base: &Path,
    overrides: &Overrides,
    hash: ConfigHash,
) -> Result<TurnConfig, Mistakes> {
    let m = &mut mistakes;
    let RawTurn {
        realm,
        listeners,
        tls,
        limits_file,
        relay,
        mut auth,
        quotas,
        limits,
        admin,
        metrics,
        drain,
        threads,
        capacity,
        probe,
        mobility,
    } = raw;
    let mut relay = relay.unwrap_or_default();
    let written = Written {
        allow_peers: relay.allow_peers.take(),
        deny_peers: relay.deny_peers.take(),
        max_ttl: auth.as_mut().and_then(|auth| auth.max_ttl.take()),
        quotas,
        limits,
        capacity,
    };

    let realm = realm_of(realm, m);
    let listeners = listeners::of(listeners, m);
    let tls = listeners::tls(tls, &listeners, base, m);
    let relay_ports = ports_of(&relay, m);
    let relay_addresses = relay_addresses_of(relay, base, overrides, m);
    let auth = auth_of(auth, base, m);
    let limits = limits_source_of(written, limits_file, base, overrides, m);
    let admin = admin_of(admin, base, overrides, m);
    let metrics = overrides.metrics_address.or(metrics.and_then(|m| m.address).map(|a| a.0)).unwrap_or(DEFAULT_METRICS);
    let on_terminate = drain
        .and_then(|drain| drain.on_terminate)
        .and_then(|t| within("drain.onTerminate", t.0, Duration::ZERO, 168 * HOUR, "0s to 168h, such as 1h", m))
        .unwrap_or(DEFAULT_ON_TERMINATE);
    let threads =
        threads.and_then(|count| NonZeroUsize::new(count.0 as usize)).map_or(Threads::OneACore, Threads::Exactly);
    let probe_interval = probe_interval_of(probe, m);
    if let Some(ports) = relay_ports {
        listeners::overlaps(ports, &listeners, admin.as_ref(), metrics, m);
    }
    listeners::clashes(&listeners, admin.as_ref(), metrics, m);
    if admin.as_ref().is_some_and(|admin| admin.address == metrics) {
        m.add("admin.address", format!("{metrics} is metrics.address as well: write another port"));
    }

    match (realm, relay_ports, relay_addresses, auth, mistakes.is_empty()) {
        (Some(realm), Some(relay_ports), Some(relay_addresses), Some(auth), true) => Ok(TurnConfig {
            realm,
            listeners: listeners.into_iter().map(|(_, listener)| listener).collect(),
            tls,
            relay_addresses,
            relay_ports,
            auth,
            limits,
            admin,
            metrics,
            on_terminate,
            threads,
            probe_interval,
            mobility: mobility.and_then(|mobility| mobility.enabled).unwrap_or(true),
            hash,
        }),
        _ => Err(mistakes),
    }
}

/// Notes that `path` is missing, unless a mistake there is the reason.
pub fn missing(path: &str, instead: &str, m: &mut Mistakes) {
    if !m.mention(path) {
        m.add(path, format!("is missing: write {instead}"));
    }
}

/// The items of a list that could be read, with their numbers; empty ones are mistakes.
pub fn items<T>(path: &str, list: Option<List<T>>, max: usize, m: &mut Mistakes) -> Vec<(usize, T)> {
    let list = list.map(|list| list.0).unwrap_or_default();
    if list.len() > max {
        m.add(path, format!("has {} entries: write {max} at the most", list.len()));
    }
    let mut found = Vec::new();
    for (index, item) in list.into_iter().enumerate().take(max) {
        let path = format!("{path}[{index}]");
        match item {
            Some(item) => found.push((index, item)),
            None if m.mention(&path) => {}
            None => m.add(path, "is empty: remove it, or write a value"),
        }
    }
    found
}

/// `value`, if it is in the range that `instead` tells of; else a mistake.
pub fn within(
    path: &str,
    value: Duration,
    min: Duration,
    max: Duration,
    instead: &str,
    m: &mut Mistakes,
) -> Option<Duration> {
    if (min..=max).contains(&value) {
        return Some(value);
    }
    m.add(path, format!("{value:?} is out of range: write {instead}"));
    None
}

fn realm_of(realm: Option<As<Realm>>, m: &mut Mistakes) -> Option<Realm> {
    if realm.is_none() {
        missing("realm", "the DNS name of the service, such as turn.example.org", m);
    }
    realm.map(|realm| realm.0)
}

fn ports_of(relay: &RawRelay, m: &mut Mistakes) -> Option<PortRange> {
    let port = |written: Option<Whole<_>>, default| match written {
        None => Some(default),
        Some(port) => u16::try_from(port.0).ok(),
    };
    let (first, last) = (port(relay.min_port, 49152)?, port(relay.max_port, 65535)?);
    let range = PortRange::parse(first, last).ok();
    if range.is_none() && !m.mention("relay.minPort") && !m.mention("relay.maxPort") {
        m.add(
            "relay.minPort",
            format!("{first} is above relay.maxPort {last}: write minPort <= maxPort, such as 49152 and 65535"),
        );
    }
    range
}

fn relay_addresses_of(relay: RawRelay, base: &Path, overrides: &Overrides, m: &mut Mistakes) -> Option<RelaySource> {
    let RawRelay { addresses, public_addresses, machines_file, .. } = relay;
    let Some(file) = machines_file else {
        if addresses.is_none() && public_addresses.is_none() && !m.mention("relay.addresses") {
            return Some(RelaySource::Detect);
        }
        let found = relay_pairs("relay", addresses, public_addresses, m);
        if found.is_none() && !m.mention("relay.addresses") && !m.mention("relay.publicAddresses") {
            m.add("relay.addresses", "is empty: write an address of this machine, or leave the key out");
        }
        return found.map(RelaySource::Given);
    };
    for (path, written) in
        [("relay.addresses", addresses.is_some()), ("relay.publicAddresses", public_addresses.is_some())]
    {
        if written {
            m.add(path, "stands beside relay.machinesFile, which holds the addresses: remove one of the two");
        }
    }
    match &overrides.machine {
        Some(machine) if !machine.is_empty() => {
            Some(RelaySource::Machines { file: base.join(file), machine: machine.clone() })
        }
        _ => {
            m.add("relay.machinesFile", "needs this machine's name: pass --machine NAME or set NODE_NAME");
            None
        }
    }
}

/// Addresses with what clients are told for each; `None` if there is none or there was a mistake.
pub fn relay_pairs(
    path: &str,
    addresses: Option<List<As<IpAddr>>>,
    public: Option<List<As<IpAddr>>>,
    m: &mut Mistakes,
) -> Option<RelayAddresses> {
    let addresses = one_a_family(&format!("{path}.addresses"), addresses, m);
    let path = format!("{path}.publicAddresses");
    let public = one_a_family(&path, public, m);
    let (addresses, public) = (addresses?, public?);
    if let Some(told) = public.iter().find(|told| !addresses.iter().any(|local| local.is_ipv4() == told.is_ipv4())) {
        let family = if told.is_ipv4() { "IPv4" } else { "IPv6" };
        m.add(path, format!("{told} stands for no address: write this machine's {family} address in addresses too"));
        return None;
    }
    let told = |local: IpAddr| public.iter().copied().find(|p| p.is_ipv4() == local.is_ipv4()).unwrap_or(local);
    let pairs: Vec<_> = addresses.into_iter().map(|local| RelayAddress { local, public: told(local) }).collect();
    RelayAddresses::new(&pairs).ok()
}

fn one_a_family(path: &str, list: Option<List<As<IpAddr>>>, m: &mut Mistakes) -> Option<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = Vec::new();
    for (index, As(address)) in items(path, list, 8, m) {
        let what = if address.is_unspecified() {
            // Clients are told this very address, and replies have to leave from it.
            Some(format!("{address} stands for every address: write the one that packets arrive at"))
        } else if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            Some(format!("{address} is not the address of one machine: write one that is"))
        } else if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            Some(format!("{address} means something else on every link: write a global or a unique local address"))
        } else {
            found.iter().find(|other| other.is_ipv4() == address.is_ipv4()).map(|other| {
                format!("{address} is the second of its family after {other}: write one IPv4 and one IPv6 at the most")
            })
        };
        match what {
            Some(what) => m.add(format!("{path}[{index}]"), what),
            None => found.push(address),
        }
    }
    (!m.mention(path)).then_some(found)
}

fn limits_source_of(
    written: Written,
    file: Option<PathBuf>,
    base: &Path,
    overrides: &Overrides,
    m: &mut Mistakes,
) -> LimitsSource {
    match file {
        None => LimitsSource::Given(adjustable::of(written, overrides, m)),
        Some(file) => {
            adjustable::refuse_beside_file(&written, m);
            LimitsSource::File(base.join(file))
        }
    }
}

fn auth_of(auth: Option<RawAuth>, base: &Path, m: &mut Mistakes) -> Option<Auth> {
    let Some(RawAuth { secret_files, max_ttl: _ }) = auth else {
        missing("auth", "auth: {secretFiles: [secrets/current]}", m);
        return None;
    };
    let path = "auth.secretFiles";
    let instead = "the files that hold the current secret and, during a rotation, the previous one";
    match &secret_files {
        None => missing(path, instead, m),
        Some(list) if list.0.is_empty() => m.add(path, format!("is empty: write {instead}")),
        Some(_) => {}
    }
    let mut files = items(path, secret_files, 2, m).into_iter().map(|(_, file)| base.join(file));
    Some(Auth { current: files.next()?, previous: files.next() })
}

fn probe_interval_of(probe: Option<RawProbe>, m: &mut Mistakes) -> Option<Duration> {
    match probe.and_then(|probe| probe.interval) {
        None => Some(DEFAULT_PROBE_INTERVAL),
        Some(As(Duration::ZERO)) => None,
        // A round may take nearly two seconds.
        Some(As(interval)) => {
            within("probe.interval", interval, 2 * SECOND, HOUR, "2s to 1h, such as 30s, or 0s for none", m)
        }
    }
}

pub fn admin_of(admin: Option<RawAdmin>, base: &Path, overrides: &Overrides, m: &mut Mistakes) -> Option<Admin> {
    let Some(RawAdmin { address, certificate, key, client_ca }) = admin else {
        if let Some(address) = overrides.admin_address {
            missing(
                "admin",
                &format!("admin: {{certificate: …, key: …, clientCa: …}}, or leave out --admin-address={address}"),
                m,
            );
        }
        return None;
    };
    let address = overrides.admin_address.or(address.map(|a| a.0)).unwrap_or(DEFAULT_ADMIN);
    let mut file = |name: &str, path: Option<PathBuf>, holds: &str| {
        if path.is_none() {
            missing(&format!("admin.{name}"), &format!("the PEM file with {holds}"), m);
        }
        path.map(|path| base.join(path))
    };
    let certificate = file("certificate", certificate, "the server's certificate");
    let key = file("key", key, "the certificate's private key");
    let client_ca = file("clientCa", client_ca, "the authorities whose client certificates are accepted");
    Some(Admin { address, certificate: certificate?, key: key?, client_ca: client_ca? })
}
