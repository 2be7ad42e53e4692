//! The election, sans-IO: what is seen and when goes in, what to ask the API server comes out.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Fence;

/// The three times of the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after they saw the record change last.
    pub lease: Duration,
    /// How long a holder believes after the start of its last successful write. Well below `lease`.
    pub renew_deadline: Duration,
    /// Between two looks or renewals; up to a fifth is added at random.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), renew_deadline: Duration::from_secs(7), retry: Duration::from_secs(2) }
    }
}

/// No record may keep others waiting longer, whatever it says.
const LONGEST_LEASE: Duration = Duration::from_mins(1);

/// The Lease as far as the election reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Empty: nobody.
    pub holder: String,
    pub transitions: i32,
    pub lease: Duration,
    /// Since when its holder has it, by that one's clock. For people: nobody judges by it.
    pub acquired: Option<Timestamp>,
    /// The object's resourceVersion: changes with every write, and guards ours.
    pub version: String,
}

/// A record, and since when we have seen it unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub record: Record,
    pub since: Instant,
}

/// What to do about the record as it was just read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: make it.
    Create,
    /// Nobody's, or its holder has not renewed it in time.
    Acquire,
    /// It is ours.
    Renew,
    /// Somebody else's, for at least so long.
    Wait(Duration),
}

/// The decision. `now` and `seen.since` are of our clock; no other clock is looked at.
pub fn decide(me: &str, seen: Option<&Seen>, timing: &Timing, now: Instant) -> Step {
    let Some(Seen { record, since }) = seen else { return Step::Create };
    if record.holder == me {
        return Step::Renew;
    }
    if record.holder.is_empty() {
        return Step::Acquire;
    }
    let lease = record.lease.min(LONGEST_LEASE).max(timing.lease);
    match lease.checked_sub(now.saturating_duration_since(*since)) {
        Some(left) if !left.is_zero() => Step::Wait(left),
        _ => Step::Acquire,
    }
}

/// Why a holder is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No renewal succeeded in time.
    Deadline,
    /// The record names somebody else (or nobody: empty).
    Taken { by: String },
    /// The Lease was deleted.
    Deleted,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deadline => f.write_str("it could not be renewed in time; is the API server reachable?"),
            Self::Taken { by } if by.is_empty() => f.write_str("somebody emptied its holder"),
            Self::Taken { by } => write!(f, "{by} took it"),
            Self::Deleted => f.write_str("somebody deleted it"),
        }
    }
}

/// What the shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Create(Record),
    /// Replace exactly the version that the record carries.
    Replace(Record),
    /// Come back after this long.
    Sleep(Duration),
    /// Stop acting, at once.
    Leave(Lost),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The record as it is after a read or a write; `None`: there is none.
    Record(Option<Record>),
    /// The write was refused: the record has changed, appeared or gone.
    Conflict,
    /// No answer, or an error. A write may or may not have happened.
    Failed,
}

#[derive(Clone, Debug)]
struct Held {
    transitions: i32,
    until: Instant,
}

/// Where a round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Read the record.
    Look,
    /// The record is known: act on it.
    Judge,
    /// Sleep; then look, or judge if the version that we wrote last is known.
    Rest { then_look: bool, hurry: bool },
}

/// One candidate. Ask [`Candidate::next`], do it, tell [`Candidate::answered`].
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    timing: Timing,
    seen: Option<Seen>,
    held: Option<Held>,
    phase: Phase,
    lost: Option<Lost>,
}

impl Candidate {
    /// `me` must differ from every other candidate's, a previous process of the same pod included.
    pub fn new(me: String, timing: Timing) -> Self {
        Self { me, timing, seen: None, held: None, phase: Phase::Look, lost: None }
    }

    pub fn me(&self) -> &str {
        &self.me
    }

    /// The fence while we lead, and until when that is sure.
    pub fn leads(&self, now: Instant) -> Option<(Fence, Instant)> {
        let held = self.held.as_ref().filter(|held| now < held.until && self.lost.is_none())?;
        Some((Fence { holder: self.me.clone(), transitions: held.transitions }, held.until))
    }

    /// Who leads, as far as we have seen.
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|seen| seen.record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// `jitter` in 0..1 spreads the candidates' rounds.
    pub fn next(&mut self, now: Instant, jitter: f64) -> Action {
        if self.held.as_ref().is_some_and(|held| now >= held.until) {
            self.lost.get_or_insert(Lost::Deadline);
        }
        if let Some(lost) = &self.lost {
            return Action::Leave(lost.clone());
        }
        match self.phase {
            Phase::Look => Action::Read,
            Phase::Judge => self.judge(now, jitter),
            Phase::Rest { then_look, hurry } => {
                self.phase = if then_look { Phase::Look } else { Phase::Judge };
                let pause = if hurry { self.timing.retry / 2 } else { self.timing.retry };
                Action::Sleep(pause.mul_f64(1.0 + jitter / 5.0))
            }
        }
    }

    fn judge(&mut self, now: Instant, jitter: f64) -> Action {
        let seen = self.seen.as_ref().map(|seen| seen.record.clone());
        match (decide(&self.me, self.seen.as_ref(), &self.timing, now), seen) {
            (Step::Acquire, Some(seen)) => {
                Action::Replace(self.claim(seen.transitions.saturating_add(1), seen.version))
            }
            (Step::Renew, Some(seen)) => Action::Replace(Record { lease: self.timing.lease, ..seen }),
            (Step::Wait(left), _) => {
                self.phase = Phase::Look;
                // Not past the moment at which the lease is over.
                Action::Sleep(self.timing.retry.mul_f64(1.0 + jitter / 5.0).min(left))
            }
            (Step::Create | Step::Acquire | Step::Renew, _) => Action::Create(self.claim(0, String::new())),
        }
    }

    fn claim(&self, transitions: i32, version: String) -> Record {
        Record { holder: self.me.clone(), transitions, lease: self.timing.lease, acquired: None, version }
    }

    /// `sent` is when the request of `action` was started, `now` when it ended.
    pub fn answered(&mut self, action: &Action, sent: Instant, now: Instant, answer: Answer) {
        let leading = self.held.is_some();
        self.phase = match (action, answer) {
            (Action::Read, Answer::Record(record)) => {
                self.lost = self.lost.take().or_else(|| self.lost_to(record.as_ref()));
                self.see(record, now);
                Phase::Judge
            }
            (Action::Create(_) | Action::Replace(_), Answer::Record(Some(record))) => {
                let until = sent + self.timing.renew_deadline;
                self.held = Some(Held { transitions: record.transitions, until });
                self.see(Some(record), now);
                Phase::Rest { then_look: false, hurry: false }
            }
            // Somebody wrote. Who leads cannot wait to know whether they still do.
            (Action::Create(_) | Action::Replace(_), Answer::Conflict) if leading => Phase::Look,
            _ => Phase::Rest { then_look: true, hurry: leading },
        };
    }

    fn lost_to(&self, record: Option<&Record>) -> Option<Lost> {
        self.held.as_ref()?;
        match record {
            None => Some(Lost::Deleted),
            Some(record) if record.holder != self.me => Some(Lost::Taken { by: record.holder.clone() }),
            Some(_) => None,
        }
    }

    /// The time since which a version is known counts from when we first saw it.
    fn see(&mut self, record: Option<Record>, now: Instant) {
        self.seen = record.map(|record| match self.seen.take() {
            Some(seen) if seen.record == record => seen,
            _ => Seen { record, since: now },
        });
    }
}

#[cfg(test)]
mod tests;
