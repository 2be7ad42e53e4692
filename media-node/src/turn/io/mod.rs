//! The sockets around [`proto`](super::proto): one thread a core, each with its own sockets (`SO_REUSEPORT`), its own
//! `Server` and nothing shared. Per packet there is no lock, no allocation and less than one system call.

pub mod counters;
mod relays;
mod shard;
mod sockets;
mod sys;

use std::{
    io,
    num::NonZeroUsize,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};
use tokio::sync::mpsc;

use self::{relays::Descriptors, shard::Shard};
use super::proto::{Server, ServerConfig, ShardIndex, Shared};

pub use self::{
    shard::Control,
    sockets::{ListenError, Listener, asked_buffer, open_listeners},
};

/// File descriptors kept for everything that is no relay socket: listeners, admin, metrics, files.
const OTHER_DESCRIPTORS: u64 = 512;

/// The threads of a node.
pub struct Shards {
    threads: Vec<JoinHandle<io::Result<()>>>,
    controls: Vec<Arc<Control>>,
    ended: mpsc::UnboundedReceiver<usize>,
}

/// Why a thread is not there.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    #[error("thread {shard} could not be started: {source}: raise the limits on threads and file descriptors")]
    NotStarted { shard: usize, source: io::Error },
    #[error("thread {shard} failed: {source}: this ends the process, because its clients have no other")]
    Failed { shard: usize, source: io::Error },
    #[error("thread {shard} panicked, see the message above: this ends the process, because its clients have no other")]
    Panicked { shard: usize },
}

/// Tells that a thread has ended, however it did.
struct Ended {
    shard: usize,
    tell: mpsc::UnboundedSender<usize>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.tell.send(self.shard);
    }
}

impl Shards {
    /// Starts one thread for each list of `listeners`; together they open at most `descriptors` relay sockets.
    pub fn start(
        config: &Arc<ServerConfig>,
        shared: &Arc<Shared>,
        listeners: Vec<Vec<Listener>>,
        descriptors: u64,
    ) -> Result<Self, ShardError> {
        let (tell, ended) = mpsc::unbounded_channel();
        let descriptors = Arc::new(Descriptors::new(descriptors));
        let cores = cores_to_pin(listeners.len());
        let mut shards = Self { threads: Vec::new(), controls: Vec::new(), ended };
        for (index, listeners) in listeners.into_iter().enumerate() {
            let not_started = |source| ShardError::NotStarted { shard: index, source };
            let control = Arc::new(Control::new().map_err(not_started)?);
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| not_started(error.into()))?;
            let number = ShardIndex(u16::try_from(index).unwrap_or(u16::MAX));
            let (config, shared, its_control, descriptors) =
                (Arc::clone(config), Arc::clone(shared), Arc::clone(&control), Arc::clone(&descriptors));
            let core = cores.get(index).copied();
            let ended = Ended { shard: index, tell: tell.clone() };
            let thread = thread::Builder::new().name(format!("turn-{index}")).spawn(move || {
                let _ended = ended;
                if let Some(core) = core {
                    pin(core);
                }
                let server = Server::new(config, shared, number, seed);
                Shard::new(server, its_control, listeners, descriptors)?.run()
            });
            shards.threads.push(thread.map_err(not_started)?);
            shards.controls.push(control);
        }
        Ok(shards)
    }

    pub fn controls(&self) -> Vec<Arc<Control>> {
        self.controls.clone()
    }

    pub fn close_all(&self) {
        self.controls.iter().for_each(|control| control.close_all());
    }

    /// Returns when a thread ends that was not told to, with the reason.
    pub async fn failed(&mut self) -> ShardError {
        let Some(shard) = self.ended.recv().await else { return std::future::pending().await };
        if shard >= self.threads.len() {
            return ShardError::Panicked { shard };
        }
        match self.threads.swap_remove(shard).join() {
            Ok(Ok(())) => ShardError::Failed { shard, source: io::ErrorKind::UnexpectedEof.into() },
            Ok(Err(source)) => ShardError::Failed { shard, source },
            Err(_panic) => ShardError::Panicked { shard },
        }
    }

    /// Ends the threads, and waits for them up to `limit`.
    pub fn stop(self, limit: Duration) {
        self.controls.iter().for_each(|control| control.stop());
        let deadline = Instant::now() + limit;
        while !self.threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// One core a thread, if there are as many of one as of the other. With fewer threads the kernel's choice is better: it
/// knows what else runs, and two nodes on one machine would pin theirs to the same cores.
fn cores_to_pin(threads: usize) -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    let cores: Vec<_> = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect();
    if cores.len() == threads { cores } else { Vec::new() }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        tracing::warn!(core, %error, "a thread could not be pinned to its core and runs where the kernel puts it");
    }
}

/// One a core that the process may use; a container's CPU limit counts.
pub fn default_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How many relay sockets fit into a limit on open files.
pub fn relay_descriptors(limit: u64) -> u64 {
    limit.saturating_sub(OTHER_DESCRIPTORS).max(1)
}

/// Raises the limit on open files as far as it goes. Returns it before and after.
pub fn raise_descriptor_limit() -> io::Result<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok((soft, hard))
}
