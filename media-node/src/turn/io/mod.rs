//! The sockets around [`proto`](super::proto): one thread a core, each with its own sockets (`SO_REUSEPORT`), its own
//! `Server` and nothing shared. Per packet there is no lock, no allocation and about one system call.

pub mod counters;
mod relays;
mod sender;
mod shard;
mod sockets;
pub mod streams;
mod sys;
mod threads;
mod to_peers;

use std::{io, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use self::{
    relays::{Descriptors, Transit},
    shard::{Mates, Shard},
    threads::Threads,
};
use super::proto::{Server, ServerConfig, ShardIndex, Shared};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};

pub use self::{
    shard::Control,
    sockets::{ListenError, Listener, asked_buffer, open_listeners},
    streams::{StreamAddress, StreamListener, open_stream_listeners},
    threads::ThreadError,
};

/// File descriptors kept for everything that is no relay socket, no connection of a client and no thread's own: admin, metrics,
/// health, files.
const OTHER_DESCRIPTORS: u64 = 512;

/// Open listeners: lists of the same length, one of each for every thread.
pub struct Listeners {
    pub udp: Vec<Vec<Listener>>,
    pub streams: Vec<Vec<StreamListener>>,
    /// For TLS listeners.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Listeners {
    /// File descriptors that threads have for themselves: their listeners, and what each waits at and is woken by.
    pub fn descriptors(&self) -> u64 {
        let sockets = self.udp.iter().map(Vec::len).chain(self.streams.iter().map(Vec::len)).sum::<usize>();
        (sockets + 2 * self.udp.len()) as u64
    }
}

/// The threads of a node and how to reach them.
pub struct Shards {
    threads: Threads,
    controls: Vec<Arc<Control>>,
}

impl Shards {
    /// Starts one thread for each list of listeners; together they have at most `descriptors` relay sockets and connections.
    pub fn start(
        config: &Arc<ServerConfig>,
        shared: &Arc<Shared>,
        listeners: Listeners,
        descriptors: u64,
    ) -> Result<Self, ThreadError> {
        let Listeners { udp: listeners, streams, tls } = listeners;
        let count = descriptors;
        let descriptors = Arc::new(Descriptors::new(count));
        let common = Arc::new(streams::Common::new(Arc::clone(&descriptors), count, tls, streams::Limits::default()));
        let transit = Arc::new(Transit::default());
        let cores = cores_to_pin(listeners.len());
        let mut shards = Self { threads: Threads::new(), controls: Vec::new() };
        for thread in 0..listeners.len() {
            let control = Control::new().map_err(|source| ThreadError::NotStarted { thread, source })?;
            shards.controls.push(Arc::new(control));
        }
        for (thread, (listeners, streams)) in listeners.into_iter().zip(streams).enumerate() {
            let not_started = |source| ThreadError::NotStarted { thread, source };
            let controls = shards.controls();
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| not_started(error.into()))?;
            let number = ShardIndex(u16::try_from(thread).unwrap_or(u16::MAX));
            let (config, shared, descriptors) = (Arc::clone(config), Arc::clone(shared), Arc::clone(&descriptors));
            let (core, streams) = (cores.get(thread).copied(), (streams, Arc::clone(&common)));
            let transit = Arc::clone(&transit);
            shards.threads.spawn(move || {
                if let Some(core) = core {
                    pin(core);
                }
                let server = Server::new(config, shared, number, seed);
                let mates = Mates { number, controls };
                Shard::new(server, mates, listeners, streams, (descriptors, transit))?.run()
            })?;
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
    pub async fn failed(&mut self) -> ThreadError {
        self.threads.failed().await
    }

    /// Ends the threads, and waits for them up to `limit`.
    pub fn stop(self, limit: Duration) {
        self.controls.iter().for_each(|control| control.stop());
        self.threads.join(limit);
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

/// How many relay sockets and connections fit into a limit on open files, when threads have so many for themselves.
pub fn relay_descriptors(limit: u64, of_threads: u64) -> u64 {
    limit.saturating_sub(OTHER_DESCRIPTORS + of_threads).max(1)
}

/// Raises the limit on open files as far as it goes. Returns it before and after.
pub fn raise_descriptor_limit() -> io::Result<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok((soft, hard))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::turn::proto::Transport;

    #[test]
    fn the_listeners_of_many_threads_take_nothing_from_health_and_metrics() {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let stream = StreamAddress { index: 1, address: here, transport: Transport::Tcp };
        // Port 0 is another port each time, so the threads' sockets need not share one.
        let listeners = Listeners {
            udp: open_listeners(&[(0, here)], 100).unwrap(),
            streams: open_stream_listeners(&[stream], 100).unwrap(),
            tls: None,
        };
        assert_eq!(listeners.descriptors(), 400);
        assert_eq!(relay_descriptors(1024, listeners.descriptors()), 1024 - 512 - 400);
        assert_eq!(relay_descriptors(600, listeners.descriptors()), 1, "the node starts, and says how few fit");
    }
}
