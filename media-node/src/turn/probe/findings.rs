//! What rounds found, and one log line a change.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use rtcfleet_node_api::PeerRules;

use super::session::Failure;

/// As `PeerRules::granted` says.
const MOST: usize = 32;

/// Shared by the probe and whoever reads of it.
#[derive(Debug, Default)]
pub struct Findings(Mutex<Found>);

/// Everything since the process started.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The last round that could be carried out.
    pub last: Option<PeerRules>,
    /// Rounds without an answer in time.
    pub no_answer: u64,
    /// Rounds that the node itself refused.
    pub refused: u64,
    failing: Option<Failure>,
    granted: Vec<SocketAddr>,
}

impl Findings {
    pub fn read(&self) -> Found {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn take(&self, outcome: Result<Vec<SocketAddr>, Failure>, now: Timestamp) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match found.take(outcome, now) {
            News::None => {}
            News::Granted => tracing::error!(
                granted = ?found.granted,
                "peers that must be refused were granted: clients can reach what stands behind this node. Take it out of \
                 service, and look at relay.allowPeers and at the addresses of this machine"
            ),
            News::RefusedAgain => tracing::info!("peers that must be refused are refused"),
            News::Failing(failure) => {
                tracing::warn!(%failure, "the peer rules could not be probed: trying again");
            }
        }
    }
}

/// What the log is told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    None,
    /// Others than before.
    Granted,
    /// For the first time, after a failure, or after something had been granted.
    RefusedAgain,
    Failing(Failure),
}

impl Found {
    fn take(&mut self, outcome: Result<Vec<SocketAddr>, Failure>, now: Timestamp) -> News {
        let mut granted = match outcome {
            Ok(granted) => granted,
            Err(failure) => {
                match failure {
                    Failure::NoAnswer => self.no_answer += 1,
                    Failure::Refused { .. } => self.refused += 1,
                }
                let known = self.failing.replace(failure) == Some(failure);
                return if known { News::None } else { News::Failing(failure) };
            }
        };
        granted.sort_unstable();
        let failed = self.failing.take().is_some();
        let first = self.last.is_none();
        let changed = granted != self.granted;
        let mut addresses: Vec<_> = granted.iter().map(SocketAddr::ip).collect();
        addresses.dedup();
        addresses.truncate(MOST);
        self.last = Some(PeerRules { checked_at: now, granted: addresses });
        self.granted = granted;
        match (self.granted.is_empty(), changed) {
            (false, true) => News::Granted,
            (true, _) if first || failed || changed => News::RefusedAgain,
            _ => News::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_of_each_change_once() {
        let mut found = Found::default();
        let at = |peers: &[&str]| Ok(peers.iter().map(|peer| peer.parse().unwrap()).collect::<Vec<SocketAddr>>());
        let full = Failure::Refused { ask: "Allocate", code: 508 };
        for (case, outcome, expected) in [
            ("the first round", at(&[]), News::RefusedAgain),
            ("steady", at(&[]), News::None),
            ("a hole", at(&["127.0.0.1:0"]), News::Granted),
            ("the same hole", at(&["127.0.0.1:0"]), News::None),
            ("another beside it", at(&["[::1]:0", "127.0.0.1:0"]), News::Granted),
            ("the same in another order", at(&["127.0.0.1:0", "[::1]:0"]), News::None),
            ("not known", Err(Failure::NoAnswer), News::Failing(Failure::NoAnswer)),
            ("still not", Err(Failure::NoAnswer), News::None),
            ("for another reason", Err(full), News::Failing(full)),
            ("the same holes", at(&["127.0.0.1:0", "[::1]:0"]), News::None),
            ("mended", at(&[]), News::RefusedAgain),
        ] {
            assert_eq!(found.take(outcome, Timestamp::UNIX_EPOCH), expected, "{case}");
        }
        assert_eq!((found.no_answer, found.refused), (2, 1));
    }

    #[test]
    fn a_failed_round_leaves_what_the_last_one_found_with_its_time() {
        let mut found = Found::default();
        let before = Timestamp::from_second(100).unwrap();
        found.take(Ok(vec!["10.0.0.1:0".parse().unwrap(), "10.0.0.1:443".parse().unwrap()]), before);
        found.take(Err(Failure::NoAnswer), Timestamp::from_second(130).unwrap());
        let expected = PeerRules { checked_at: before, granted: vec!["10.0.0.1".parse().unwrap()] };
        assert_eq!(found.last, Some(expected));
    }
}
