package network

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"rtcfleet.dev/e2e/cluster/internal/host"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// SetLinks unplugs the nodes' cables from the bridge, or plugs them in again. What runs on the
// nodes goes on, cut off, as in a lost region.
func SetLinks(ctx context.Context, nodes []topology.Node, up bool) error {
	state := "down"
	if up {
		state = "up"
	}
	for _, node := range nodes {
		if _, err := host.Run(ctx, host.Cmd("ip", "link", "set", node.HostLink(), state)); err != nil {
			return err
		}
	}
	return nil
}

// LinkUp tells for each node whether its cable is plugged in.
func LinkUp(ctx context.Context, nodes []topology.Node) (map[string]bool, error) {
	output, err := host.Run(ctx, host.Cmd("ip", "-json", "link", "show"))
	if err != nil {
		return nil, err
	}
	var links []struct {
		Name  string   `json:"ifname"`
		Flags []string `json:"flags"`
	}
	if err := json.Unmarshal([]byte(output), &links); err != nil {
		return nil, fmt.Errorf("ip -json link show: %w", err)
	}
	up := map[string]bool{}
	for _, link := range links {
		for _, node := range nodes {
			if link.Name == node.HostLink() {
				up[node.Name] = slices.Contains(link.Flags, "UP")
			}
		}
	}
	return up, nil
}
