//! Does what the candidate says: requests, sleeps, and tells everybody in the process.

use std::time::{Duration, Instant};

use rand::{RngExt as _, rngs::StdRng};
use tokio::sync::oneshot;

use super::{Action, Answer, Candidate, Leadership, LeaseApi, LeaseError, Lost};
use crate::{admin::Heartbeat, metrics::Metrics};

/// Runs one candidate against one Lease.
pub struct Elector<A> {
    pub candidate: Candidate,
    pub api: A,
    pub rng: StdRng,
    pub leadership: Leadership,
    pub metrics: Metrics,
    pub heartbeat: Heartbeat,
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
    /// Until this process leads. Never gives up.
    pub async fn acquire(&mut self) {
        let mut told = None;
        while self.candidate.leads(now()).is_none() {
            // Only a holder is told to leave.
            let _ = self.round().await;
            let holder = self.candidate.holder().map(str::to_owned);
            if holder != told && holder.as_deref() != Some(self.candidate.me()) {
                tracing::info!(holder = holder.as_deref().unwrap_or("nobody"), "standing by for the lease");
                told = holder;
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
                self.api.replace(&super::Record { holder: String::new(), ..record }).await.map(drop)
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
            Action::Read => answer(self.until_over(self.api.read()).await),
            Action::Create(record) => answer(self.until_over(self.api.create(record)).await.map(Some)),
            Action::Replace(record) => answer(self.until_over(self.api.replace(record)).await.map(Some)),
        };
        self.candidate.answered(&action, sent, now(), answer);
        None
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

fn answer(result: Result<Option<super::Record>, LeaseError>) -> Answer {
    match result {
        Ok(record) => Answer::Record(record),
        Err(LeaseError::Conflict) => Answer::Conflict,
        Err(error) => {
            tracing::warn!(%error, "a request about the lease failed");
            Answer::Failed
        }
    }
}
