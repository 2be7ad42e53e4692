//! Time for people and expiry. Intervals use `Instant`, given by the caller.

use jiff::Timestamp;

/// Where the present comes from. Injected, so that the same code runs under a clock that is a variable.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
