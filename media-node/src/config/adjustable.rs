//! What may be changed while the node runs: whom it relays to, how much each may use, what the machine can carry. It is
//! written in the node's own file, which is read once, or in a file of its own (`limitsFile`), which is followed.

use std::time::Duration;

use ipnet::IpNet;

use super::{
    Capacity, Mistakes, Overrides,
    capacity::{self, Amount},
    check::{HOUR, MINUTE, items, within},
    raw::{RawAdjustable, RawCapacity, RawLimits, RawQuotas},
    values::{As, List},
    yaml,
};
use crate::turn::proto::{Limits, PeerPolicy, Quotas, Terms};

const MAX_CIDRS: usize = 1000;
const DEFAULT_MAX_TTL: Duration = Duration::from_hours(24);

/// What may be changed while the node runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adjustable {
    pub terms: Terms,
    pub capacity: Capacity,
}

/// The same as it is written, in either file.
#[derive(Debug, Default)]
pub struct Written {
    pub allow_peers: Option<List<As<IpNet>>>,
    pub deny_peers: Option<List<As<IpNet>>>,
    pub max_ttl: Option<As<Duration>>,
    pub quotas: Option<RawQuotas>,
    pub limits: Option<RawLimits>,
    pub capacity: Option<RawCapacity>,
}

/// Checks the text of a limits file.
pub fn parse(text: &str, overrides: &Overrides) -> Result<Adjustable, Mistakes> {
    let (RawAdjustable { relay, auth, quotas, limits, capacity }, mut mistakes) = yaml::read::<RawAdjustable>(text);
    let peers = relay.unwrap_or_default();
    let written = Written {
        allow_peers: peers.allow_peers,
        deny_peers: peers.deny_peers,
        max_ttl: auth.unwrap_or_default().max_ttl,
        quotas,
        limits,
        capacity,
    };
    let adjustable = of(written, overrides, &mut mistakes);
    if mistakes.is_empty() { Ok(adjustable) } else { Err(mistakes) }
}

pub fn of(written: Written, overrides: &Overrides, m: &mut Mistakes) -> Adjustable {
    let Written { allow_peers, deny_peers, max_ttl, quotas, limits, capacity } = written;
    let allow = cidrs_of("relay.allowPeers", allow_peers, m);
    let deny = cidrs_of("relay.denyPeers", deny_peers, m);
    let max_credential_ttl = max_ttl
        .and_then(|As(ttl)| within("auth.maxTtl", ttl, MINUTE, 8760 * HOUR, "1m to 8760h, such as 24h", m))
        .unwrap_or(DEFAULT_MAX_TTL);
    let terms = Terms {
        peers: PeerPolicy::new(allow, deny),
        max_credential_ttl,
        quotas: quotas_of(quotas, m),
        limits: limits_of(limits),
    };
    Adjustable { terms, capacity: capacity::of(capacity, overrides, m) }
}

/// Each thing is written in one place.
pub fn refuse_beside_file(written: &Written, m: &mut Mistakes) {
    let Written { allow_peers, deny_peers, max_ttl, quotas, limits, capacity } = written;
    for (path, is_written) in [
        ("relay.allowPeers", allow_peers.is_some()),
        ("relay.denyPeers", deny_peers.is_some()),
        ("auth.maxTtl", max_ttl.is_some()),
        ("quotas", quotas.is_some()),
        ("limits", limits.is_some()),
        ("capacity", capacity.is_some()),
    ] {
        if is_written {
            m.add(path, "stands beside limitsFile: write it into that file, or leave limitsFile out");
        }
    }
}

fn cidrs_of(path: &str, list: Option<List<As<IpNet>>>, m: &mut Mistakes) -> Vec<IpNet> {
    items(path, list, MAX_CIDRS, m).into_iter().map(|(_, As(net))| net).collect()
}

fn quotas_of(quotas: Option<RawQuotas>, m: &mut Mistakes) -> Quotas {
    let RawQuotas { allocations_per_user, allocations, bandwidth_per_allocation, bandwidth } =
        quotas.unwrap_or_default();
    let default = Quotas::default();
    let total = allocations.map_or(default.total, |n| n.0);
    let per_user = allocations_per_user.map_or(default.per_user.min(total), |n| n.0);
    if per_user > total {
        m.add(
            "quotas.allocationsPerUser",
            format!("{per_user} is above quotas.allocations {total}: write that number or less"),
        );
    }
    let amount = |written: Option<As<Amount>>| written.map(|As(Amount(amount))| amount);
    let (one, all) = (amount(bandwidth_per_allocation), amount(bandwidth));
    if let (Some(one), Some(all)) = (one, all)
        && one > all
    {
        m.add(
            "quotas.bandwidthPerAllocation",
            format!("{one} bits a second are above quotas.bandwidth, {all}: write that or less"),
        );
    }
    Quotas { per_user, total, bandwidth_per_allocation: one, bandwidth: all }
}

fn limits_of(limits: Option<RawLimits>) -> Limits {
    let RawLimits { unauthenticated_per_prefix } = limits.unwrap_or_default();
    let default = Limits::default();
    let unauthenticated_per_prefix = unauthenticated_per_prefix.map_or(default.unauthenticated_per_prefix, |n| n.0);
    Limits { unauthenticated_per_prefix, ..default }
}
