// Package cgroup makes the control groups that the cluster's processes live in, finds these
// processes by them, and removes them again. Everything that the cluster starts, and whatever that
// starts in turn, is in a group below /rtc-cluster.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Root is the group of the whole cluster, in every hierarchy.
const Root = "rtc-cluster"

const daemons = "daemons"

// What the kubelet needs, by kernel interface.
var (
	neededV1 = []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "freezer", "devices"}
	neededV2 = []string{"cpu", "cpuset", "memory", "pids"}
)

// Mounts are the hierarchies of this machine.
type Mounts struct {
	unified bool
	// paths are the mount points that hold our groups: one a controller in v1, a single one in v2.
	paths []string
	// membership is the one hierarchy asked for members: a process of ours is in all of them.
	membership string
	cpuset     string
	// hybrid is the v2 mount beside v1 ones: runc makes groups there, too, though nothing is set
	// in them.
	hybrid string
}

// Detect reads /proc/self/mountinfo.
func Detect() (Mounts, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mounts{}, err
	}
	return parseMounts(string(content))
}

// parseMounts prefers v1 where controllers are mounted that way, as in the hybrid layout; there the
// v2 mount has no controllers.
func parseMounts(mountinfo string) (Mounts, error) {
	v1, v2 := map[string]string{}, ""
	named := ""
	scanner := bufio.NewScanner(strings.NewReader(mountinfo))
	for scanner.Scan() {
		before, after, found := strings.Cut(scanner.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 5 || len(right) < 3 {
			continue
		}
		switch right[0] {
		case "cgroup2":
			v2 = left[4]
		case "cgroup":
			for option := range strings.SplitSeq(right[2], ",") {
				if option == "name=systemd" {
					named = left[4]
				} else {
					v1[option] = left[4]
				}
			}
		}
	}
	if len(v1) > 0 && v1["memory"] != "" {
		mounts := Mounts{membership: v1["pids"], cpuset: v1["cpuset"], hybrid: v2}
		for _, controller := range neededV1 {
			if v1[controller] == "" {
				return Mounts{}, fmt.Errorf("cgroup v1 has no %s controller mounted: mount it below /sys/fs/cgroup/%s, or boot with cgroup v2", controller, controller)
			}
			mounts.paths = append(mounts.paths, v1[controller])
		}
		if named != "" {
			mounts.paths = append(mounts.paths, named)
		}
		for _, optional := range []string{"blkio", "hugetlb"} {
			if v1[optional] != "" {
				mounts.paths = append(mounts.paths, v1[optional])
			}
		}
		slices.Sort(mounts.paths)
		mounts.paths = slices.Compact(mounts.paths) // cpu,cpuacct are often one mount
		return mounts, nil
	}
	if v2 != "" {
		return Mounts{unified: true, paths: []string{v2}, membership: v2}, nil
	}
	return Mounts{}, errors.New("no cgroups are mounted at /sys/fs/cgroup: the kubelet cannot work without; mount them (Debian: cgroupfs-mount, or a systemd)")
}

// NodeRoot is what a kubelet takes as its cgroupRoot.
func NodeRoot(node string) string { return "/" + Root + "/" + node }

// DaemonProcs are the files to write a process into that is one of the cluster's own programs.
func (m Mounts) DaemonProcs() []string {
	var files []string
	for _, path := range m.paths {
		files = append(files, filepath.Join(path, Root, daemons, "cgroup.procs"))
	}
	return files
}

// Make creates the groups of the daemons and of these nodes. Groups that are there are fine.
func (m Mounts) Make(nodes []string) error {
	for _, path := range m.paths {
		if err := m.enableBelow(path); err != nil {
			return err
		}
		root := filepath.Join(path, Root)
		if err := m.make(root); err != nil {
			return err
		}
		if err := m.enableBelow(root); err != nil {
			return err
		}
		for _, name := range append([]string{daemons}, nodes...) {
			if err := m.make(filepath.Join(root, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m Mounts) make(folder string) error {
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: `up` has to run as root, outside of an unprivileged container", err)
	}
	if m.unified || !strings.HasPrefix(folder, m.cpuset+"/") {
		return nil
	}
	// A v1 cpuset is born empty, and nothing can join it before it has processors and memory.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(filepath.Dir(folder), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// enableBelow hands the controllers to the groups below, which v2 wants said at every level.
func (m Mounts) enableBelow(folder string) error {
	if !m.unified {
		return nil
	}
	file := filepath.Join(folder, "cgroup.subtree_control")
	if err := os.WriteFile(file, []byte("+"+strings.Join(neededV2, " +")), 0o644); err != nil {
		return fmt.Errorf("%s: %w: the kubelet needs the controllers %v; in a container, start it with a cgroup namespace of its own whose root holds no process", file, err, neededV2)
	}
	return nil
}

// Members gives the numbers of all processes in the cluster's groups, or, with a node, in that
// node's pods.
func (m Mounts) Members(node string) ([]int, error) {
	return members(filepath.Join(m.membership, Root, node))
}

func members(folder string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil // removed meanwhile
		}
		if err != nil || entry.Name() != "cgroup.procs" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
				return nil
			}
			return err
		}
		for _, line := range strings.Fields(string(content)) {
			pid, err := strconv.Atoi(line)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			pids = append(pids, pid)
		}
		return nil
	})
	return pids, err
}

// Kill ends all members by SIGKILL and waits until the groups are empty, bounded by the limit.
func (m Mounts) Kill(node string, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		pids, err := m.Members(node)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end, not even by SIGKILL: see /proc/PID/stack", pids)
		}
		for _, pid := range pids {
			// Read from the group a moment ago: the number is still that of a member, since a
			// member's number is not given away before it has left the group as a zombie.
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
}

// Remove removes all groups of the cluster, deepest first. They must be empty.
func (m Mounts) Remove() error {
	paths := m.paths
	if m.hybrid != "" {
		paths = append([]string{m.hybrid}, paths...)
	}
	for _, path := range paths {
		if err := removeTree(filepath.Join(path, Root)); err != nil {
			return err
		}
	}
	return nil
}

func removeTree(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	// The kernel frees a group a moment after its last process has ended.
	for attempt := 0; ; attempt++ {
		err := unix.Rmdir(folder)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || attempt == 100 {
			return fmt.Errorf("%s: %w", folder, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
