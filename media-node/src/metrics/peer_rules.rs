//! What the node found when it asked itself for peers that it must refuse.
#![allow(clippy::cast_precision_loss)]

use std::fmt;

use prometheus_client::registry::Unit;

use super::Page;
use crate::turn::probe::Found;

pub(super) fn metrics(page: &mut Page<'_>, found: &Found) -> fmt::Result {
    if let Some(last) = &found.last {
        page.gauge(
            "rtcfleet_turn_peer_rules_granted",
            "Peers that must be refused and were granted in the last round of the node's own probe.",
            None,
            last.granted.len() as f64,
        )?;
        page.gauge(
            "rtcfleet_turn_peer_rules_checked_timestamp",
            "When that round was, since 1970.",
            Some(&Unit::Seconds),
            last.checked_at.as_second() as f64,
        )?;
    }
    page.counters(
        "rtcfleet_turn_peer_rules_probe_failures",
        "Rounds of the probe that could not be carried out.",
        [("no_answer", found.no_answer), ("refused", found.refused)].map(|(why, count)| ([("reason", why)], count)),
    )
}
