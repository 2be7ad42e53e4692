//! From what is written to what is meant. Pure.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use rtcfleet_node_api::{MAX_TARGETS, Transport};

use super::{
    AuthBook, FORBIDDEN_PEERS, ProbeConfig, Settings,
    raw::{Addresses, RawAuth, RawEcho, RawProbe, RawRegion, RawSecurity, RawTarget},
};
use crate::{
    config::{
        Auth, Mistakes, Overrides, Protocol,
        check::{DEFAULT_METRICS, admin_of, items, missing, within},
        values::{As, List, Written},
    },
    probe::{
        credentials::Source,
        session::Echo,
        target::{Endpoint, Target},
    },
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

const DEFAULT_INTERVAL: Duration = SECOND;
const LONGEST_DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_SECURITY: Duration = Duration::from_secs(30);
const DEFAULT_PACKETS: u32 = 4;
/// One for each target that there can be: dead targets take the longest, and must not hold up the others.
const DEFAULT_CONCURRENCY: u32 = 2000;
pub const DEFAULT_TTL: Duration = Duration::from_hours(6);
const MAX_REGIONS: usize = 256;
const MAX_SPOTS: usize = 16;
const MAX_PEERS: usize = 16;

impl Written for Echo {
    const NAME: &'static str = "an echo peer";
    const EXAMPLES: &'static [&'static str] = &["relay", "here", "203.0.113.9:7"];
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        match text {
            "relay" => Ok(Self::Relay),
            "here" => Ok(Self::Here),
            _ => Written::parse(text).map(Self::At).map_err(|_| Self::EXAMPLES.join(" or ").into()),
        }
    }
}

/// Everything is looked at before anything is refused.
pub fn check(
    raw: RawProbe,
    mut mistakes: Mistakes,
    base: &Path,
    addresses: Addresses,
    hash: String,
) -> Result<ProbeConfig, Mistakes> {
    let m = &mut mistakes;
    let RawProbe {
        targets,
        interval,
        timeout,
        auth,
        regions,
        echo,
        security,
        canary,
        ca_file,
        concurrency,
        admin,
        metrics,
    } = raw;
    let settings = settings_of(interval, timeout, echo, security, m);
    let auth = AuthBook {
        default: auth.and_then(|auth| source_of("auth", auth, base, m)),
        regions: regions_of(regions, base, m),
    };
    let targets = targets_of(targets, &auth, m);
    let canary = items("canary", canary, MAX_SPOTS, m).into_iter().map(|(_, As(spot))| spot).collect();
    let overrides = Overrides { admin_address: addresses.admin, ..Overrides::default() };
    let admin = admin_of(admin, base, &overrides, m);
    let metrics = addresses.metrics.or(metrics.and_then(|m| m.address).map(|a| a.0)).unwrap_or(DEFAULT_METRICS);
    if admin.as_ref().is_some_and(|admin| admin.address == metrics) {
        m.add("admin.address", format!("{metrics} is metrics.address as well: write another port"));
    }
    let config = ProbeConfig {
        targets,
        settings,
        auth,
        canary,
        ca_file: ca_file.map(|file| base.join(file)),
        concurrency: concurrency.map_or(DEFAULT_CONCURRENCY, |n| n.0) as usize,
        admin,
        metrics,
        hash,
    };
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
}

/// As long as the interval, so that no probe is left out; but a probe of a distant server may not take forever.
pub fn default_timeout(interval: Duration) -> Duration {
    interval.min(LONGEST_DEFAULT_TIMEOUT)
}

fn settings_of(
    interval: Option<As<Duration>>,
    timeout: Option<As<Duration>>,
    echo: Option<RawEcho>,
    security: Option<RawSecurity>,
    m: &mut Mistakes,
) -> Settings {
    let interval = interval
        .and_then(|As(interval)| within("interval", interval, 250 * MS, HOUR, "250ms to 1h, such as 1s", m))
        .unwrap_or(DEFAULT_INTERVAL);
    let timeout = timeout
        .and_then(|As(timeout)| within("timeout", timeout, 100 * MS, 30 * SECOND, "100ms to 30s, such as 1s", m))
        .unwrap_or_else(|| default_timeout(interval));
    if timeout > interval && !m.mention("interval") {
        m.add("timeout", format!("{timeout:?} is above the interval, {interval:?}: write that or less"));
    }
    let RawEcho { peer, packets } = echo.unwrap_or_default();
    let RawSecurity { interval: security, forbidden_peers } = security.unwrap_or_default();
    let security_interval = match security {
        None => Some(DEFAULT_SECURITY),
        Some(As(Duration::ZERO)) => None,
        Some(As(every)) => within("security.interval", every, SECOND, HOUR, "1s to 1h, or 0s for never", m),
    };
    let forbidden_peers = forbidden_peers.map_or(FORBIDDEN_PEERS.to_vec(), |peers| {
        let peers = items("security.forbiddenPeers", Some(peers), MAX_PEERS, m);
        peers.into_iter().map(|(_, As(peer))| peer).collect()
    });
    Settings {
        interval,
        timeout,
        echo: peer.map_or(Echo::Relay, |As(peer)| peer),
        packets: u16::try_from(packets.map_or(DEFAULT_PACKETS, |n| n.0)).unwrap_or(u16::MAX),
        security_interval,
        forbidden_peers,
    }
}

fn regions_of(
    regions: Option<BTreeMap<String, Option<RawRegion>>>,
    base: &Path,
    m: &mut Mistakes,
) -> BTreeMap<String, Source> {
    let regions = regions.unwrap_or_default();
    if regions.len() > MAX_REGIONS {
        m.add("regions", format!("has {} entries: write {MAX_REGIONS} at the most", regions.len()));
    }
    let source = |(name, region): (String, Option<RawRegion>)| {
        let path = format!("regions.{name}.auth");
        let Some(auth) = region.and_then(|region| region.auth) else {
            missing(&path, "{secretFiles: [secrets/current]}, or remove the region", m);
            return None;
        };
        Some((name, source_of(&path, auth, base, m)?))
    };
    regions.into_iter().take(MAX_REGIONS).filter_map(source).collect()
}

fn source_of(path: &str, auth: RawAuth, base: &Path, m: &mut Mistakes) -> Option<Source> {
    let RawAuth { secret_files, ttl, username, password_file } = auth;
    match (secret_files, username, password_file) {
        (Some(files), None, None) => secret_of(path, files, ttl, base, m),
        (None, Some(username), Some(file)) if !username.is_empty() => {
            Some(Source::Password { username, file: base.join(file) })
        }
        _ => {
            if !m.mention(path) {
                m.add(path, "needs either secretFiles, or username and passwordFile: write {secretFiles: [secret]}");
            }
            None
        }
    }
}

fn secret_of(
    path: &str,
    files: List<std::path::PathBuf>,
    ttl: Option<As<Duration>>,
    base: &Path,
    m: &mut Mistakes,
) -> Option<Source> {
    let at = format!("{path}.ttl");
    let ttl = match ttl {
        None => DEFAULT_TTL,
        Some(As(ttl)) => within(&at, ttl, 60 * SECOND, DAY, "1m to 24h, such as 6h", m)?,
    };
    let at = format!("{path}.secretFiles");
    if files.0.is_empty() {
        m.add(&at, "is empty: write the files that hold the current secret and, during a rotation, the previous one");
    }
    let mut files = items(&at, Some(files), 2, m).into_iter().map(|(_, file)| base.join(file));
    let auth = Auth { current: files.next()?, previous: files.next() };
    Some(Source::Secret { auth, ttl })
}

fn targets_of(list: Option<List<RawTarget>>, auth: &AuthBook, m: &mut Mistakes) -> Vec<Target> {
    if list.is_none() {
        missing("targets", "a list such as [{name: a, uri: \"turn:203.0.113.7:3478?transport=udp\"}], or []", m);
    }
    let (mut targets, mut keys) = (Vec::new(), BTreeSet::new());
    for (index, raw) in items("targets", list, MAX_TARGETS, m) {
        let path = format!("targets[{index}]");
        let Some(target) = target_of(&path, raw, m) else { continue };
        if !keys.insert(target.key()) {
            m.add(
                format!("{path}.name"),
                format!("{} is the name of another target of this transport: write another", target.name),
            );
        }
        if auth.find(&target).is_none() && !m.mention("auth") && !m.mention("regions") {
            m.add(&path, "has no credentials: write auth, or auth of its region into regions");
        }
        targets.push(target);
    }
    targets
}

fn target_of(path: &str, raw: RawTarget, m: &mut Mistakes) -> Option<Target> {
    let RawTarget { name, uri, address, transport, server_name, region } = raw;
    if name.is_none() {
        missing(&format!("{path}.name"), "a name, such as centralindia-0", m);
    }
    let endpoint = match (uri, address, transport) {
        (Some(As(endpoint)), None, None) => endpoint,
        (None, Some(As(place)), Some(As(protocol))) => Endpoint { place, transport: transport_of(protocol) },
        _ => {
            if ["uri", "address", "transport"].iter().all(|key| !m.mention(&format!("{path}.{key}"))) {
                m.add(path, "needs either uri, or address and transport: write uri: \"turn:203.0.113.7:3478\"");
            }
            return None;
        }
    };
    let target = Target {
        name: name?.0.0,
        region: region.map(|As(region)| region.0),
        endpoint,
        server_name: server_name.map(|As(name)| name.0),
    };
    if target.endpoint.transport == Transport::Tls && target.certified_name().is_none() {
        m.add(path, format!("no certificate can be for {}: write serverName", target.endpoint.place.host));
    }
    Some(target)
}

fn transport_of(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Udp => Transport::Udp,
        Protocol::Tcp => Transport::Tcp,
        Protocol::Tls => Transport::Tls,
    }
}
