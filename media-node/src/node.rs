//! What the parts of one process know of each other: its life, its sessions, its counters.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rtcfleet_node_api::{Counters, NodeState, NodeStatus, Sessions, SetState};
use tokio::sync::Notify;

use crate::{
    life::{Duty, Life, Refusal},
    machine::Machine,
    turn::{certificate::Certificate, limits::LimitsFile, probe, role::Turn},
};

/// Release of this binary.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One process.
#[derive(Debug)]
pub struct Node {
    life: Mutex<Life>,
    config_hash: String,
    started_at: Timestamp,
    /// Set once the role serves.
    turn: OnceLock<Turn>,
    pub machine: Arc<Machine>,
    pub peer_rules: probe::Findings,
    pub relaying: probe::Verdicts,
    /// Somebody changed the life: look at it before the next tick.
    pub changed: Notify,
}

impl Node {
    pub fn new(config_hash: String, started_at: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            life: Mutex::default(),
            config_hash,
            started_at,
            turn: OnceLock::new(),
            machine: Arc::default(),
            peer_rules: probe::Findings::default(),
            relaying: probe::Verdicts::default(),
            changed: Notify::new(),
        })
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The role serves from now on.
    pub fn opened(&self, turn: Turn) {
        let _ = self.turn.set(turn);
        self.change(Life::handle_opened);
    }

    /// Active with nothing behind it.
    #[cfg(test)]
    pub fn open_without_role(&self) {
        self.change(Life::handle_opened);
    }

    pub fn set_state(&self, wanted: SetState, now: Timestamp) -> Result<(), Refusal> {
        self.change(|life| life.handle_set(wanted, now))
    }

    pub fn signal(&self, now: Timestamp, grace: Duration) {
        self.change(|life| life.handle_signal(now, grace));
    }

    pub fn tick(&self, now: Timestamp) -> Duty {
        let sessions = self.sessions().allocations;
        self.change(|life| life.handle_tick(now, sessions))
    }

    /// Changes the life, says so in the log, and tells whoever grants sessions before anybody can see the new state.
    fn change<T>(&self, change: impl FnOnce(&mut Life) -> T) -> T {
        let mut life = self.life();
        let before = (life.state(), life.drain());
        let result = change(&mut life);
        let after = (life.state(), life.drain());
        if let Some(turn) = self.turn.get() {
            turn.shared.set_drain(life.refuses_sessions().cloned());
        }
        if before != after {
            let sessions = self.sessions().allocations;
            match after {
                (state, Some(drain)) => tracing::info!(
                    from = ?before.0, to = ?state, sessions, deadline = %drain.deadline, terminating = drain.terminating,
                    alternates = ?drain.alternates, "state"
                ),
                (state, None) => tracing::info!(from = ?before.0, to = ?state, sessions, "state"),
            }
            self.changed.notify_one();
        }
        result
    }

    pub fn state(&self) -> NodeState {
        self.life().state()
    }

    pub fn drain(&self) -> Option<rtcfleet_node_api::Drain> {
        self.life().drain()
    }

    pub fn turn(&self) -> Option<&Turn> {
        self.turn.get()
    }

    fn sessions(&self) -> Sessions {
        let of_clients = |turn: &Turn| turn.shared.admitted_but_of(probe::PROBES);
        Sessions { allocations: self.turn.get().map_or(0, of_clients).into() }
    }

    pub fn status(&self) -> NodeStatus {
        let (state, drain) = {
            let life = self.life();
            (life.state(), life.drain())
        };
        NodeStatus {
            state,
            version: VERSION.to_owned(),
            config_hash: self.config_hash.clone(),
            started_at: self.started_at,
            public_addresses: self.turn.get().map_or_else(Vec::new, Turn::public_addresses),
            drain,
            sessions: self.sessions(),
            counters: self.turn.get().map_or_else(Counters::default, Turn::counters),
            certificate: self.turn.get().and_then(Turn::certificate).map(Certificate::status),
            limits: self.turn.get().and_then(Turn::limits).map(LimitsFile::status),
            peer_rules: self.peer_rules.read().last,
            relaying: self.relaying.last(),
            load: self.machine.seen(Instant::now()).and_then(|seen| seen.load),
        }
    }
}
