package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/cgroup"
	"rtcfleet.dev/e2e/cluster/internal/network"
	"rtcfleet.dev/e2e/cluster/internal/process"
)

const (
	// Programs write nothing on their end that is kept: the state folder is removed.
	downGrace = 3 * time.Second
	killLimit = 15 * time.Second
)

// Down removes the cluster with everything it made. What is gone already is fine.
func (c *Cluster) Down(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("the cluster belongs to root: run as root")
	}
	mounts, err := cgroup.Detect()
	if err != nil {
		return err
	}
	if _, err := os.Stat(c.State.Root()); errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(c.Out, "no cluster in %s; looking for leftovers of one\n", c.State.Root())
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()

	steps := progress{out: c.Out, total: 4}
	var traces traces
	for _, step := range []struct {
		what, usually string
		do            func() error
	}{
		{"ending the programs and pods", "3 s", func() (err error) {
			traces, err = findTraces(c.State)
			return errors.Join(err, c.endPrograms(mounts))
		}},
		{"unmounting", "1 s", func() error { return unmountBelow(c.State.Root()) }},
		{"removing the network and the cgroups", "2 s", func() error {
			return errors.Join(network.RemovePodNetns(ctx, traces.podNetns), network.Down(ctx, c.Nodes), mounts.Remove())
		}},
		{"removing files", "1 s", func() error { return errors.Join(traces.remove(), os.RemoveAll(c.State.Root())) }},
	} {
		if err := steps.step(step.what, step.usually, step.do); err != nil {
			return fmt.Errorf("%s: %w\n  what to do: run `rtc-cluster down` again; what cannot be ended by it is named above", step.what, err)
		}
	}
	return nil
}

// endPrograms ends the supervisor first, so that nothing comes back; then the kubelets, so that no
// pod comes back; then pods; then what pods need; the API server and only then etcd, without which
// it hangs. What is left in the cgroups at the end are containerd's shims.
func (c *Cluster) endPrograms(mounts cgroup.Mounts) error {
	if err := c.stopSupervisor(); err != nil {
		return err
	}
	records, err := components(c.State).Load()
	if err != nil {
		// Unreadable records name nobody; the cgroups below know everybody.
		fmt.Fprintf(c.Out, "      %v\n", err)
	}
	if err := stopAll(records, "kubelet/", "kube-proxy/"); err != nil {
		return err
	}
	for _, node := range c.Nodes.Nodes() {
		if err := mounts.Kill(node.Name, killLimit); err != nil {
			return err
		}
	}
	for _, prefix := range []string{"containerd/", "scheduler", "controller-manager", "apiserver", "etcd"} {
		if err := stopAll(records, prefix); err != nil {
			return err
		}
	}
	return mounts.Kill("", killLimit)
}

func stopAll(records []process.Record, prefixes ...string) error {
	var (
		group  sync.WaitGroup
		lock   sync.Mutex
		failed []error
	)
	for _, record := range records {
		for _, prefix := range prefixes {
			if !strings.HasPrefix(record.Spec.Name, prefix) {
				continue
			}
			group.Add(1)
			go func() {
				defer group.Done()
				if err := process.Stop(record.Identity, downGrace); err != nil {
					lock.Lock()
					defer lock.Unlock()
					failed = append(failed, fmt.Errorf("%s: %w", record.Spec.Name, err))
				}
			}()
		}
	}
	group.Wait()
	return errors.Join(failed...)
}

// unmountBelow unmounts everything that the kubelets and containerd mounted, the last mount first.
func unmountBelow(folder string) error {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, point := range mountsBelow(string(content), folder) {
		// Detaching takes the mount away at once and frees it when its last user is gone; all
		// users are gone.
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("umount %s: %w", point, err)
		}
	}
	return nil
}

// mountsBelow gives the mount points below a folder in the reverse order of mounting.
func mountsBelow(mountinfo, folder string) []string {
	var points []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		// The kernel writes blanks as \040 (proc_pid_mountinfo(5)).
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if strings.HasPrefix(point, folder+"/") {
			points = append([]string{point}, points...)
		}
	}
	return points
}
