//! What the kernel says of this process.

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::TimeValLike,
};

pub struct Process {
    pub resident_bytes: u64,
    pub cpu_seconds: f64,
    pub open_fds: u64,
    pub max_fds: u64,
}

pub fn read() -> Option<Process> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let cpu = [usage.user_time(), usage.system_time()].map(|t| t.num_microseconds().unsigned_abs());
    Some(Process {
        resident_bytes: resident(&status)?,
        cpu_seconds: std::time::Duration::from_micros(cpu.iter().sum()).as_secs_f64(),
        open_fds: open_fds()?,
        max_fds: getrlimit(Resource::RLIMIT_NOFILE).ok()?.0,
    })
}

/// `VmRSS:     1234 kB` of `/proc/self/status`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Since Linux 6.2 the size of the directory is their number; listing a hundred thousand of them on every scrape would
/// be felt.
fn open_fds() -> Option<u64> {
    let size = std::fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 { Some(size) } else { Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64) }
}
