//! What the log says of refused requests: a line a minute for each reason, however many there are. Pure.

use std::time::{Duration, Instant};

use super::proto::Refusal;

/// Between two lines of the same reason.
const QUIET: Duration = Duration::from_mins(1);

/// Reasons that somebody who runs the node can do something about. A user past its quota is none, nor is a drain, and
/// what closes the whole node is said when it begins.
const TOLD: [(Refusal, &str); 4] = [
    (Refusal::NodeQuota, "quotas.allocations is reached: raise it, or add nodes"),
    (Refusal::Ports, "no relayed port is free: widen relay.minPort to maxPort, or add nodes"),
    (Refusal::Descriptors, "there are no more file descriptors: raise the hard limit on open files"),
    (
        Refusal::Sockets,
        "the kernel gives no relay socket: see whether the machine still has the relay address, and memory",
    ),
];

/// One reason's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub why: Refusal,
    pub advice: &'static str,
    /// Since the last line of this reason.
    pub count: u64,
}

/// What has been said.
#[derive(Debug, Default)]
pub struct Notices([Said; TOLD.len()]);

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    at: Option<Instant>,
    count: u64,
}

impl Notices {
    /// What is to be said now. `refused` is how often it has happened since the start.
    pub fn look(&mut self, now: Instant, refused: impl Fn(Refusal) -> u64) -> Vec<Notice> {
        let due = TOLD.iter().zip(&mut self.0).filter_map(|((why, advice), said)| {
            let count = refused(*why);
            let quiet = said.at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
            if quiet || count <= said.count {
                return None;
            }
            let since = count - std::mem::replace(&mut said.count, count);
            said.at = Some(now);
            Some(Notice { why: *why, advice, count: since })
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(notices: &mut Notices, now: Instant, refused: &[(Refusal, u64)]) -> Vec<(Refusal, u64)> {
        let count = |why| refused.iter().find(|(each, _)| *each == why).map_or(0, |(_, count)| *count);
        notices.look(now, count).into_iter().map(|notice| (notice.why, notice.count)).collect()
    }

    #[test]
    fn a_reason_is_said_at_once_and_then_once_a_minute_with_how_often() {
        use Refusal::{Descriptors, Ports};
        let (mut notices, start) = (Notices::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(said(&mut notices, at(0), &[]), []);
        assert_eq!(said(&mut notices, at(1), &[(Ports, 3)]), [(Ports, 3)]);
        assert_eq!(said(&mut notices, at(2), &[(Ports, 900)]), []);
        assert_eq!(said(&mut notices, at(3), &[(Ports, 900), (Descriptors, 1)]), [(Descriptors, 1)]);
        assert_eq!(said(&mut notices, at(61), &[(Ports, 1000), (Descriptors, 1)]), [(Ports, 997)]);
        assert_eq!(said(&mut notices, at(200), &[(Ports, 1000), (Descriptors, 1)]), [], "nothing new");
    }

    #[test]
    fn what_nobody_can_do_anything_about_is_not_said() {
        let everything = Refusal::ALL.iter().map(|why| (*why, 5)).collect::<Vec<_>>();
        let lines = said(&mut Notices::default(), Instant::now(), &everything);
        assert_eq!(lines.len(), TOLD.len());
        for quiet in [Refusal::UserQuota, Refusal::Draining, Refusal::Memory, Refusal::Reservation] {
            assert!(lines.iter().all(|(why, _)| *why != quiet), "{quiet:?}");
        }
    }
}
