//! What the kernel says about a process, and where processes run.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// Time that all threads of a process have had since they began.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// On a core, in user space and in the kernel. Softirq work is in here, too, as long as the kernel is built without
    /// `IRQ_TIME_ACCOUNTING`: on loopback it runs inside the system call that sends.
    pub ran: Duration,
    /// Ready to run while somebody else had the core.
    pub waited: Duration,
}

impl CpuTime {
    /// Threads that have ended in between are lost; no server measured here ends threads under load.
    pub fn of(pid: Pid) -> Result<Self> {
        let mut sum = Self::default();
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("{tasks}: the server has ended"))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let mut numbers = text.split_ascii_whitespace().map_while(|word| word.parse().ok());
            let (Some(ran), Some(waited)) = (numbers.next(), numbers.next()) else {
                bail!("{tasks}/*/schedstat: no numbers: the kernel is built without SCHED_INFO");
            };
            sum.ran += Duration::from_nanos(ran);
            sum.waited += Duration::from_nanos(waited);
        }
        Ok(sum)
    }

    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { ran: self.ran.saturating_sub(before.ran), waited: self.waited.saturating_sub(before.waited) }
    }
}

/// Keeps the calling thread on one core.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).with_context(|| format!("core {core}: no such core"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("core {core} cannot be had: give two that can"))
}

/// Raises the limit of open files to what is allowed; what is started afterwards inherits it.
pub fn raise_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
/// Resident memory of a process, bytes. The kernel's own memory for its sockets is not part of it.
pub fn resident(pid: Pid) -> Result<u64> {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// What the kernel has taken for itself and cannot give back, bytes, of the whole machine: sockets are in it.
pub fn kernel_memory() -> Result<u64> {
    field("/proc/meminfo", "SUnreclaim:")
}

/// A size in a file of lines such as `Name:   12 kB`.
fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("{path} cannot be read: has the server ended?"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{path}: no {name}"))?;
    let kibibytes: u64 =
        value.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name} is {value:?}"))?;
    Ok(kibibytes * 1024)
}
