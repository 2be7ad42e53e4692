//! Threads that must not end: a node with one of them gone would serve half of its clients and look healthy.

use std::{
    io,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// Threads with numbers from 0.
pub struct Threads {
    handles: Vec<Option<JoinHandle<io::Result<()>>>>,
    tell: mpsc::UnboundedSender<usize>,
    ended: mpsc::UnboundedReceiver<usize>,
}

/// Why a thread is not there.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    #[error("thread {thread} could not be started: {source}: raise the limits on threads and file descriptors")]
    NotStarted { thread: usize, source: io::Error },
    #[error("thread {thread} failed: {source}: this ends the process, because its clients have no other")]
    Failed { thread: usize, source: io::Error },
    #[error(
        "thread {thread} panicked, see the message above: this ends the process, because its clients have no other"
    )]
    Panicked { thread: usize },
}

/// Tells that a thread has ended, however it did.
struct Ended {
    thread: usize,
    tell: mpsc::UnboundedSender<usize>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.tell.send(self.thread);
    }
}

impl Threads {
    pub fn new() -> Self {
        let (tell, ended) = mpsc::unbounded_channel();
        Self { handles: Vec::new(), tell, ended }
    }

    /// Starts the next one.
    pub fn spawn(&mut self, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), ThreadError> {
        let thread = self.handles.len();
        let ended = Ended { thread, tell: self.tell.clone() };
        let handle = thread::Builder::new().name(format!("turn-{thread}")).spawn(move || {
            let _ended = ended;
            work()
        });
        self.handles.push(Some(handle.map_err(|source| ThreadError::NotStarted { thread, source })?));
        Ok(())
    }

    /// Returns when a thread ends, with the reason. Never, if none does.
    pub async fn failed(&mut self) -> ThreadError {
        loop {
            // `self` holds a sender, so there is always another message to wait for.
            let Some(thread) = self.ended.recv().await else { return std::future::pending().await };
            let Some(handle) = self.handles.get_mut(thread).and_then(Option::take) else { continue };
            return match handle.join() {
                Ok(Ok(())) => ThreadError::Failed { thread, source: io::Error::other("it returned") },
                Ok(Err(source)) => ThreadError::Failed { thread, source },
                Err(_panic) => ThreadError::Panicked { thread },
            };
        }
    }

    /// Waits up to `limit` for all of them to end.
    pub fn join(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for handle in self.handles.into_iter().flatten() {
            while !handle.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_any_thread_is_reported_with_its_reason() {
        let mut threads = Threads::new();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let until_stopped = move || {
            let _ = stopped.recv();
            Ok(())
        };
        threads.spawn(until_stopped).unwrap();
        threads.spawn(|| Err(io::Error::other("epoll is gone"))).unwrap();
        let error = threads.failed().await.to_string();
        assert!(error.starts_with("thread 1 failed: epoll is gone"), "{error}");
        threads.spawn(|| panic!("a bug")).unwrap();
        assert!(matches!(threads.failed().await, ThreadError::Panicked { thread: 2 }));
        drop(stop);
        assert!(matches!(threads.failed().await, ThreadError::Failed { thread: 0, .. }));
    }
}
