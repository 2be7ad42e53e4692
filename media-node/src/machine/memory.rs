//! How near this process is to the memory limit at which the kernel ends it: of its control group, or one around it.
//!
//! What is used is the group's, not the resident memory of the process: the kernel's own memory for sockets counts in
//! the limit, and for an allocation it is more than ours. Without the page cache, which the kernel gives up first.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::procfs;

/// Version 1 writes the largest number of pages for "no limit", and that is 2^63 less a page.
const NO_LIMIT: u64 = 1 << 62;

/// Bytes of one control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub used: u64,
    pub limit: u64,
}

impl Memory {
    #[allow(clippy::cast_precision_loss)] // of a percentage
    pub fn percent(self) -> f64 {
        100.0 * self.used as f64 / self.limit.max(1) as f64
    }
}

/// Of the group that is nearest to its limit. None: there is no limit.
pub fn now() -> Option<Memory> {
    nearest(Path::new("/sys/fs/cgroup"), &fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// `groups` is the text of `/proc/self/cgroup`.
fn nearest(root: &Path, groups: &str) -> Option<Memory> {
    let version_2 = procfs::cgroup(groups).map(|group| (root.to_owned(), group, &VERSION_2));
    let version_1 = procfs::cgroup_v1(groups, "memory").map(|group| (root.join("memory"), group, &VERSION_1));
    let all = version_2.into_iter().chain(version_1).flat_map(|(root, group, files)| {
        // In a container the path may be that of the machine, and then only the root is there.
        let around: Vec<PathBuf> = Path::new(group.trim_start_matches('/')).ancestors().map(|g| root.join(g)).collect();
        around.into_iter().filter_map(|directory| files.read(&directory))
    });
    all.max_by(|a, b| a.percent().total_cmp(&b.percent()))
}

/// How a version of control groups names its files, and the lines of the page cache in `stat`.
struct Files {
    limit: &'static str,
    used: &'static str,
    stat: &'static str,
    cache: [&'static str; 2],
}

const VERSION_2: Files =
    Files { limit: "memory.max", used: "memory.current", stat: "memory.stat", cache: ["inactive_file", "active_file"] };

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    stat: "memory.stat",
    cache: ["total_inactive_file", "total_active_file"],
};

impl Files {
    fn read(&self, group: &Path) -> Option<Memory> {
        let text = |name: &str| fs::read_to_string(group.join(name)).ok();
        // "max" is no number.
        let limit = text(self.limit)?.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)?;
        let used: u64 = text(self.used)?.trim().parse().ok()?;
        let cache = text(self.stat).map_or(0, |stat| self.cache(&stat));
        Some(Memory { used: used.saturating_sub(cache), limit })
    }

    fn cache(&self, stat: &str) -> u64 {
        let of_cache = |line: &str| {
            let (name, bytes) = line.split_once(' ')?;
            self.cache.contains(&name).then(|| bytes.trim().parse::<u64>().ok()).flatten()
        };
        stat.lines().filter_map(of_cache).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    const STAT: &str = "anon 5\nfile 700\nkernel 90\ninactive_file 300\nactive_file 100\nslab 8\n";

    #[test]
    fn the_page_cache_does_not_count_and_the_kernels_memory_does() {
        let tree = tree(&[
            ("pod/app/memory.max", "1000\n"),
            ("pod/app/memory.current", "900\n"),
            ("pod/app/memory.stat", STAT),
        ]);
        let found = nearest(tree.path(), "0::/pod/app\n").unwrap();
        assert_eq!(found, Memory { used: 500, limit: 1000 });
        assert!((found.percent() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn the_group_nearest_to_its_limit_counts_and_one_without_a_limit_does_not() {
        let tree = tree(&[
            ("pod/app/memory.max", "max\n"),
            ("pod/app/memory.current", "900\n"),
            ("pod/memory.max", "2000\n"),
            ("pod/memory.current", "1900\n"),
            ("memory.max", "100000\n"),
            ("memory.current", "2000\n"),
        ]);
        assert_eq!(nearest(tree.path(), "0::/pod/app\n"), Some(Memory { used: 1900, limit: 2000 }));
        assert_eq!(nearest(tree.path(), "0::/other\n"), Some(Memory { used: 2000, limit: 100_000 }));
    }

    #[test]
    fn in_a_container_the_group_is_the_root_whatever_its_path_is_called_outside() {
        let tree = tree(&[("memory.max", "1000"), ("memory.current", "10"), ("memory.stat", "")]);
        for groups in ["0::/\n", "0::/kubepods.slice/pod7/app\n", "0::/../../elsewhere\n"] {
            assert_eq!(nearest(tree.path(), groups), Some(Memory { used: 10, limit: 1000 }), "{groups}");
        }
    }

    #[test]
    fn version_1_is_read_where_it_has_the_memory() {
        let groups = "9:memory:/pod/app\n4:cpu,cpuacct:/pod/app\n0::/pod/app\n";
        let v1 = |limit: &str| {
            tree(&[
                ("memory/pod/app/memory.limit_in_bytes", limit),
                ("memory/pod/app/memory.usage_in_bytes", "900"),
                ("memory/pod/app/memory.stat", "cache 9\ntotal_inactive_file 150\ntotal_active_file 50\n"),
            ])
        };
        assert_eq!(nearest(v1("1000").path(), groups), Some(Memory { used: 700, limit: 1000 }));
        assert_eq!(nearest(v1("9223372036854771712").path(), groups), None, "no limit");
    }

    #[test]
    fn without_files_that_can_be_read_there_is_no_limit() {
        let tree = tree(&[("memory.max", "many"), ("memory.current", "1")]);
        for groups in ["", "0::/\n", "nonsense", "3:memory\n"] {
            assert_eq!(nearest(tree.path(), groups), None, "{groups}");
        }
    }
}
