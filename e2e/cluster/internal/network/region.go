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
	links, err := links(ctx)
	if err != nil {
		return nil, err
	}
	up := map[string]bool{}
	for _, node := range nodes {
		up[node.Name] = slices.Contains(links[node.HostLink()].Flags, "UP")
	}
	return up, nil
}

// OnBridge tells whether a link is up and plugged into the bridge.
func OnBridge(ctx context.Context, name string) (bool, error) {
	links, err := links(ctx)
	return links[name].Master == topology.Bridge && slices.Contains(links[name].Flags, "UP"), err
}

type link struct {
	Name   string   `json:"ifname"`
	Master string   `json:"master"`
	Flags  []string `json:"flags"`
}

// links are those of the root namespace, by name.
func links(ctx context.Context) (map[string]link, error) {
	output, err := host.Run(ctx, host.Cmd("ip", "-json", "link", "show"))
	if err != nil {
		return nil, err
	}
	var list []link
	if err := json.Unmarshal([]byte(output), &list); err != nil {
		return nil, fmt.Errorf("ip -json link show: %w", err)
	}
	found := map[string]link{}
	for _, each := range list {
		found[each.Name] = each
	}
	return found, nil
}
