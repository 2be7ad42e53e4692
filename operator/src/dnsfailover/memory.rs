//! What is remembered of names from one pass to the next. Bounded by the number of names. Lost with the process: what must
//! outlive it stands in the status.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use k8s_openapi::api::core::v1::Secret;
use rtcfleet_crds::DnsFailoverStatus;

use super::dereference::{Confidential, NoPublisher};
use super::hearing::{Ears, Heard, Listener, Place};
use super::publication::Publication;
use super::validate::Provider;
use crate::failover::answer::Answer;
use crate::failover::decide::Flip;
use crate::failover::region::Region;
use crate::publish::Publisher;

/// By the uid of the object: one that is made again under its name is another one.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Name>>>>);

/// One name.
pub struct Name {
    pub heard: Arc<Heard>,
    listeners: HashMap<String, Listener>,
    pub publication: Publication,
    pub seldom: Seldom,
    /// What this process decided last; before that, the status is gone on from.
    pub decided: Option<Decided>,
    /// As this process wrote it last: the store may not have it yet.
    pub written: Option<DnsFailoverStatus>,
    /// A flip that does not stand in the status yet.
    pub untold: Option<Flip>,
    /// Why probers were not as they should be at the end of the last pass.
    pub probers: Option<(&'static str, String)>,
    pub first_look: Instant,
    /// Enough vantage points have been heard once.
    pub was_sighted: bool,
}

pub struct Decided {
    pub regions: Vec<Region>,
    pub answer: Answer,
    pub at: Instant,
}

/// What is read seldom.
#[derive(Default)]
pub struct Seldom {
    pub read: Option<Instant>,
    pub generation: i64,
    pub provider: Option<Provider>,
    pub secret: Option<Result<Confidential, NoPublisher>>,
    pub publisher: Option<Result<Arc<dyn Publisher>, NoPublisher>>,
    pub admin: Option<Secret>,
    /// Names of the Secrets with the regions' certificates.
    pub certificates: Vec<String>,
    /// PEM.
    pub authorities: Option<String>,
}

impl Name {
    pub fn new(publication: Publication, now: Instant) -> Self {
        Self {
            heard: Arc::default(),
            listeners: HashMap::new(),
            publication,
            seldom: Seldom::default(),
            decided: None,
            written: None,
            untold: None,
            probers: None,
            first_look: now,
            was_sighted: false,
        }
    }

    /// These vantage points are listened to from now on. Those at the same place are not disturbed.
    pub fn listen(&mut self, points: Vec<(String, Place)>, ears: &Ears) {
        self.listeners.retain(|name, _| points.iter().any(|(known, _)| known == name));
        for (name, place) in points {
            if self.listeners.get(&name).is_none_or(|listener| listener.place != place) {
                let listener = Listener::start(name.clone(), place, ears.clone());
                self.listeners.insert(name, listener);
            }
        }
    }
}

impl Memory {
    pub fn of(&self, uid: &str, new: impl FnOnce() -> Name) -> Arc<tokio::sync::Mutex<Name>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(uid.to_owned()).or_insert_with(|| Arc::new(tokio::sync::Mutex::new(new()))).clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// These are left, by uid.
    pub fn keep(&self, left: &HashSet<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|uid, _| left.contains(uid));
    }
}
