//! Does what the candidate says: requests, sleeps, and tells everybody in the process.

use std::time::{Duration, Instant};

use rand::{RngExt as _, rngs::StdRng};
use tokio::sync::oneshot;

use super::{Action, Answer, Candidate, Leadership, LeaseApi, LeaseError, Lost, Record};
use crate::{admin::Heartbeat, metrics::Metrics};

/// Runs one candidate against one Lease.
pub struct Elector<A> {
    candidate: Candidate,
    api: A,
    rng: StdRng,
    leadership: Leadership,
    metrics: Metrics,
    heartbeat: Heartbeat,
    /// The last request failed.
    fails: bool,
}

/// Why leading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody else may act by now: leave the process at once.
    Lost(Lost),
    /// We gave it up, and a successor can take over at once.
    Released,
}

impl<A: LeaseApi> Elector<A> {
    /// `leadership` and `metrics` are told; `heartbeat` beats once a round, whatever the API server does.
    pub fn new(
        candidate: Candidate,
        api: A,
        rng: StdRng,
        leadership: Leadership,
        metrics: Metrics,
        heartbeat: Heartbeat,
    ) -> Self {
        Self { candidate, api, rng, leadership, metrics, heartbeat, fails: false }
    }

    /// Until this process leads. Never gives up.
    pub async fn acquire(&mut self) {
        let mut told: Option<String> = None;
        while self.candidate.leads(now()).is_none() {
            // Only a holder is told to leave.
            let _ = self.round().await;
            let other = self.candidate.holder().filter(|holder| *holder != self.candidate.me()).map(str::to_owned);
            if let Some(holder) = other.filter(|holder| told.as_ref() != Some(holder)) {
                tracing::info!(holder, "standing by for the lease");
                told = Some(holder);
            }
        }
        self.publish();
        tracing::info!(identity = self.candidate.me(), "holding the lease: this replica acts");
    }

    /// Renews until the lease is lost, or until `stop` says (or is dropped) that there is nothing left to do.
    pub async fn keep(&mut self, mut stop: oneshot::Receiver<()>) -> Ended {
        loop {
            let ended = tokio::select! {
                biased;
                lost = self.round() => lost,
                _ = &mut stop => {
                    self.release().await;
                    return Ended::Released;
                }
            };
            self.publish();
            if let Some(lost) = ended {
                return Ended::Lost(lost);
            }
        }
    }

    /// Best effort: without it a successor waits until the lease is over.
    async fn release(&mut self) {
        self.leadership.set(None);
        self.metrics.leads(false);
        // A renewal may have been cut off, so the version that we know may be the one before: read it again.
        let freed = match self.api.read().await {
            Ok(Some(record)) if record.holder == self.candidate.me() => {
                self.api.replace(&Record { holder: String::new(), ..record }).await.map(drop)
            }
            Ok(_) => return,
            Err(error) => Err(error),
        };
        match freed {
            Ok(()) => tracing::info!("released the lease"),
            Err(error) => tracing::warn!(%error, "the lease was not released; a successor waits until it is over"),
        }
    }

    async fn round(&mut self) -> Option<Lost> {
        let jitter = self.rng.random_range(0.0..1.0);
        self.heartbeat.beat();
        let sent = now();
        let action = self.candidate.next(sent, jitter);
        let answer = match &action {
            Action::Leave(lost) => return Some(lost.clone()),
            Action::Sleep(pause) => {
                self.sleep(*pause).await;
                return None;
            }
            Action::Read => self.until_over(self.api.read()).await,
            Action::Create(record) => self.until_over(self.api.create(record)).await.map(Some),
            Action::Replace(record) => self.until_over(self.api.replace(record)).await.map(Some),
        };
        let answer = self.answer(answer);
        self.candidate.answered(&action, sent, now(), answer);
        None
    }

    /// An API server that is away is told about once, and once when it is back.
    fn answer(&mut self, result: Result<Option<Record>, LeaseError>) -> Answer {
        let (answer, fails) = match result {
            Ok(record) => (Answer::Record(record), false),
            Err(LeaseError::Conflict) => (Answer::Conflict, false),
            Err(error) => {
                if !self.fails {
                    tracing::warn!(%error, "requests about the lease fail");
                }
                (Answer::Failed, true)
            }
        };
        if self.fails && !fails {
            tracing::info!("requests about the lease succeed again");
        }
        self.fails = fails;
        answer
    }

    /// No answer is worth waiting for once the lease is over.
    async fn until_over<T>(&self, request: impl Future<Output = Result<T, LeaseError>>) -> Result<T, LeaseError> {
        match self.candidate.leads(now()) {
            None => request.await,
            Some((_, until)) => {
                tokio::time::timeout_at(until.into(), request).await.unwrap_or(Err(LeaseError::NoAnswer))
            }
        }
    }

    async fn sleep(&self, pause: Duration) {
        let end = now() + pause;
        let end = self.candidate.leads(now()).map_or(end, |(_, until)| until.min(end));
        tokio::time::sleep_until(end.into()).await;
    }

    fn publish(&self) {
        let held = self.candidate.leads(now());
        self.metrics.leads(held.is_some());
        self.leadership.set(held);
    }
}

/// tokio's clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use rand::SeedableRng as _;

    use super::*;
    use crate::{admin::Health, leader::Timing};

    /// A Lease in memory, and an API server that can be away.
    #[derive(Clone, Default)]
    struct FakeLease {
        stored: Arc<Mutex<Option<Record>>>,
        away: Arc<AtomicBool>,
    }

    impl FakeLease {
        fn up(&self) -> Result<(), LeaseError> {
            if self.away.load(Ordering::SeqCst) { Err(LeaseError::NoAnswer) } else { Ok(()) }
        }

        fn holder(&self) -> Option<String> {
            self.stored.lock().unwrap().as_ref().map(|record| record.holder.clone())
        }

        fn store(&self, record: &Record, expected: Option<&str>) -> Result<Record, LeaseError> {
            self.up()?;
            let mut stored = self.stored.lock().unwrap();
            if stored.as_ref().map(|record| record.version.as_str()) != expected {
                return Err(LeaseError::Conflict);
            }
            let version = expected.map_or(0, |version| version.parse::<u64>().unwrap()) + 1;
            let record = Record { version: version.to_string(), ..record.clone() };
            *stored = Some(record.clone());
            Ok(record)
        }
    }

    impl LeaseApi for FakeLease {
        async fn read(&self) -> Result<Option<Record>, LeaseError> {
            self.up()?;
            Ok(self.stored.lock().unwrap().clone())
        }

        async fn create(&self, record: &Record) -> Result<Record, LeaseError> {
            self.store(record, None)
        }

        async fn replace(&self, record: &Record) -> Result<Record, LeaseError> {
            self.store(record, Some(&record.version))
        }
    }

    fn elector(name: &str, lease: &FakeLease) -> Elector<FakeLease> {
        Elector::new(
            Candidate::new(name.into(), Timing::default()),
            lease.clone(),
            StdRng::seed_from_u64(1),
            Leadership::default(),
            Metrics::new(),
            Health::default().expect_beats("election", Duration::from_secs(30)),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_lease_is_taken_over_in_one_round_and_the_fence_moves_on() {
        let lease = FakeLease::default();
        let (mut first, mut second) = (elector("first", &lease), elector("second", &lease));
        first.acquire().await;
        let before = first.leadership.fence(now()).unwrap();
        let (finished, stop) = oneshot::channel();
        let shared = first.leadership.clone();
        let keeping = tokio::spawn(async move { first.keep(stop).await });
        let standby = tokio::spawn(async move {
            second.acquire().await;
            (second.leadership.fence(now()).unwrap(), now())
        });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!standby.is_finished(), "the lease is kept");

        let asked = now();
        drop(finished);
        assert_eq!(keeping.await.unwrap(), Ended::Released);
        assert_eq!(shared.fence(now()), None);
        let (after, at) = standby.await.unwrap();
        assert!(at - asked < Duration::from_secs(3), "{:?}", at - asked);
        assert_eq!((after.holder.as_str(), after.transitions), ("second", before.transitions + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_for_too_long_ends_leading() {
        let lease = FakeLease::default();
        let mut elector = elector("first", &lease);
        elector.acquire().await;
        lease.away.store(true, Ordering::SeqCst);
        let start = now();
        let (_finished, stop) = oneshot::channel();
        assert_eq!(elector.keep(stop).await, Ended::Lost(Lost::Deadline));
        assert!(now() - start <= Duration::from_secs(7));
        assert_eq!(elector.leadership.fence(now()), None);
        assert!(elector.metrics.encode().contains("rtcfleet_operator_leader 0"));
        assert_eq!(lease.holder().as_deref(), Some("first"), "only time frees it now");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_back_in_time_changes_nothing() {
        let lease = FakeLease::default();
        let mut elector = elector("first", &lease);
        elector.acquire().await;
        let (finished, stop) = oneshot::channel();
        let leadership = elector.leadership.clone();
        let keeping = tokio::spawn(async move { elector.keep(stop).await });
        lease.away.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(5)).await;
        lease.away.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(leadership.fence(now()).is_some());
        drop(finished);
        assert_eq!(keeping.await.unwrap(), Ended::Released);
        assert_eq!(lease.holder().as_deref(), Some(""));
    }
}
