package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/cgroup"
	"rtcfleet.dev/e2e/cluster/internal/network"
	"rtcfleet.dev/e2e/cluster/internal/process"
	"rtcfleet.dev/e2e/cluster/internal/topology"
	"rtcfleet.dev/e2e/cluster/internal/wire"
)

// WireCommand is the argument by which this program becomes a bad cable.
const WireCommand = "wire"

const wirePrefix = WireCommand + "/"

// The program starts in a fraction of a second.
const wireLimit = 20 * time.Second

// Impair makes the network of these nodes bad.
func (c *Cluster) Impair(ctx context.Context, nodes []topology.Node, impairment wire.Impairment) error {
	mounts, err := cgroup.Detect()
	if err != nil {
		return err
	}
	for _, node := range nodes {
		argv := append([]string{c.Program, WireCommand, "--state", c.State.Root(), node.Name}, impairment.Arguments()...)
		spec := process.Spec{Name: wirePrefix + node.Name, Argv: argv, Fingerprint: impairment.String()}
		if err := c.start(ctx, spec, mounts); err != nil {
			return err
		}
		if err := c.awaitWire(ctx, node); err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%s: %s in each direction\n", node.Name, impairment)
	}
	return nil
}

// awaitWire waits until the bad cable is in the good one's place.
func (c *Cluster) awaitWire(ctx context.Context, node topology.Node) error {
	for deadline := time.Now().Add(wireLimit); ; pause(ctx, askAgain) {
		inserted, err := network.OnBridge(ctx, wire.TapName(node))
		if inserted || err != nil {
			return err
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return c.failure(wirePrefix+node.Name, fmt.Errorf("does not pass packets after %v", wireLimit), "`rtc-cluster up` makes the network good again")
		}
	}
}

// EndImpairments makes the network of these nodes good again.
func (c *Cluster) EndImpairments(ctx context.Context, nodes []topology.Node) error {
	for _, node := range nodes {
		if err := c.supervisor.Forget(ctx, wirePrefix+node.Name); err != nil {
			return err
		}
		if err := wire.Restore(ctx, node); err != nil {
			return err
		}
		fmt.Fprintf(c.Out, "%s: network as usual\n", node.Name)
	}
	return nil
}

// endAllImpairments is for `up`, on a network that may be incomplete: the cables are plugged in
// when it is made.
func (c *Cluster) endAllImpairments(ctx context.Context) ([]topology.Node, error) {
	report, err := c.supervisor.Status(ctx)
	if err != nil {
		return nil, err
	}
	bad := impairments(report.Components)
	var ended []topology.Node
	for _, node := range c.Nodes.Nodes() {
		if bad[node.Name] == "" {
			continue
		}
		if err := c.supervisor.Forget(ctx, wirePrefix+node.Name); err != nil {
			return nil, err
		}
		ended = append(ended, node)
	}
	return ended, nil
}

// impairments gives what is wrong with nodes' networks, by node.
func impairments(records []process.Record) map[string]string {
	found := map[string]string{}
	for _, record := range records {
		if node, is := strings.CutPrefix(record.Spec.Name, wirePrefix); is {
			found[node] = record.Spec.Fingerprint
		}
	}
	return found
}
