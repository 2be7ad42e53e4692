//! Whether the node relays, as it was last tried, and one log line a change.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rtcfleet_node_api::Relaying;

use super::relaying::Fault;

/// Shared by the probe and whoever reads of it.
#[derive(Debug, Default)]
pub struct Verdicts(Mutex<Judged>);

#[derive(Debug, Default)]
struct Judged {
    /// The last that was one.
    last: Option<Relaying>,
    /// Why there has been none since.
    none_since: Option<Fault>,
}

/// What the log is told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    None,
    /// For the first time, or again.
    Relays,
    /// For another reason than before.
    Fails(Fault),
    NoVerdict(Fault),
}

impl Verdicts {
    pub fn last(&self) -> Option<Relaying> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    pub fn take(&self, outcome: Result<(), Fault>, now: Timestamp) {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take(outcome, now) {
            News::None => {}
            News::Relays => tracing::info!("this node relays: two clients of its own reached each other"),
            News::Fails(problem) => tracing::error!(
                %problem,
                "this node does not relay: two clients of its own did not reach each other. Take it out of service, and \
                 look whether a firewall of this machine is between its own addresses"
            ),
            News::NoVerdict(reason) => {
                tracing::warn!(%reason, "whether this node relays could not be tried: trying again");
            }
        }
    }
}

impl Judged {
    /// What judges nothing leaves the last verdict as it is.
    fn take(&mut self, outcome: Result<(), Fault>, now: Timestamp) -> News {
        if let Err(fault) = outcome
            && fault.judges_nothing()
        {
            let known = self.none_since.replace(fault) == Some(fault);
            return if known { News::None } else { News::NoVerdict(fault) };
        }
        let problem = outcome.err().map(|fault| fault.to_string());
        let steady = self.last.as_ref().is_some_and(|last| last.problem == problem);
        let resumed = self.none_since.take().is_some();
        self.last = Some(Relaying { checked_at: now, problem });
        match outcome {
            Ok(()) if steady && !resumed => News::None,
            Ok(()) => News::Relays,
            Err(_) if steady => News::None,
            Err(fault) => News::Fails(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::probe::session::Failure;

    #[test]
    fn the_log_is_told_of_each_change_once_and_what_judges_nothing_changes_no_verdict() {
        let full = Fault::Request(Failure::Refused { ask: "Allocate", code: 508 });
        let silent = Fault::Request(Failure::NoAnswer);
        let lost = Fault::Lost { relay: "192.0.2.1".parse().unwrap() };
        let (good, bad) = (Some((0, None)), |at, fault: Fault| Some((at, Some(fault.to_string()))));
        let mut judged = Judged::default();
        for (now, (case, outcome, news, last)) in (0..).zip([
            ("the first", Ok(()), News::Relays, good),
            ("full", Err(full), News::NoVerdict(full), Some((0, None))),
            ("still full", Err(full), News::None, Some((0, None))),
            ("there is room", Ok(()), News::Relays, Some((3, None))),
            ("steady", Ok(()), News::None, Some((4, None))),
            ("broken", Err(lost), News::Fails(lost), bad(5, lost)),
            ("still broken", Err(lost), News::None, bad(6, lost)),
            ("full, too", Err(full), News::NoVerdict(full), bad(6, lost)),
            ("as broken as before", Err(lost), News::None, bad(8, lost)),
            ("in another way", Err(silent), News::Fails(silent), bad(9, silent)),
            ("mended", Ok(()), News::Relays, Some((10, None))),
        ]) {
            let now = Timestamp::from_second(now).unwrap();
            assert_eq!(judged.take(outcome, now), news, "{case}");
            let found = judged.last.clone().map(|last| (last.checked_at.as_second(), last.problem));
            assert_eq!(found, last, "{case}");
        }
    }
}
