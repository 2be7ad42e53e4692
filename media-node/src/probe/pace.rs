//! How long one probe waits for what, all of it from one number: how long it may take.

use std::time::Duration;

/// Waits of one probe.
///
/// Somebody moves traffic away when a target is dead, so a probe does not wait as a caller would: RFC 8489 section 6.2.1
/// sends again after 500 ms and gives up after 39.5 s. What is sent once too often does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From the first step to the verdict.
    pub whole: Duration,
    /// For one stage.
    pub stage: Duration,
    /// Before a request is sent again; doubled each time.
    pub retransmission: Duration,
    /// Between two packets to the echo peer.
    pub spacing: Duration,
    /// For packets, after the last was sent.
    pub echo: Duration,
    /// To give the allocation back: what is left for it before the verdict, and as long after one that was bad.
    pub closing: Duration,
}

impl Pace {
    pub fn of(whole: Duration) -> Self {
        Self {
            whole,
            stage: whole * 3 / 4,
            retransmission: whole / 5,
            spacing: whole / 50,
            echo: whole * 2 / 5,
            closing: whole / 4,
        }
    }
}
