//! What a profile is, and the parts that regions have of the callers → what is to be changed, in order. Pure.
//!
//! Touches `endpointStatus`, `weight` and `priority` of endpoints that are named like a region, and nothing else. After
//! each change callers have an answer, and no two endpoints have the same priority.

use std::cmp::Reverse;
use std::sync::Arc;

use super::AzureError;
use super::profile::{Endpoint, EndpointKind, EndpointStatus, Profile, ProfileId, Properties, Routing};
use crate::publish::Share;

/// What the API takes, for weights and priorities alike.
const HIGHEST: u32 = 1000;

/// Of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub kind: EndpointKind,
    pub endpoint: String,
    pub properties: Properties,
}

impl Patch {
    fn of(endpoint: &Endpoint, properties: Properties) -> Self {
        Self { kind: endpoint.kind, endpoint: endpoint.name.clone(), properties }
    }

    /// Callers are sent there no more.
    fn disables(&self) -> bool {
        self.properties.endpoint_status == Some(EndpointStatus::Disabled)
    }
}

/// What is left to do at a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// In this order. Those that disable an endpoint come last.
    pub patches: Vec<Patch>,
    /// Regions with callers that have no endpoint.
    pub missing: Vec<String>,
}

/// # Errors
/// If endpoints of this profile cannot be weighed against each other, or it answers nobody.
pub fn change(id: &Arc<ProfileId>, profile: &Profile, shares: &[Share]) -> Result<Change, AzureError> {
    if !profile.is_enabled {
        return Err(AzureError::ProfileDisabled { profile: Arc::clone(id) });
    }
    let named = named(profile, shares);
    let serves = |one: &&Named| one.percent > 0 && one.endpoint.is_enabled;
    let mut patches = match &profile.routing {
        Routing::Weighted => {
            let mut patches = enabled(&named, |one| Some(weight(one.percent)));
            patches.extend(weighed(&named));
            patches
        }
        // A region that comes back by steps must not be the first one until the order is right.
        Routing::Priority if named.iter().any(|one| serves(&one)) => {
            let mut patches = ordered(profile, &named);
            patches.extend(enabled(&named, |_| None));
            patches
        }
        Routing::Priority => {
            let mut patches = enabled(&named, |_| None);
            patches.extend(ordered(profile, &named));
            patches
        }
        Routing::Other(method) => {
            return Err(AzureError::RoutingMethod { profile: Arc::clone(id), method: method.clone() });
        }
    };
    // By now each of these is enabled. Without any, what callers are told stays.
    if named.iter().any(|one| one.percent > 0) {
        let status = Properties { endpoint_status: Some(EndpointStatus::Disabled), ..Properties::default() };
        let without = named.iter().filter(|one| one.percent == 0 && one.endpoint.is_enabled);
        patches.extend(without.map(|one| Patch::of(one.endpoint, status.clone())));
    }
    let has_endpoint = |share: &&Share| profile.endpoints.iter().any(|endpoint| endpoint.is_of(&share.region));
    let missing = shares.iter().filter(|share| percent(share) > 0 && !has_endpoint(share));
    Ok(Change { patches, missing: missing.map(|share| share.region.clone()).collect() })
}

/// Of what is left to do, what may be done after one look: an endpoint is disabled right after it is known that another
/// has callers.
pub fn at_once(patches: &[Patch]) -> &[Patch] {
    let others = patches.iter().take_while(|patch| !patch.disables()).count();
    &patches[..others.max(1).min(patches.len())]
}

/// Regions with callers whose endpoints Traffic Manager itself finds dead, with what it says.
pub fn down<'a>(profile: &'a Profile, shares: &'a [Share]) -> impl Iterator<Item = &'a Endpoint> {
    let named = named(profile, shares).into_iter();
    named.filter(|one| one.percent > 0 && one.endpoint.is_enabled && one.endpoint.is_down()).map(|one| one.endpoint)
}

/// A region without a relay that callers could be sent to has none, whatever its part is.
fn percent(share: &Share) -> u32 {
    if share.addresses.is_empty() { 0 } else { share.percent }
}

/// An endpoint that is named like a region.
#[derive(Clone, Copy)]
struct Named<'a> {
    endpoint: &'a Endpoint,
    percent: u32,
}

/// In the order of the profile.
fn named<'a>(profile: &'a Profile, shares: &[Share]) -> Vec<Named<'a>> {
    let of = |endpoint: &'a Endpoint| {
        let share = shares.iter().find(|share| endpoint.is_of(&share.region))?;
        Some(Named { endpoint, percent: percent(share) })
    };
    profile.endpoints.iter().filter_map(of).collect()
}

fn weight(percent: u32) -> u32 {
    percent.clamp(1, HIGHEST)
}

fn enabled(named: &[Named], weight: impl Fn(&Named) -> Option<u32>) -> Vec<Patch> {
    let patch = |one: &Named| {
        let endpoint_status = Some(EndpointStatus::Enabled);
        Patch::of(one.endpoint, Properties { endpoint_status, weight: weight(one), priority: None })
    };
    named.iter().filter(|one| one.percent > 0 && !one.endpoint.is_enabled).map(patch).collect()
}

fn weighed(named: &[Named]) -> Vec<Patch> {
    let wrong =
        |one: &&Named| one.percent > 0 && one.endpoint.is_enabled && one.endpoint.weight != Some(weight(one.percent));
    let patch = |one: &Named| {
        Patch::of(one.endpoint, Properties { weight: Some(weight(one.percent)), ..Properties::default() })
    };
    named.iter().filter(wrong).map(patch).collect()
}

/// Those with callers change places among themselves, so that larger parts come first.
fn ordered(profile: &Profile, named: &[Named]) -> Vec<Patch> {
    let mut in_order: Vec<&Named> = named.iter().filter(|one| one.percent > 0).collect();
    in_order.sort_by_key(|one| (Reverse(one.percent), one.endpoint.priority.unwrap_or(u32::MAX)));
    let mut used: Vec<u32> = profile.endpoints.iter().filter_map(|endpoint| endpoint.priority).collect();
    let mut numbers: Vec<u32> = in_order.iter().filter_map(|one| one.endpoint.priority).collect();
    while numbers.len() < in_order.len() {
        let taken = [used.as_slice(), numbers.as_slice()].concat();
        let Some(number) = free(&taken, taken.iter().max().copied().unwrap_or_default()) else { return Vec::new() };
        numbers.push(number);
    }
    numbers.sort_unstable();
    let mut moves: Vec<Move> = in_order
        .iter()
        .zip(numbers)
        .map(|(one, to)| Move { endpoint: one.endpoint, at: one.endpoint.priority, to })
        .filter(|one| one.at != Some(one.to))
        .collect();
    let mut patches = Vec::new();
    while !moves.is_empty() {
        let (index, to) = match moves.iter().position(|one| !used.contains(&one.to)) {
            Some(index) => (index, moves[index].to),
            // A circle. The one that goes farthest back may stand a bit behind its place for a moment.
            None => match last(&moves).and_then(|index| Some((index, free(&used, moves[index].to)?))) {
                Some(found) => found,
                None => break,
            },
        };
        let one = &mut moves[index];
        used.retain(|number| Some(*number) != one.at);
        used.push(to);
        one.at = Some(to);
        patches.push(Patch::of(one.endpoint, Properties { priority: Some(to), ..Properties::default() }));
        moves.retain(|one| one.at != Some(one.to));
    }
    patches
}

struct Move<'a> {
    endpoint: &'a Endpoint,
    at: Option<u32>,
    to: u32,
}

fn last(moves: &[Move]) -> Option<usize> {
    (0..moves.len()).max_by_key(|index| moves[*index].to)
}

/// A number that no endpoint has: the next one behind `place`, or else the last one before it.
fn free(used: &[u32], place: u32) -> Option<u32> {
    let is_free = |number: &u32| !used.contains(number);
    (place + 1..=HIGHEST).find(is_free).or_else(|| (1..=place.min(HIGHEST)).rev().find(is_free))
}

#[cfg(test)]
mod tests;
