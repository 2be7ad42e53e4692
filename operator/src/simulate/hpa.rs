//! For comparison: a Deployment of relays that a HorizontalPodAutoscaler scales. It cannot choose who goes, and Kubernetes
//! ends pods after a grace period, with the calls that are left on them.
//!
//! The algorithm is that of Kubernetes' replica calculator, with its defaults: a look every 15 s, a tolerance of 10 %, the
//! highest of 300 s on the way down, at most twice as many or 4 more in 15 s on the way up.

use std::collections::VecDeque;

use super::node::{Answer, Node, NodeId};
use super::region::Region;
use super::time::{MINUTE, Millis, SECOND};

pub const SYNC: Millis = 15 * SECOND;
const TOLERANCE: f64 = 0.1;
const STABILIZATION: Millis = 5 * MINUTE;
/// Of the pods' template.
const GRACE: Millis = 45 * SECOND;
/// Of a rolling update, in percent of the pods: more than wanted, and out of service.
const SURGE: u32 = 25;

/// What somebody writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Autoscaler {
    pub min: u32,
    pub max: u32,
    /// Part of a node.
    pub target: f64,
}

pub struct Hpa {
    autoscaler: Autoscaler,
    pub desired: u32,
    recommended: VecDeque<(Millis, u32)>,
    synced: Option<Millis>,
}

impl Hpa {
    /// With so many nodes that serve.
    pub fn begin(autoscaler: Autoscaler, nodes: u32, region: &mut Region) -> Self {
        (0..nodes).for_each(|index| {
            region.begin_with(index, 0);
        });
        Self { autoscaler, desired: nodes, recommended: VecDeque::new(), synced: None }
    }

    /// The autoscaler every 15 s, and the Deployment whenever it is asked.
    pub fn look(&mut self, region: &mut Region, revision: u32, now: Millis) {
        if self.synced.is_none_or(|last| now >= last + SYNC) {
            self.synced = Some(now);
            self.sync(region, now);
        }
        roll(region, self.desired as usize, revision, now);
    }

    fn sync(&mut self, region: &mut Region, now: Millis) {
        let ids: Vec<NodeId> = live(region).map(|node| node.id).collect();
        let metrics: Vec<Metric> = ids.into_iter().map(|id| metric(region, id)).collect();
        // An error, such as no metric at all, changes nothing.
        let Some(wanted) = recommend(self.desired, &metrics, self.autoscaler.target) else { return };
        self.recommended.push_back((now, wanted));
        self.recommended.retain(|(at, _)| now.saturating_sub(*at) <= STABILIZATION);
        let highest = self.recommended.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        let most = (2 * self.desired).max(self.desired + 4);
        let stable = if wanted >= self.desired { wanted.min(most) } else { highest.min(self.desired) };
        self.desired = stable.clamp(self.autoscaler.min, self.autoscaler.max);
    }
}

/// What is known of a pod that is not ending.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    NotReady,
    Missing,
    Known(f64),
}

fn metric(region: &mut Region, id: NodeId) -> Metric {
    if !region.node(id).is_some_and(|node| region.is_ready(node)) {
        return Metric::NotReady;
    }
    match region.answer(id) {
        Answer::Says(Some(load)) => Metric::Known(load),
        Answer::Says(None) | Answer::Silent => Metric::Missing,
    }
}

/// The number for these pods. Pods without a metric count as loaded to the target on the way down and as idle on the way
/// up; those that are not ready as idle on the way up, and not at all on the way down.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturating")]
fn recommend(current: u32, pods: &[Metric], target: f64) -> Option<u32> {
    let count = |which: Metric| pods.iter().filter(|pod| **pod == which).count();
    let known: Vec<f64> =
        pods.iter().filter_map(|pod| if let Metric::Known(load) = pod { Some(*load) } else { None }).collect();
    if known.is_empty() {
        return None;
    }
    let sum: f64 = known.iter().sum();
    let ratio = sum / known.len() as f64 / target;
    let (not_ready, missing) = (count(Metric::NotReady), count(Metric::Missing));
    let up = ratio > 1.0;
    let is_near = |ratio: f64| (ratio - 1.0).abs() <= TOLERANCE;
    let number = |ratio: f64, pods: usize| (ratio * pods as f64 - 1e-9).ceil() as u32;
    if missing == 0 && !(up && not_ready > 0) {
        return Some(if is_near(ratio) { current } else { number(ratio, known.len()) });
    }
    let pods = known.len() + missing + if up { not_ready } else { 0 };
    let assumed = if up { 0.0 } else { missing as f64 * target };
    let careful = (sum + assumed) / pods as f64 / target;
    let turned = (ratio < 1.0 && careful > 1.0) || (up && careful < 1.0);
    let wanted = number(careful, pods);
    let backwards = (careful < 1.0 && wanted > current) || (careful > 1.0 && wanted < current);
    Some(if is_near(careful) || turned || backwards { current } else { wanted })
}

fn live(region: &Region) -> impl Iterator<Item = &Node> {
    region.nodes().filter(|node| !node.is_terminating())
}

/// What the Deployment does next: pods of the revision are made, and others are ended, the newest first.
fn roll(region: &mut Region, wanted: usize, revision: u32, now: Millis) {
    let part = |percent: usize| wanted * percent;
    let (new, old): (Vec<&Node>, Vec<&Node>) = live(region).partition(|node| node.revision == revision);
    let (total, current) = (new.len() + old.len(), new.len());
    let surge = if old.is_empty() { 0 } else { part(SURGE as usize).div_ceil(100) };
    let make = wanted.saturating_sub(current).min((wanted + surge).saturating_sub(total));
    // Of its own revision too many, or old ones as far as enough others serve.
    let extra: Vec<NodeId> = newest_first(region, &new).into_iter().take(current.saturating_sub(wanted)).collect();
    let serving = live(region).filter(|node| region.is_ready(node)).count();
    let least = wanted - part(SURGE as usize) / 100;
    let may_go = serving.saturating_sub(least).max(total.saturating_sub(wanted + surge));
    let outdated: Vec<NodeId> = newest_first(region, &old).into_iter().take(may_go).collect();
    for id in extra.into_iter().chain(outdated) {
        if region.node(id).is_some_and(|node| node.ready.is_some() && !node.calls.is_empty()) {
            region.drain(id, now + GRACE, true, now);
        } else {
            region.end(id, now);
        }
    }
    let next = region.nodes().map(|node| node.slot + 1).max().unwrap_or_default();
    (next..).take(make).for_each(|slot| {
        region.make(slot, revision, now);
    });
}

/// Those that do not serve first.
fn newest_first(region: &Region, nodes: &[&Node]) -> Vec<NodeId> {
    let mut order = nodes.to_vec();
    order.sort_by_key(|node| (region.is_ready(node), std::cmp::Reverse((node.ready, node.id))));
    order.iter().map(|node| node.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_kubernetes() {
        let known = |loads: &[f64]| loads.iter().map(|load| Metric::Known(*load)).collect::<Vec<_>>();
        let and = |mut pods: Vec<Metric>, more: &[Metric]| {
            pods.extend(more);
            pods
        };
        for (case, pods, expected) in [
            ("at the target", known(&[0.65; 4]), Some(4)),
            ("71 % is within the tolerance", known(&[0.71; 4]), Some(4)),
            ("72 % is not", known(&[0.72; 4]), Some(5)),
            ("half", known(&[0.325; 4]), Some(2)),
            ("nobody tells", vec![Metric::Missing; 4], None),
            ("missing ones count as idle on the way up", and(known(&[0.9; 3]), &[Metric::Missing]), Some(4)),
            ("and as loaded to the target on the way down", and(known(&[0.1; 3]), &[Metric::Missing]), Some(2)),
            ("ones that start count as idle on the way up", and(known(&[1.0; 4]), &[Metric::NotReady]), Some(7)),
            ("and not at all on the way down", and(known(&[0.1; 4]), &[Metric::NotReady; 2]), Some(1)),
        ] {
            assert_eq!(recommend(4, &pods, 0.65), expected, "{case}");
        }
    }
}
