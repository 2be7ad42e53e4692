package cluster

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/controlplane"
	"rtcfleet.dev/e2e/cluster/internal/kubeapi"
	"rtcfleet.dev/e2e/cluster/internal/node"
	"rtcfleet.dev/e2e/cluster/internal/process"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// Limits are several times what a busy machine with two processors took.
const (
	componentLimit = 90 * time.Second
	readyLimit     = 3 * time.Minute
	askAgain       = 100 * time.Millisecond
	// A component that died this often since `up` began will not come right by waiting.
	hopelessDeaths = 3
)

// probe asks once whether a component works; nil means yes.
type probe func(ctx context.Context) error

func controlPlaneProbes(credentials controlplane.Credentials) (map[string]probe, error) {
	etcd, err := kubeapi.New("", credentials.EtcdCA.Cert, credentials.EtcdClient)
	if err != nil {
		return nil, err
	}
	api, err := kubeapi.New("", credentials.CA.Cert, credentials.Admin)
	if err != nil {
		return nil, err
	}
	local := kubeapi.NewLocal()
	probes := map[string]probe{}
	for component, client := range map[string]*kubeapi.Client{
		controlplane.Etcd:              etcd,
		controlplane.APIServer:         api,
		controlplane.ControllerManager: local,
		controlplane.Scheduler:         local,
	} {
		probes[component] = func(ctx context.Context) error {
			_, err := client.Get(ctx, controlplane.HealthURL(component))
			return err
		}
	}
	return probes, nil
}

func socketAnswers(path string) probe {
	return func(ctx context.Context) error {
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}

// await waits until a component works.
func (c *Cluster) await(ctx context.Context, steps *progress, component string, works probe) error {
	started, said := time.Now(), time.Now()
	deaths, err := c.deaths(ctx, component)
	if err != nil {
		return err
	}
	for {
		failed := works(ctx)
		if failed == nil {
			return nil
		}
		now, err := c.deaths(ctx, component)
		if err != nil {
			return err
		}
		switch waited := time.Since(started); {
		case ctx.Err() != nil:
			return ctx.Err()
		case now-deaths >= hopelessDeaths:
			return c.failure(component, fmt.Errorf("ended %d times in %.0f s", now-deaths, waited.Seconds()), "")
		case waited > componentLimit:
			return c.failure(component, fmt.Errorf("does not work after %.0f s: %w", waited.Seconds(), failed), "")
		}
		if time.Since(said) >= progressEvery {
			said = time.Now()
			steps.note("%s is starting (%.0f s)", component, time.Since(started).Seconds())
		}
		pause(ctx, askAgain)
	}
}

func (c *Cluster) deaths(ctx context.Context, component string) (int, error) {
	report, err := c.supervisor.Status(ctx)
	if err != nil {
		return 0, err
	}
	for _, record := range report.Components {
		if record.Spec.Name == component {
			return record.Restarts, nil
		}
	}
	return 0, nil
}

// waitReady waits until every node is Ready and the first service account is there, without which
// no pod is admitted.
func (c *Cluster) waitReady(ctx context.Context, steps *progress, credentials controlplane.Credentials) error {
	api, err := kubeapi.New(controlplane.Server, credentials.CA.Cert, credentials.Admin)
	if err != nil {
		return err
	}
	report, err := c.supervisor.Status(ctx)
	if err != nil {
		return err
	}
	kubelets := startTimes(report.Components)
	started, said := time.Now(), time.Now()
	for {
		nodes, err := api.Nodes(ctx)
		waiting := notReady(c.Nodes.Nodes(), nodes, kubelets)
		if err == nil && len(waiting) == 0 {
			if _, err = api.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default"); err == nil {
				return nil
			}
		}
		waited := time.Since(started)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if waited > readyLimit {
			if err != nil {
				return c.failure(controlplane.APIServer, err, "")
			}
			return c.failure("kubelet/"+waiting[0].node, fmt.Errorf("node not Ready after %.0f s: %s", waited.Seconds(), waiting[0].why), "")
		}
		if time.Since(said) >= progressEvery {
			said = time.Now()
			steps.note("%d of %d nodes are Ready (%.0f s)", len(c.Nodes.Nodes())-len(waiting), len(c.Nodes.Nodes()), waited.Seconds())
		}
		pause(ctx, askAgain)
	}
}

type unready struct{ node, why string }

// startTimes gives when each component was started, by its name.
func startTimes(records []process.Record) map[string]time.Time {
	times := map[string]time.Time{}
	for _, record := range records {
		times[record.Spec.Name] = record.Started
	}
	return times
}

// notReady tells which nodes to wait for. What a kubelet said before it was started again is not
// taken: after a reboot all nodes look Ready for a while.
func notReady(wanted []topology.Node, seen map[string]kubeapi.Node, started map[string]time.Time) []unready {
	var waiting []unready
	for _, each := range wanted {
		found, registered := seen[each.Name]
		switch {
		case !registered:
			waiting = append(waiting, unready{each.Name, "it has not registered"})
		case !found.Ready:
			waiting = append(waiting, unready{each.Name, found.Why})
		case found.Heartbeat.Before(started[node.Kubelet+"/"+each.Name].Truncate(time.Second)):
			waiting = append(waiting, unready{each.Name, "its kubelet has said nothing since it was started"})
		}
	}
	slices.SortFunc(waiting, func(a, b unready) int { return strings.Compare(a.node, b.node) })
	return waiting
}

func pause(ctx context.Context, how time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(how):
	}
}
