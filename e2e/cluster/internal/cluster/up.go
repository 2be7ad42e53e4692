package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/cgroup"
	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/controlplane"
	"rtcfleet.dev/e2e/cluster/internal/images"
	"rtcfleet.dev/e2e/cluster/internal/network"
	"rtcfleet.dev/e2e/cluster/internal/node"
	"rtcfleet.dev/e2e/cluster/internal/preflight"
	"rtcfleet.dev/e2e/cluster/internal/process"
	"rtcfleet.dev/e2e/cluster/internal/topology"
	"rtcfleet.dev/e2e/cluster/internal/wire"
)

// Up makes what is missing of the cluster and waits until it works. On a cluster that works it
// takes a second or two; it also ends what `region down`, `region netem` and `component stop` did.
func (c *Cluster) Up(ctx context.Context) error {
	if err := preflight.Check(ctx); err != nil {
		return err
	}
	mounts, err := cgroup.Detect()
	if err != nil {
		return err
	}
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()

	var (
		steps       = progress{out: c.Out, total: 6}
		credentials controlplane.Credentials
		specs       []node.Specs
	)
	prepare := func() (err error) {
		credentials, specs, err = c.prepare()
		return err
	}
	for _, step := range []struct {
		what, usually string
		do            func() error
	}{
		{"certificates and configuration", "1 s", prepare},
		{"cgroups and supervisor", "1 s", func() error { return c.ground(ctx, mounts) }},
		{"network namespaces and bridge", "1 s", func() error { return c.makeNetwork(ctx, &steps) }},
		{"control plane: etcd, API server, controllers, scheduler", "5 s", func() error { return c.startControlPlane(ctx, &steps, mounts, credentials) }},
		{fmt.Sprintf("%d nodes: containerd, kubelet, kube-proxy", len(c.Nodes.Nodes())), "2 s", func() error { return c.startNodes(ctx, &steps, mounts, specs) }},
		{"waiting for the nodes to be Ready", "5 s", func() error { return c.waitReady(ctx, &steps, credentials) }},
	} {
		if err := steps.step(step.what, step.usually, step.do); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) prepare() (controlplane.Credentials, []node.Specs, error) {
	if err := c.State.SaveLayout(c.Layout); err != nil {
		return controlplane.Credentials{}, nil, err
	}
	if err := c.linkPrograms(); err != nil {
		return controlplane.Credentials{}, nil, err
	}
	credentials, err := controlplane.Prepare(c.State, time.Now())
	if err != nil {
		return credentials, nil, err
	}
	var specs []node.Specs
	for _, each := range c.Nodes.Nodes() {
		made, err := node.Prepare(c.State, each, c.Program, credentials.CA)
		if err != nil {
			return credentials, nil, err
		}
		specs = append(specs, made)
	}
	return credentials, specs, nil
}

// linkPrograms fills the folder that users put into PATH.
func (c *Cluster) linkPrograms() error {
	helm, err := c.beside("helm")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.State.Bin(), 0o755); err != nil {
		return err
	}
	for name, target := range map[string]string{"kubectl": c.Program, "rtc-cluster": c.Program, "helm": helm} {
		link := filepath.Join(c.State.Bin(), name)
		if current, err := os.Readlink(link); err == nil && current == target {
			continue
		}
		if err := os.RemoveAll(link); err != nil {
			return err
		}
		if err := os.Symlink(target, link); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) ground(ctx context.Context, mounts cgroup.Mounts) error {
	var names []string
	for _, each := range c.Nodes.Nodes() {
		names = append(names, each.Name)
	}
	if err := mounts.Make(names); err != nil {
		return err
	}
	return c.startSupervisor(ctx, mounts)
}

// makeNetwork takes bad cables out first: with the good one plugged in beside, packets would come
// twice.
func (c *Cluster) makeNetwork(ctx context.Context, steps *progress) error {
	ended, err := c.endAllImpairments(ctx)
	if err != nil {
		return err
	}
	if err := network.Up(ctx, c.Nodes); err != nil {
		return err
	}
	for _, node := range ended {
		if err := wire.Restore(ctx, node); err != nil {
			return err
		}
	}
	dropped, err := network.BridgedPacketsDropped(ctx)
	if dropped {
		steps.note("nodes cannot reach each other: the machine's firewall drops what passes a bridge;")
		steps.note("allow it by `iptables -I FORWARD -i %[1]s -o %[1]s -j ACCEPT`", topology.Bridge)
	}
	return err
}

func (c *Cluster) startControlPlane(ctx context.Context, steps *progress, mounts cgroup.Mounts, credentials controlplane.Credentials) error {
	probes, err := controlPlaneProbes(credentials)
	if err != nil {
		return err
	}
	specs := controlplane.Specs(c.State, c.Program, credentials, c.NodeMonitorGrace)
	for _, spec := range specs {
		if err := c.start(ctx, spec, mounts); err != nil {
			return err
		}
		// The API server ends when it finds no etcd, and the others when they find no API server.
		if spec.Name == controlplane.Etcd || spec.Name == controlplane.APIServer {
			if err := c.await(ctx, steps, spec.Name, probes[spec.Name]); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{controlplane.ControllerManager, controlplane.Scheduler} {
		if err := c.await(ctx, steps, name, probes[name]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) startNodes(ctx context.Context, steps *progress, mounts cgroup.Mounts, specs []node.Specs) error {
	for _, spec := range specs {
		if err := c.start(ctx, spec.Containerd, mounts); err != nil {
			return err
		}
	}
	for index, each := range c.Nodes.Nodes() {
		name := specs[index].Containerd.Name
		if err := c.await(ctx, steps, name, socketAnswers(c.State.ContainerdSocket(each.Name))); err != nil {
			return err
		}
	}
	if err := c.loadPause(ctx); err != nil {
		return err
	}
	for _, spec := range specs {
		for _, program := range []process.Spec{spec.Kubelet, spec.KubeProxy} {
			if err := c.start(ctx, program, mounts); err != nil {
				return err
			}
		}
	}
	return nil
}

// loadPause builds the image that holds a pod's namespaces and gives it to every node.
func (c *Cluster) loadPause(ctx context.Context) error {
	program, err := c.beside("pause")
	if err != nil {
		return err
	}
	if _, err := images.Build(c.State.PauseImage(), node.PauseImage, program, nil); err != nil {
		return err
	}
	return images.Load(ctx, []string{c.State.PauseImage()}, c.sockets(), func(images.Result) {})
}

// start hands a program to the supervisor, with what all programs of the cluster have in common.
func (c *Cluster) start(ctx context.Context, spec process.Spec, mounts cgroup.Mounts) error {
	spec.CgroupProcs = mounts.DaemonProcs()
	spec.Log = c.log(spec.Name)
	if err := c.supervisor.Start(ctx, spec); err != nil {
		return c.failure(spec.Name, err, "")
	}
	return nil
}

func (c *Cluster) failure(component string, cause error, advice string) error {
	if advice == "" {
		advice = "look at the log; `rtc-cluster up` goes on from here, `rtc-cluster down` begins anew"
	}
	log := c.log(component)
	return &Failure{Component: component, Cause: cause, Log: log, LastLines: tail(log), Advice: advice}
}

// LoadImages imports image archives into every node and says what was done.
func (c *Cluster) LoadImages(ctx context.Context, archives []string) error {
	if _, found, err := c.State.LoadLayout(); err != nil || !found {
		return errOr(err, config.ErrNoCluster)
	}
	return images.Load(ctx, archives, c.sockets(), func(result images.Result) {
		what := "loaded"
		if !result.Loaded {
			what = "had it already"
		}
		fmt.Fprintf(c.Out, "%s: %s: %s\n", result.Node, filepath.Base(result.Archive), what)
	})
}
