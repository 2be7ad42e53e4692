//! Whether the node relays, as it was last tried.
#![allow(clippy::cast_precision_loss)]

use std::fmt;

use prometheus_client::registry::Unit;
use rtcfleet_node_api::Relaying;

use super::Page;

pub(super) fn metrics(page: &mut Page<'_>, last: &Relaying) -> fmt::Result {
    page.gauge(
        "rtcfleet_turn_relaying",
        "1 if two clients of the node's own reached each other when that was last tried.",
        None,
        f64::from(u8::from(last.problem.is_none())),
    )?;
    page.gauge(
        "rtcfleet_turn_relaying_checked_timestamp",
        "When that was, since 1970.",
        Some(&Unit::Seconds),
        last.checked_at.as_second() as f64,
    )
}
