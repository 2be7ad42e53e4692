package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/controlplane"
	"rtcfleet.dev/e2e/cluster/internal/kubeapi"
	"rtcfleet.dev/e2e/cluster/internal/network"
	"rtcfleet.dev/e2e/cluster/internal/pki"
	"rtcfleet.dev/e2e/cluster/internal/process"
	"rtcfleet.dev/e2e/cluster/internal/supervisor"
)

// ErrUnhealthy says that something of the cluster does not work; the status shows what.
var ErrUnhealthy = errors.New("the cluster is not complete")

// Status prints nodes and components; it gives ErrUnhealthy when one of them does not work.
func (c *Cluster) Status(ctx context.Context) error {
	if _, found, err := c.State.LoadLayout(); err != nil || !found {
		return errOr(err, config.ErrNoCluster)
	}
	report, err := c.supervisor.Status(ctx)
	if errors.Is(err, supervisor.ErrNotRunning) {
		return err
	}
	if err != nil {
		return err
	}
	healthy := c.printComponents(report.Components)
	nodesHealthy, err := c.printNodes(ctx, impairments(report.Components))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "\nexport KUBECONFIG=%s PATH=%s:$PATH\n", c.State.Kubeconfig(), c.State.Bin())
	if !healthy || !nodesHealthy {
		return ErrUnhealthy
	}
	return nil
}

func (c *Cluster) printComponents(records []process.Record) (healthy bool) {
	healthy = true
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "COMPONENT\tSTATE\tPROCESS\tFOR\tRESTARTS\tMEMORY")
	var total uint64
	for _, record := range records {
		state, since, memory := "running", time.Since(record.Started).Round(time.Second).String(), record.Identity.ResidentBytes()
		if !record.Identity.Alive() {
			healthy = false
			state, since = "restarting", "-"
			if record.Desired == process.Down {
				state = "stopped"
			}
		}
		total += memory
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%d MiB\n", record.Spec.Name, state, record.Identity.PID, since, record.Restarts, memory>>20)
	}
	fmt.Fprintf(table, "\t\t\t\t\t%d MiB in all\n", total>>20)
	return healthy
}

func (c *Cluster) printNodes(ctx context.Context, impaired map[string]string) (healthy bool, err error) {
	links, err := network.LinkUp(ctx, c.Nodes.Nodes())
	if err != nil {
		return false, err
	}
	api, err := kubeapi.New(controlplane.Server, filepath.Join(c.State.PKI(), "ca.crt"),
		pki.Pair{Cert: filepath.Join(c.State.PKI(), "admin.crt"), Key: filepath.Join(c.State.PKI(), "admin.key")})
	if err != nil {
		return false, err
	}
	seen, asked := api.Nodes(ctx)
	healthy = asked == nil
	fmt.Fprintln(c.Out)
	if asked != nil {
		fmt.Fprintf(c.Out, "the API server does not answer: %v\n", asked)
	}
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "NODE\tREGION\tADDRESSES\tLINK\tREADY")
	for _, node := range c.Nodes.Nodes() {
		link, ready := "up", "yes"
		if !links[node.Name] {
			link, healthy = "down", false
		} else if impaired[node.Name] != "" {
			link = impaired[node.Name]
		}
		switch found, registered := seen[node.Name]; {
		case asked != nil:
			ready = "unknown"
		case !registered:
			ready, healthy = "no: it has not registered", false
		case !found.Ready:
			ready, healthy = "no: "+found.Why, false
		}
		fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\n", node.Name, node.Region, node.IPv4(), node.IPv6(), link, ready)
	}
	return healthy, nil
}

func errOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
