//! Brings an answer to the DNS servers and sees that it stays there: a task for each name, apart from the passes, because a
//! server that is down answers seconds late or never, and probers must be heard meanwhile.
//!
//! Every write can be repeated; where the provider knows a compare-and-swap, it says what it replaces, so that one that is
//! late does no harm. Nothing is written without the Lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::error::{Categorised as _, Category, with_causes};
use crate::leader::{Fence, Leadership};
use crate::publish::{Agreement, Answer, DnsName, Expected, Owner, Ownership, PublishError, Publisher, RecordSet};

/// Between two looks whether all servers tell the answer, at least; an eighth of the time that one is behind, so that how
/// long it took is known to that part; and [`DRIFT`] at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
/// Between two tries that fail, doubled from the first to the last: a server that comes back is caught up with soon.
const FIRST_TRY: Duration = Duration::from_millis(250);
const LAST_TRY: Duration = Duration::from_secs(5);
/// What a provider that is busy may ask for.
const LONGEST_REST: Duration = Duration::from_mins(5);
/// Tries of what a person has to mend.
const REFUSED_TRY: Duration = Duration::from_secs(30);
/// Between two looks whether the answer is still there.
const DRIFT: Duration = Duration::from_secs(30);
/// Others write at the same name: more often in a row than that is a fight.
const CONFLICTS: usize = 3;

/// What is to be answered.
#[derive(Clone)]
pub struct Wanted {
    pub publisher: Arc<dyn Publisher>,
    pub owner: Owner,
    pub sets: Vec<RecordSet>,
    /// Names that are no longer answered for.
    pub gone: Vec<DnsName>,
    /// When it was decided, for the time that it takes.
    pub decided: Instant,
}

impl Wanted {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.publisher, &other.publisher) && self.sets == other.sets && self.gone == other.gone
    }
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Progress {
    /// Nothing has been tried yet.
    #[default]
    Begun,
    /// A server has it, and these do not tell it yet: each with what it tells.
    Behind(Vec<String>),
    /// Every authoritative server tells it.
    Everywhere {
        servers: usize,
    },
    Failed {
        reason: &'static str,
        message: String,
        must_act: bool,
    },
    /// Somebody else holds the Lease.
    NotLeader,
}

/// Progress of the sets that it speaks of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub sets: Vec<RecordSet>,
    /// Names that were withdrawn.
    pub withdrawn: Vec<DnsName>,
    pub progress: Progress,
    /// From the decision until every server told it.
    pub took: Option<Duration>,
}

/// The task of one name, until it is dropped.
pub struct Publication {
    wanted: watch::Sender<Option<Wanted>>,
    told: watch::Receiver<Told>,
    task: JoinHandle<()>,
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publication {
    /// `poke` has the name looked at when there is something to tell.
    pub fn start(leadership: Leadership, clock: Arc<dyn Clock>, poke: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (wanted, asked) = watch::channel(None);
        let (tell, told) = watch::channel(Told::default());
        let task = tokio::spawn(Task { tell, known: BTreeMap::new(), leadership, clock, poke }.run(asked));
        Self { wanted, told, task }
    }

    /// Does nothing if it is what was wanted last.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|last| {
            let is_new = last.as_ref().is_none_or(|last| !last.is(&wanted));
            if is_new {
                *last = Some(wanted);
            }
            is_new
        });
    }

    /// Nothing is published any more; what is there stays.
    pub fn rest(&self) {
        self.wanted.send_if_modified(|last| last.take().is_some());
    }

    pub fn told(&self) -> Told {
        self.told.borrow().clone()
    }
}

struct Task {
    tell: watch::Sender<Told>,
    /// What a server had when we last saw it.
    known: BTreeMap<DnsName, Expected>,
    leadership: Leadership,
    clock: Arc<dyn Clock>,
    poke: Arc<dyn Fn() + Send + Sync>,
}

impl Task {
    async fn run(mut self, mut asked: watch::Receiver<Option<Wanted>>) {
        let mut patience = Patience::default();
        loop {
            let wanted = asked.borrow_and_update().clone();
            let Some(wanted) = wanted else {
                if asked.changed().await.is_err() {
                    return;
                }
                continue;
            };
            // A new answer does not wait for the end of an old one: what was asked may have been done. A provider with a
            // compare-and-swap finds it then, and others see to it that it is done before they look.
            let pause = tokio::select! {
                biased;
                changed = asked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    patience = Patience::default();
                    continue;
                }
                pause = self.bring(&wanted, &mut patience) => pause,
            };
            tokio::select! {
                changed = asked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    patience = Patience::default();
                }
                () = sleep(pause) => {}
            }
        }
    }

    /// One try. How long to wait for the next.
    async fn bring(&mut self, wanted: &Wanted, patience: &mut Patience) -> Duration {
        if let Err(failure) = self.publish_all(wanted).await {
            return self.failed(wanted, failure, patience);
        }
        match self.agreed(wanted).await {
            Ok((behind, servers)) if behind.is_empty() => {
                *patience = Patience::default();
                self.tell(wanted, Progress::Everywhere { servers });
                DRIFT
            }
            Ok((behind, _)) => {
                self.tell(wanted, Progress::Behind(behind));
                patience.look(self.clock.instant())
            }
            Err(error) => self.failed(wanted, error.into(), patience),
        }
    }

    async fn publish_all(&mut self, wanted: &Wanted) -> Result<(), Failure> {
        for set in &wanted.sets {
            self.publish(wanted, set).await?;
        }
        for name in &wanted.gone {
            self.lead()?;
            wanted.publisher.withdraw(name, &wanted.owner).await?;
            self.known.remove(name);
        }
        Ok(())
    }

    async fn publish(&mut self, wanted: &Wanted, set: &RecordSet) -> Result<(), Failure> {
        let mut conflicts = 0;
        loop {
            let claim = claim(&self.lead()?);
            let expected = self.known.get(set.name()).cloned().unwrap_or(Expected::Nothing);
            match wanted.publisher.publish(&set.claiming(claim), &expected).await {
                Ok(_) => {
                    self.known.insert(set.name().clone(), Expected::Ours(set.addresses().clone()));
                    return Ok(());
                }
                // We know less than the server does: a new leader, a restart, an edit by hand.
                Err(PublishError::Conflict { found, .. }) if conflicts < CONFLICTS => {
                    conflicts += 1;
                    self.known.insert(set.name().clone(), expected_of(*found, claim));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What servers tell that is not wanted, and how many there are.
    async fn agreed(&self, wanted: &Wanted) -> Result<(Vec<String>, usize), PublishError> {
        let (mut behind, mut servers) = (Vec::new(), 0);
        for set in &wanted.sets {
            let Agreement { agree, lag } = wanted.publisher.agreement(set).await?;
            if agree.is_empty() && lag.is_empty() {
                behind.push(format!("{}: no server is known", set.name()));
            }
            servers = servers.max(agree.len() + lag.len());
            behind.extend(lag.iter().map(|(server, lag)| format!("{server}: {} {lag}", set.name())));
        }
        Ok((behind, servers))
    }

    fn lead(&self) -> Result<Fence, Failure> {
        self.leadership.fence(self.clock.instant()).ok_or(Failure::NotLeader)
    }

    fn failed(&self, wanted: &Wanted, failure: Failure, patience: &mut Patience) -> Duration {
        match failure {
            Failure::NotLeader => {
                self.tell(wanted, Progress::NotLeader);
                LAST_TRY
            }
            Failure::Publish(error) => {
                let must_act = error.category() == Category::UserMustAct;
                let (reason, message) = (error.reason(), with_causes(&error));
                self.tell(wanted, Progress::Failed { reason, message, must_act });
                let asked_for = error.retry_after().unwrap_or_default().min(LONGEST_REST);
                if must_act { REFUSED_TRY } else { patience.next_try().max(asked_for) }
            }
        }
    }

    fn tell(&self, wanted: &Wanted, progress: Progress) {
        let news = self.tell.send_if_modified(|told| {
            let is_same = told.sets == wanted.sets && told.withdrawn == wanted.gone;
            if is_same && told.progress == progress {
                return false;
            }
            let first = matches!(progress, Progress::Everywhere { .. }) && !(is_same && told.took.is_some());
            let took = if first {
                Some(self.clock.instant().saturating_duration_since(wanted.decided))
            } else {
                told.took.filter(|_| is_same)
            };
            *told = Told { sets: wanted.sets.clone(), withdrawn: wanted.gone.clone(), progress, took };
            true
        });
        if news {
            (self.poke)();
        }
    }
}

/// A number for each process that ever leads: holders' names are.
fn claim(fence: &Fence) -> u32 {
    let digest = Sha256::digest(&fence.holder);
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]).max(1)
}

/// After a conflict, which is about a set of our own, or one that is gone. What another process of ours wrote is claimed, so
/// that nothing that it has sent meanwhile succeeds.
fn expected_of(found: Answer, claim: u32) -> Expected {
    match &found.owner {
        Ownership::Owner(owner) if owner.claim() == claim => Expected::Ours(found.addresses),
        Ownership::Nobody if found.addresses.is_empty() => Expected::Nothing,
        _ => Expected::TakeOver(found),
    }
}

enum Failure {
    NotLeader,
    Publish(PublishError),
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        if error.is_of_a_former_leader() { Self::NotLeader } else { Self::Publish(error) }
    }
}

/// How long an answer has been on its way.
#[derive(Default)]
struct Patience {
    /// That failed, in a row.
    tries: u32,
    behind_since: Option<Instant>,
}

impl Patience {
    fn next_try(&mut self) -> Duration {
        self.tries = self.tries.saturating_add(1);
        FIRST_TRY.saturating_mul(1 << (self.tries - 1).min(16)).min(LAST_TRY)
    }

    fn look(&mut self, now: Instant) -> Duration {
        let since = *self.behind_since.get_or_insert(now);
        (now.saturating_duration_since(since) / 8).clamp(SHORTEST_LOOK, DRIFT)
    }
}

#[cfg(test)]
mod tests;
