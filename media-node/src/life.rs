//! A node's life: `Starting → Active ⇄ Draining → Drained`, and what SIGTERM makes of it. Pure: time and the number of
//! live sessions come in, what to do comes out.

use std::time::Duration;

use jiff::Timestamp;
use rtcfleet_node_api::{Drain, NodeState, SetState};

use crate::turn::proto::{Alternates, AlternatesError};

/// What the process has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Go on.
    Serve,
    /// The deadline has passed: end the sessions that are left, then go on without any.
    CloseSessions,
    /// Leave the process; sessions that are left end with it.
    Exit,
}

/// Why a state was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("state: the node is starting: ask again once GET /v1/status says Active")]
    Starting,
    #[error("state: the process has been told to end (SIGTERM) and cannot take sessions again: start another one")]
    Terminating,
    #[error(transparent)]
    Alternates(#[from] AlternatesError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Active,
    Draining(Window),
    Drained(Window),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    since: Timestamp,
    deadline: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub struct Life {
    phase: Phase,
    /// Where new sessions are sent. Empty unless it drains.
    alternates: Alternates,
    terminating: bool,
    /// The second signal.
    at_once: bool,
}

impl Default for Life {
    fn default() -> Self {
        Self { phase: Phase::Starting, alternates: Alternates::default(), terminating: false, at_once: false }
    }
}

impl Life {
    pub fn state(&self) -> NodeState {
        match self.phase {
            Phase::Starting => NodeState::Starting,
            Phase::Active => NodeState::Active,
            Phase::Draining(_) => NodeState::Draining,
            Phase::Drained(_) => NodeState::Drained,
        }
    }

    /// The drain in progress, or the one that has ended.
    pub fn drain(&self) -> Option<Drain> {
        match self.phase {
            Phase::Starting | Phase::Active => None,
            Phase::Draining(Window { since, deadline }) | Phase::Drained(Window { since, deadline }) => {
                let alternates = self.alternates.addresses().to_vec();
                Some(Drain { since, deadline, terminating: self.terminating, alternates })
            }
        }
    }

    /// Whether new sessions are refused, and where they are sent.
    pub fn refuses_sessions(&self) -> Option<&Alternates> {
        (self.phase != Phase::Active).then_some(&self.alternates)
    }

    /// The listeners are open.
    pub fn handle_opened(&mut self) {
        if self.phase == Phase::Starting {
            self.phase = Phase::Active;
        }
    }

    /// The operator, or a person, wants another state.
    pub fn handle_set(&mut self, wanted: SetState, now: Timestamp) -> Result<(), Refusal> {
        match wanted {
            _ if self.phase == Phase::Starting => return Err(Refusal::Starting),
            SetState::Active if self.terminating => return Err(Refusal::Terminating),
            SetState::Active => {
                self.phase = Phase::Active;
                self.alternates = Alternates::default();
            }
            SetState::Draining { deadline, alternates } => {
                self.alternates = Alternates::parse(alternates)?;
                self.phase = self.draining_until(deadline, now);
            }
        }
        Ok(())
    }

    fn draining_until(&self, deadline: Timestamp, now: Timestamp) -> Phase {
        match self.phase {
            Phase::Starting | Phase::Active => Phase::Draining(Window { since: now, deadline }),
            Phase::Draining(window) => {
                // Past the grace period the process is killed: a later deadline would promise what nobody can keep.
                let deadline = if self.terminating { deadline.min(window.deadline) } else { deadline };
                Phase::Draining(Window { deadline, ..window })
            }
            drained @ Phase::Drained(_) => drained,
        }
    }

    /// SIGTERM or SIGINT: live sessions get `grace`, a drain in progress keeps a nearer deadline. The second signal
    /// ends the process at once.
    pub fn handle_signal(&mut self, now: Timestamp, grace: Duration) {
        self.at_once = self.terminating;
        self.terminating = true;
        let latest = now.checked_add(grace).unwrap_or(Timestamp::MAX);
        self.phase = match self.phase {
            Phase::Starting => Phase::Drained(Window { since: now, deadline: now }),
            Phase::Active => Phase::Draining(Window { since: now, deadline: latest }),
            Phase::Draining(Window { since, deadline }) => {
                Phase::Draining(Window { since, deadline: deadline.min(latest) })
            }
            drained @ Phase::Drained(_) => drained,
        };
    }

    /// Time has passed, or the number of sessions has changed. Early and repeated calls are harmless.
    pub fn handle_tick(&mut self, now: Timestamp, sessions: u64) -> Duty {
        if self.at_once {
            return Duty::Exit;
        }
        if let Phase::Draining(window) = self.phase {
            let over = now >= window.deadline;
            if over || sessions == 0 {
                self.phase = Phase::Drained(window);
            }
            if over && sessions > 0 && !self.terminating {
                return Duty::CloseSessions;
            }
        }
        match self.phase {
            Phase::Drained(_) if self.terminating => Duty::Exit,
            // A session that was being granted when the drain began.
            Phase::Drained(window) if sessions > 0 && now >= window.deadline => Duty::CloseSessions,
            _ => Duty::Serve,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn draining(deadline: i64) -> SetState {
        draining_to(deadline, &[])
    }

    fn draining_to(deadline: i64, alternates: &[&str]) -> SetState {
        let alternates = alternates.iter().map(|ip| ip.parse().unwrap()).collect();
        SetState::Draining { deadline: at(deadline), alternates }
    }

    fn drain(since: i64, deadline: i64, terminating: bool) -> Drain {
        Drain { since: at(since), deadline: at(deadline), terminating, alternates: Vec::new() }
    }

    fn active() -> Life {
        let mut life = Life::default();
        life.handle_opened();
        life
    }

    const GRACE: Duration = Duration::from_mins(1);

    #[test]
    fn a_node_takes_sessions_once_its_listeners_are_open() {
        let mut life = Life::default();
        assert_eq!((life.state(), life.refuses_sessions().is_some()), (NodeState::Starting, true));
        assert_eq!(life.handle_set(SetState::Active, at(0)), Err(Refusal::Starting));
        life.handle_opened();
        assert_eq!((life.state(), life.refuses_sessions()), (NodeState::Active, None));
    }

    #[test]
    fn a_drain_ends_when_the_last_session_does() {
        let mut life = active();
        life.handle_set(draining(100), at(0)).unwrap();
        assert_eq!((life.handle_tick(at(1), 2), life.state()), (Duty::Serve, NodeState::Draining));
        assert!(life.refuses_sessions().is_some());
        assert_eq!((life.handle_tick(at(2), 0), life.state()), (Duty::Serve, NodeState::Drained));
        assert_eq!(life.drain(), Some(drain(0, 100, false)));
    }

    #[test]
    fn new_sessions_are_sent_where_the_last_word_said_until_the_node_is_active_again() {
        let mut life = active();
        let sent_to = |life: &Life| life.refuses_sessions().map(|to| to.addresses().to_vec());
        let ip = |text: &str| text.parse().unwrap();
        life.handle_set(draining_to(100, &["192.0.2.1"]), at(0)).unwrap();
        assert_eq!(sent_to(&life), Some(vec![ip("192.0.2.1")]));
        life.handle_set(draining_to(100, &["192.0.2.2", "2001:db8::2"]), at(1)).unwrap();
        life.handle_signal(at(2), GRACE);
        assert_eq!(sent_to(&life), Some(vec![ip("192.0.2.2"), ip("2001:db8::2")]), "SIGTERM changes nothing of it");
        assert_eq!(life.drain().map(|drain| drain.alternates), sent_to(&life));

        let mut life = active();
        life.handle_set(draining_to(100, &["192.0.2.1"]), at(0)).unwrap();
        life.handle_tick(at(1), 0);
        life.handle_set(draining_to(100, &["192.0.2.2"]), at(2)).unwrap();
        assert_eq!((life.state(), sent_to(&life)), (NodeState::Drained, Some(vec![ip("192.0.2.2")])));
        let refused = life.handle_set(draining_to(200, &["0.0.0.0"]), at(3));
        assert!(
            matches!(refused, Err(Refusal::Alternates(AlternatesError::NoMachine { index: 0, .. }))),
            "{refused:?}"
        );
        assert_eq!(sent_to(&life), Some(vec![ip("192.0.2.2")]), "a refused one changes nothing");
        life.handle_set(SetState::Active, at(4)).unwrap();
        life.handle_signal(at(5), GRACE);
        assert_eq!(sent_to(&life), Some(vec![]), "those of another drain");
    }

    #[test]
    fn sessions_that_are_left_at_the_deadline_are_closed_and_the_node_stays() {
        let mut life = active();
        life.handle_set(draining(100), at(0)).unwrap();
        assert_eq!(life.handle_tick(at(99), 2), Duty::Serve);
        assert_eq!((life.handle_tick(at(100), 2), life.state()), (Duty::CloseSessions, NodeState::Drained));
        assert_eq!(life.handle_tick(at(101), 0), Duty::Serve);
    }

    #[test]
    fn a_drain_can_be_moved_and_taken_back() {
        let mut life = active();
        life.handle_set(draining(100), at(0)).unwrap();
        life.handle_set(draining(200), at(10)).unwrap();
        assert_eq!(life.handle_tick(at(150), 1), Duty::Serve);
        assert_eq!(life.drain().unwrap().since, at(0), "a repeated drain is the same drain");
        life.handle_set(SetState::Active, at(160)).unwrap();
        assert_eq!((life.handle_tick(at(300), 1), life.state(), life.drain()), (Duty::Serve, NodeState::Active, None));
        life.handle_set(draining(310), at(300)).unwrap();
        life.handle_tick(at(301), 0);
        life.handle_set(SetState::Active, at(302)).unwrap();
        assert_eq!(life.state(), NodeState::Active, "from Drained too");
    }

    #[test]
    fn sigterm_ends_the_process_when_no_session_is_left_or_the_grace_is_over() {
        let mut life = active();
        life.handle_signal(at(0), GRACE);
        assert_eq!((life.handle_tick(at(59), 1), life.state()), (Duty::Serve, NodeState::Draining));
        assert_eq!(life.handle_tick(at(60), 1), Duty::Exit);

        let mut life = active();
        life.handle_signal(at(0), GRACE);
        assert_eq!(life.handle_tick(at(1), 0), Duty::Exit);
    }

    #[test]
    fn sigterm_without_anything_to_drain_ends_the_process_at_once() {
        let mut starting = Life::default();
        starting.handle_signal(at(0), GRACE);
        assert_eq!(starting.handle_tick(at(0), 0), Duty::Exit);

        let mut drained = active();
        drained.handle_set(draining(100), at(0)).unwrap();
        drained.handle_tick(at(1), 0);
        drained.handle_signal(at(2), GRACE);
        assert_eq!(drained.handle_tick(at(2), 0), Duty::Exit);
    }

    #[test]
    fn after_sigterm_the_deadline_only_comes_nearer_and_there_is_no_way_back() {
        let mut life = active();
        life.handle_set(draining(30), at(0)).unwrap();
        life.handle_signal(at(0), GRACE);
        assert_eq!(life.drain(), Some(drain(0, 30, true)));
        life.handle_set(draining(500), at(1)).unwrap();
        assert_eq!(life.drain().unwrap().deadline, at(30));
        life.handle_set(draining(10), at(2)).unwrap();
        assert_eq!(life.drain().unwrap().deadline, at(10));
        assert_eq!(life.handle_set(SetState::Active, at(3)), Err(Refusal::Terminating));
        assert_eq!(life.handle_tick(at(10), 5), Duty::Exit);
    }

    #[test]
    fn the_second_signal_does_not_wait() {
        let mut life = active();
        life.handle_signal(at(0), GRACE);
        assert_eq!(life.handle_tick(at(1), 5), Duty::Serve);
        life.handle_signal(at(2), GRACE);
        assert_eq!(life.handle_tick(at(2), 5), Duty::Exit);
    }

    #[test]
    fn a_session_granted_while_the_drain_began_is_closed_at_the_deadline() {
        let mut life = active();
        life.handle_set(draining(100), at(0)).unwrap();
        life.handle_tick(at(1), 0);
        assert_eq!(life.handle_tick(at(2), 1), Duty::Serve);
        assert_eq!(life.handle_tick(at(100), 1), Duty::CloseSessions);
    }
}
