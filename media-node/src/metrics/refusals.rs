//! Why allocations are refused, and the memory limit that may be the reason.

use std::fmt;

use prometheus_client::registry::Unit;

use super::Page;
use crate::turn::{
    proto::{Refusal, ShardSnapshot},
    role::Turn,
};

pub(super) fn metrics(page: &mut Page<'_>, turn: &Turn, totals: &ShardSnapshot) -> fmt::Result {
    page.counters(
        "rtcfleet_turn_refusals",
        "Requests answered with 486 or 508, by why.",
        Refusal::ALL.iter().map(|why| ([("reason", why.label())], totals.refused(*why))),
    )?;
    let refusing = turn.shared.reasons_to_refuse();
    page.gauges(
        "rtcfleet_turn_refusing",
        "1 while every new allocation is refused for this reason.",
        refusing.map(|(why, holds)| ([("reason", why.label())], f64::from(u8::from(holds)))),
    )?;
    let Some(memory) = turn.pressure.memory() else { return Ok(()) };
    page.gauge(
        "rtcfleet_node_memory_limit",
        "Memory at which the kernel ends the process: of its control group, or one around it.",
        Some(&Unit::Bytes),
        memory.limit as f64,
    )?;
    page.gauge(
        "rtcfleet_node_memory_used",
        "What counts in that limit, without the page cache.",
        Some(&Unit::Bytes),
        memory.used as f64,
    )
}
