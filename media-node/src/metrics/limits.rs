//! The limits file.
#![allow(clippy::cast_precision_loss)]

use std::fmt;

use prometheus_client::registry::Unit;

use super::Page;
use crate::turn::limits::LimitsFile;

pub(super) fn metrics(page: &mut Page<'_>, file: &LimitsFile) -> fmt::Result {
    page.gauge(
        "rtcfleet_turn_limits_changed_timestamp",
        "When the limits in force were read, since 1970.",
        Some(&Unit::Seconds),
        file.changed_at().as_second() as f64,
    )?;
    page.gauge(
        "rtcfleet_turn_limits_stale",
        "1 while the limits file cannot be used and what was read before stays in force.",
        None,
        f64::from(u8::from(file.status().problem.is_some())),
    )?;
    page.counter(
        "rtcfleet_turn_limits_read_errors",
        "Looks at the limits file that failed.",
        None,
        file.errors() as f64,
    )
}
