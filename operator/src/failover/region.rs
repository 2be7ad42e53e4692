//! What was decided about a region. It stands in the status, so that a new leader goes on from it.

use jiff::Timestamp;
use rtcfleet_crds::dns_failover::{RegionHealth, RegionState, RegionStatus, Votes as WrittenVotes};
use rtcfleet_crds::turn_region::Protocol;

use super::votes::Votes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    Withdrawn,
    Returning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Unknown,
    Healthy,
    /// Some of its transports fail.
    Impaired,
    Unhealthy,
}

/// Why a region is in its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Initial,
    Unhealthy,
    Impaired,
    /// It failed before it had all of its callers back.
    FailedAgain,
    Healthy,
    /// It came back at once: no other region worked.
    LastResort,
}

impl Reason {
    const ALL: [Self; 6] =
        [Self::Initial, Self::Unhealthy, Self::Impaired, Self::FailedAgain, Self::Healthy, Self::LastResort];

    pub fn text(self) -> &'static str {
        match self {
            Self::Initial => "Initial",
            Self::Unhealthy => "Unhealthy",
            Self::Impaired => "Impaired",
            Self::FailedAgain => "FailedAgain",
            Self::Healthy => "Healthy",
            Self::LastResort => "LastResort",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    pub name: String,
    pub phase: Phase,
    pub reason: Reason,
    pub health: Health,
    pub failing: Vec<Protocol>,
    /// Of its usual share, in percent: 100 while it serves.
    pub given_percent: u32,
    /// Of all callers, in percent.
    pub weight_percent: u32,
    /// When the phase, or its step, began. Whole seconds, so that it reads back as it was written.
    pub since: Timestamp,
    pub hold_down_until: Option<Timestamp>,
    /// Failures that are not forgiven.
    pub flaps: u32,
}

impl Region {
    pub fn initial(name: &str, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            phase: Phase::Serving,
            reason: Reason::Initial,
            health: Health::Unknown,
            failing: Vec::new(),
            given_percent: 100,
            weight_percent: 0,
            since: seconds(now),
            hold_down_until: None,
            flaps: 0,
        }
    }

    /// For the status.
    pub fn written(&self, votes: Votes) -> RegionStatus {
        // Without `..`: what is not written is lost with the leader.
        let Self { name, phase, reason, health, failing, given_percent, weight_percent, since, hold_down_until, flaps } =
            self;
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        RegionStatus {
            name: name.clone(),
            state: match phase {
                Phase::Serving => RegionState::Serving,
                Phase::Withdrawn => RegionState::Withdrawn,
                Phase::Returning => RegionState::Returning,
            },
            health: match health {
                Health::Unknown => RegionHealth::Unknown,
                Health::Healthy => RegionHealth::Healthy,
                Health::Impaired => RegionHealth::Impaired,
                Health::Unhealthy => RegionHealth::Unhealthy,
            },
            failing_transports: failing.clone(),
            votes: WrittenVotes {
                up: number(votes.up),
                down: number(votes.down),
                needed: number(votes.needed),
                asked: number(votes.asked),
            },
            given_percent: number(*given_percent),
            weight_percent: number(*weight_percent),
            since: since.to_string(),
            hold_down_until: hold_down_until.map(|until| until.to_string()),
            flaps: number(*flaps),
            reason: reason.text().to_owned(),
        }
    }

    /// From the status. What cannot be read there counts as on the first day, at `now`.
    pub fn read(written: &RegionStatus, now: Timestamp) -> Self {
        let number = |number: i32| number.max(0).unsigned_abs();
        Self {
            name: written.name.clone(),
            phase: match written.state {
                RegionState::Serving => Phase::Serving,
                RegionState::Withdrawn => Phase::Withdrawn,
                RegionState::Returning => Phase::Returning,
            },
            reason: Reason::ALL.into_iter().find(|one| one.text() == written.reason).unwrap_or(Reason::Initial),
            health: match written.health {
                RegionHealth::Unknown => Health::Unknown,
                RegionHealth::Healthy => Health::Healthy,
                RegionHealth::Impaired => Health::Impaired,
                RegionHealth::Unhealthy => Health::Unhealthy,
            },
            failing: written.failing_transports.clone(),
            given_percent: number(written.given_percent).min(100),
            weight_percent: number(written.weight_percent).min(100),
            since: written.since.parse().unwrap_or(seconds(now)),
            hold_down_until: written.hold_down_until.as_ref().and_then(|until| until.parse().ok()),
            flaps: number(written.flaps),
        }
    }
}

/// Without what is behind the second.
pub fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_into_the_status_reads_back() {
        let now: Timestamp = "2026-02-02T12:00:00.5Z".parse().unwrap();
        let region = Region {
            phase: Phase::Withdrawn,
            reason: Reason::FailedAgain,
            health: Health::Impaired,
            failing: vec![Protocol::Udp],
            given_percent: 15,
            weight_percent: 8,
            hold_down_until: Some(seconds(now)),
            flaps: 3,
            ..Region::initial("a", now)
        };
        assert_eq!(Region::read(&region.written(Votes::default()), Timestamp::UNIX_EPOCH), region);
    }
}
