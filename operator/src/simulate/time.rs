//! Time that is a variable: milliseconds since a trace began.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Milliseconds since the trace began.
pub type Millis = u64;

pub const SECOND: Millis = 1_000;
pub const MINUTE: Millis = 60 * SECOND;

/// What the deciding code takes for the present. Only differences of instants count, so any origin will do.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub start: Timestamp,
    pub origin: Instant,
}

impl Clock {
    pub fn timestamp(&self, at: Millis) -> Timestamp {
        let since = SignedDuration::from_millis(i64::try_from(at).unwrap_or(i64::MAX));
        self.start.checked_add(since).unwrap_or(Timestamp::MAX)
    }

    pub fn instant(&self, at: Millis) -> Instant {
        self.origin + Duration::from_millis(at)
    }

    /// A deadline back in milliseconds; one that has passed before the trace began is 0.
    pub fn millis(&self, at: Timestamp) -> Millis {
        u64::try_from(at.duration_since(self.start).as_millis()).unwrap_or(0)
    }
}

/// For what is drawn in seconds.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, and never negative")]
pub fn millis(seconds: f64) -> Millis {
    (seconds * 1000.0).max(0.0) as Millis
}

pub fn of(span: Duration) -> Millis {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
