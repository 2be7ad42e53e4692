//! The certificate of TLS listeners.
#![allow(clippy::cast_precision_loss)]

use std::fmt;

use prometheus_client::registry::Unit;

use super::Page;
use crate::turn::certificate::Certificate;

pub(super) fn metrics(page: &mut Page<'_>, certificate: &Certificate) -> fmt::Result {
    let status = certificate.status();
    page.gauge(
        "rtcfleet_turn_certificate_not_after_timestamp",
        "When the certificate that TLS listeners show ends, since 1970.",
        Some(&Unit::Seconds),
        status.not_after.as_second() as f64,
    )?;
    page.gauge(
        "rtcfleet_turn_certificate_stale",
        "1 while the certificate's files cannot be used and the last one stays in force.",
        None,
        f64::from(u8::from(status.problem.is_some())),
    )?;
    page.counter(
        "rtcfleet_turn_certificate_reload_errors",
        "Looks at the certificate's files that failed.",
        None,
        certificate.errors() as f64,
    )
}
