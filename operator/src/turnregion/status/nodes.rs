//! What nodes say of themselves → conditions that somebody has to look at. Pure. None of them makes `Ready` false: the
//! nodes serve.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rtcfleet_crds::condition::{
    CAPACITY_UNKNOWN, CERTIFICATE_EXPIRING, LIMITS_PENDING, PEER_RULES_VIOLATED, Status, Wanted,
};
use rtcfleet_node_api::{CapacitySource, Certificate, Limits, NodeState, NodeStatus};

use crate::fleet::slot::{NodeReport, Slot};
use crate::turnregion::secrets::TlsSecret;

/// A certificate with less left should have been renewed: cert-manager does it at a third of the life, 30 days of 90.
const ENDS_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Slots and addresses that a message names; the rest is counted.
const NAMED: usize = 8;

/// Slots whose nodes answered.
pub fn answered<'a>(slots: &[&'a Slot]) -> Vec<(u32, &'a NodeStatus)> {
    let says = |slot: &&'a Slot| match &slot.node {
        NodeReport::Says(status) => Some((slot.index, status.as_ref())),
        NodeReport::Silent { .. } | NodeReport::Absent => None,
    };
    slots.iter().filter_map(says).collect()
}

/// The certificate of TLS listeners: what nodes show, and what `secret` (its name, what is in it) holds for those to come.
pub fn certificate_expiring(
    nodes: &[(u32, &NodeStatus)],
    (name, secret): (&str, &TlsSecret),
    now: Timestamp,
) -> Option<Wanted> {
    let shown: Vec<(u32, &Certificate)> =
        nodes.iter().filter_map(|(slot, status)| Some((*slot, status.certificate.as_ref()?))).collect();
    let held = match secret {
        TlsSecret::Ends(end) => Some(*end),
        TlsSecret::Missing | TlsSecret::Lacks(_) | TlsSecret::Unreadable { .. } => None,
    };
    let is_due = |end: Timestamp| end.duration_since(now) < ENDS_SOON;
    let told = |reason, message| Wanted { kind: CERTIFICATE_EXPIRING, status: Status::True, reason, message };

    if let Some((_, Certificate { not_after, problem: Some(problem) })) =
        shown.iter().find(|(_, one)| one.problem.is_some())
    {
        let slots = slots_that(&shown, |one| one.problem.is_some());
        return Some(told(
            "NodesBehind",
            format!(
                "what Secret {name} holds now cannot be used on {slots} ({problem}), where the certificate read before goes on until {not_after}: write a certificate and the key that belongs to it"
            ),
        ));
    }
    let first = shown.iter().map(|(_, one)| one.not_after).min();
    let end = first.into_iter().chain(held).min().filter(|end| is_due(*end))?;
    if let Some(renewed) = held.filter(|held| !is_due(*held)) {
        let slots = slots_that(&shown, |one| is_due(one.not_after));
        return Some(told(
            "NodesBehind",
            format!(
                "Secret {name} holds a certificate until {renewed}, but the one shown on {slots} ends at {end}: the kubelet brings the new one within two minutes; if it does not, read the logs of these nodes"
            ),
        ));
    }
    let (reason, ends) = if end <= now { ("Expired", "ended") } else { ("ExpiresSoon", "ends") };
    let message = format!(
        "the certificate of Secret {name} {ends} at {end}: renew it in the Secret; nodes take the new one up without a restart"
    );
    Some(told(reason, message))
}

/// Relays that serve by other limits than those of `wanted` (a hash). One that does not say by which is of an older release,
/// and is exchanged anyway.
pub fn limits_pending(nodes: &[(u32, &NodeStatus)], wanted: &str) -> Option<Wanted> {
    let serves = |status: &NodeStatus| matches!(status.state, NodeState::Active | NodeState::Draining);
    let serving = nodes.iter().filter(|(_, status)| serves(status));
    let behind: Vec<(u32, &Limits)> = serving
        .filter_map(|(slot, status)| Some((*slot, status.limits.as_ref()?)))
        .filter(|(_, limits)| limits.hash != wanted)
        .collect();
    let told = |reason, message| Wanted { kind: LIMITS_PENDING, status: Status::True, reason, message };
    if let Some(problem) = behind.iter().find_map(|(_, limits)| limits.problem.as_ref()) {
        let slots = slots_that(&behind, |limits| limits.problem.is_some());
        return Some(told(
            "Refused",
            format!(
                "quotas, peers and capacity as they are written are refused on {slots}, where those before go on: write others, or give these relays an image of this release ({problem})"
            ),
        ));
    }
    (!behind.is_empty()).then(|| {
        let slots = slots_that(&behind, |_| true);
        told(
            "NodesBehind",
            format!(
                "{slots} serve by quotas, peers and capacity of before: the kubelet brings the new ones within two minutes, and no relay restarts; if it does not, read the logs of these nodes and the Events of their machines"
            ),
        )
    })
}

/// Relays that grant what they must refuse are a way into the machines and networks around them.
pub fn peer_rules_violated(nodes: &[(u32, &NodeStatus)]) -> Option<Wanted> {
    let granted = |status: &NodeStatus| status.peer_rules.as_ref().map_or(Vec::new(), |rules| rules.granted.clone());
    let mut addresses: Vec<IpAddr> = nodes.iter().flat_map(|(_, status)| granted(status)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let slots = slots_that(nodes, |status| !granted(status).is_empty());
    (!addresses.is_empty()).then(|| Wanted {
        kind: PEER_RULES_VIOLATED,
        status: Status::True,
        reason: "PeersGranted",
        message: format!(
            "relays reach what they must not: {slots} granted {}: take networks out of spec.relay.allowPeers or write spec.relay.denyPeers; if neither opens them, it is a bug: close the region to the outside and report it",
            some_of(&addresses)
        ),
    })
}

/// Load in percent of a guess is a guess.
pub fn capacity_unknown(nodes: &[(u32, &NodeStatus)]) -> Option<Wanted> {
    let unknown = |status: &NodeStatus| {
        let nic = status.load.as_ref().and_then(|load| load.nic.as_ref());
        nic.is_some_and(|nic| nic.capacity.source == CapacitySource::Unknown)
    };
    nodes.iter().any(|(_, status)| unknown(status)).then(|| Wanted {
        kind: CAPACITY_UNKNOWN,
        status: Status::True,
        reason: "NicUnknown",
        message: format!(
            "what the network interface can carry is not known on {}, and a cautious guess is used: write spec.capacity.nic, such as {{tx: 10G, rx: 10G}}",
            slots_that(nodes, |status| unknown(status))
        ),
    })
}

/// `slots 0, 3`: those of which `is` holds, by number.
fn slots_that<T: ?Sized>(all: &[(u32, &T)], is: impl Fn(&T) -> bool) -> String {
    let mut slots: Vec<u32> = all.iter().filter(|(_, one)| is(one)).map(|(slot, _)| *slot).collect();
    slots.sort_unstable();
    format!("{} {}", if slots.len() == 1 { "slot" } else { "slots" }, some_of(&slots))
}

/// The first few, and how many more there are.
fn some_of(all: &[impl ToString]) -> String {
    let named: Vec<String> = all.iter().take(NAMED).map(ToString::to_string).collect();
    match all.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests;
