//! The limits file, followed while it changes. What it says is put in force as a whole or not at all: a file that is gone
//! or wrong leaves what was read before.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rtcfleet_node_api as api;
use tokio::{sync::watch, time::sleep};

use super::proto::Shared;
use crate::config::{self, Adjustable, ConfigError, ConfigHash, Overrides};

/// Between two looks at the file.
const AGAIN: Duration = Duration::from_secs(2);

/// What was read last, and how the file is now.
#[derive(Debug)]
pub struct LimitsFile {
    path: PathBuf,
    overrides: Overrides,
    state: Mutex<State>,
    errors: AtomicU64,
}

#[derive(Clone, Debug)]
struct State {
    hash: ConfigHash,
    changed_at: Timestamp,
    problem: Option<String>,
}

impl LimitsFile {
    pub fn load(path: PathBuf, overrides: Overrides, now: Timestamp) -> Result<(Self, Adjustable), ConfigError> {
        let (adjustable, hash) = config::load_limits(&path, &overrides)?;
        let state = Mutex::new(State { hash, changed_at: now, problem: None });
        Ok((Self { path, overrides, state, errors: AtomicU64::new(0) }, adjustable))
    }

    /// Reads the file again. Something if it says something else; an error leaves what was.
    pub fn refresh(&self, now: Timestamp) -> Result<Option<Adjustable>, ConfigError> {
        let read = config::load_limits(&self.path, &self.overrides);
        let mut state = self.state();
        state.problem = read.as_ref().err().map(shortened);
        if read.is_err() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        let (adjustable, hash) = read?;
        if hash == state.hash {
            return Ok(None);
        }
        (state.hash, state.changed_at) = (hash, now);
        Ok(Some(adjustable))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn status(&self) -> api::Limits {
        let State { hash, problem, .. } = self.state().clone();
        api::Limits { hash: hash.to_string(), problem }
    }

    /// When those in force were read.
    pub fn changed_at(&self) -> Timestamp {
        self.state().changed_at
    }

    /// Looks at the file that failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

fn shortened(error: &impl fmt::Display) -> String {
    error.to_string().chars().take(api::MAX_PROBLEM).collect()
}

/// Looks at the file from now on, and puts in force what it says: for the shards by `shared`, for all others by `adjusted`.
/// What is wrong with it is said once.
pub async fn follow(file: Arc<LimitsFile>, shared: Arc<Shared>, adjusted: watch::Sender<Adjustable>) {
    let mut said = String::new();
    loop {
        sleep(AGAIN).await;
        match file.refresh(Timestamp::now()) {
            Ok(None) => said.clear(),
            Ok(Some(adjustable)) => {
                said.clear();
                put_in_force(adjustable, &shared, &adjusted);
                tracing::info!(hash = file.status().hash, "other limits are in force from now on");
            }
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                tracing::warn!(%error, "the limits file cannot be used: what was read before stays in force");
            }
            Err(_) => {}
        }
    }
}

/// Nothing is awaited in between: a task that sees one of the two sees the other as well.
fn put_in_force(adjustable: Adjustable, shared: &Shared, adjusted: &watch::Sender<Adjustable>) {
    shared.set_terms(adjustable.terms.clone());
    adjusted.send_replace(adjustable);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::proto::test_support::World;

    struct Files {
        directory: tempfile::TempDir,
        limits: LimitsFile,
    }

    impl Files {
        fn new(text: &str) -> (Self, Adjustable) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("limits.yaml");
            std::fs::write(&path, text).unwrap();
            let (limits, adjustable) = LimitsFile::load(path, Overrides::default(), Timestamp::UNIX_EPOCH).unwrap();
            (Self { directory, limits }, adjustable)
        }

        fn write(&self, text: &str) {
            std::fs::write(self.directory.path().join("limits.yaml"), text).unwrap();
        }

        fn refresh(&self) -> Result<Option<Adjustable>, ConfigError> {
            self.limits.refresh(Timestamp::from_second(1_800_000_000).unwrap())
        }
    }

    #[test]
    fn the_file_is_followed_and_what_was_read_last_stays_while_it_is_wrong() {
        let (files, first) = Files::new("quotas: {allocations: 50}");
        assert_eq!(first.terms.quotas.total, 50);
        assert!(files.refresh().unwrap().is_none(), "the same");
        let before = files.limits.status();

        files.write("quotas: {allocations: none}\nlisteners: []\n");
        let error = files.refresh().unwrap_err().to_string();
        assert!(error.contains("limits.yaml: quotas.allocations: ") && error.contains("write"), "{error}");
        assert!(error.contains("limits.yaml: listeners: there is no such key"), "every mistake: {error}");
        let status = files.limits.status();
        assert_eq!((status.hash, status.problem), (before.hash.clone(), Some(error)));
        assert_eq!((files.limits.errors(), files.limits.changed_at()), (1, Timestamp::UNIX_EPOCH));

        files.write("quotas: {allocations: 51}");
        assert_eq!(files.refresh().unwrap().unwrap().terms.quotas.total, 51);
        let status = files.limits.status();
        assert!(status.hash != before.hash && status.problem.is_none(), "{status:?}");
        assert_eq!(files.limits.changed_at().as_second(), 1_800_000_000);

        std::fs::remove_file(files.directory.path().join("limits.yaml")).unwrap();
        assert!(files.refresh().is_err());
        assert_eq!(files.limits.status().hash, status.hash);
    }

    #[test]
    fn a_file_with_many_mistakes_is_told_in_bounded_length() {
        let (files, _) = Files::new("{}");
        let wrong: String = (0..90).map(|n| format!("key{n}: {}\n", "x".repeat(100))).collect();
        files.write(&wrong);
        files.refresh().unwrap_err();
        assert_eq!(files.limits.status().problem.unwrap().chars().count(), api::MAX_PROBLEM);
    }

    #[test]
    fn what_is_put_in_force_is_told_to_shards_and_to_all_others() {
        let world = World::new();
        let (_, adjustable) = Files::new("{quotas: {allocations: 5}, capacity: {nic: {tx: 1G}}}");
        let adjusted = watch::Sender::new(Adjustable::default());
        put_in_force(adjustable.clone(), &world.shared, &adjusted);
        assert_eq!(*world.shared.terms(), adjustable.terms);
        assert_eq!(adjusted.borrow().capacity.sent, Some(1_000_000_000));
    }
}
