//! Time, for people and expiry, and for intervals, which a step of the machine's clock must not touch.

use std::time::Instant;

use jiff::Timestamp;

/// Where the present comes from. Injected, so that the same code runs under a clock that is a variable.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;

    /// For intervals.
    fn instant(&self) -> Instant;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}
