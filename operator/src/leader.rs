//! Which replica acts: a Lease, taken and renewed under optimistic concurrency.
//!
//! A holder stops believing [`Timing::renew_deadline`] after the *start* of its last successful write. Others take over
//! [`Timing::lease`] after they *saw* the record change last, which is no earlier than that write. So as long as the
//! machines' clocks run at rates within 10:7 of each other, no two believe at the same time, whatever their dates say.
//! A holder that stalls (a stopped process, a frozen machine) can still act late with what it decided before; writes
//! outside the cluster therefore carry a [`Fence`].

mod candidate;
mod elector;
mod lease;

pub use candidate::{Action, Answer, Candidate, Lost, Record, Step, Timing, decide};
pub use elector::{Elector, Ended};
pub use lease::{KubeLease, LeaseApi, LeaseError, client_config, holder_pod, identity};

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// Who writes, and the how-manieth holder that is. Grows with every change of holder, so that an outside record that
/// carries it can refuse an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub holder: String,
    pub transitions: i32,
}

/// Whether this process leads, as seen by everybody in it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Leadership(Arc<Mutex<Option<(Fence, Instant)>>>);

impl Leadership {
    /// The fence while the lease is surely ours; `None` otherwise: then do not write.
    pub fn fence(&self, now: Instant) -> Option<Fence> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|(_, until)| now < *until).map(|(fence, _)| fence.clone())
    }

    pub(crate) fn set(&self, held: Option<(Fence, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }
}
