//! Instants that processes of one machine can compare: std's `Instant` does not leave its process.

use std::{fmt, num::ParseIntError, str::FromStr, time::Duration};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC, which no change of the wall clock moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Result<Self> {
        let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC).context("no monotonic clock")?.into();
        Ok(Self(u64::try_from(now.as_nanos()).context("the machine has run for centuries")?))
    }

    /// Nothing if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Moment {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_and_never_lies_before_an_earlier_one() {
        let (first, second) = (Moment::now().unwrap(), Moment::now().unwrap());
        assert!(first <= second);
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(Moment(7).since(Moment(4)), Duration::from_nanos(3));
        assert_eq!(Moment(4).since(Moment(7)), Duration::ZERO);
    }
}
