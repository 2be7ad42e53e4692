package cgroup

import (
	"reflect"
	"strings"
	"testing"
)

const hybrid = `30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
35 30 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
36 30 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
37 30 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
38 30 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`

func TestTheHybridLayoutUsesEachV1MountOnceAndNotTheEmptyV2One(t *testing.T) {
	got, err := parseMounts(hybrid)
	if err != nil {
		t.Fatal(err)
	}
	want := Mounts{membership: "/sys/fs/cgroup/pids", cpuset: "/sys/fs/cgroup/cpuset", hybrid: "/sys/fs/cgroup/unified"}
	for _, name := range []string{"cpu,cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd"} {
		want.paths = append(want.paths, "/sys/fs/cgroup/"+name)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestTheUnifiedLayoutIsOneHierarchy(t *testing.T) {
	got, err := parseMounts("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n")
	if err != nil || !got.unified || !reflect.DeepEqual(got.DaemonProcs(), []string{"/sys/fs/cgroup/rtc-cluster/daemons/cgroup.procs"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAMissingControllerOrNoCgroupsAtAllIsSaid(t *testing.T) {
	without := strings.Replace(hybrid, "rw,pids", "rw,hugetlb", 1)
	if _, err := parseMounts(without); err == nil || !strings.Contains(err.Error(), "no pids controller") {
		t.Errorf("%v", err)
	}
	if _, err := parseMounts("1 1 0:1 / / rw - ext4 /dev/vda rw\n"); err == nil || !strings.Contains(err.Error(), "no cgroups are mounted") {
		t.Errorf("%v", err)
	}
}
