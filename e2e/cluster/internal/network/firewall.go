package network

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"rtcfleet.dev/e2e/cluster/internal/host"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// BridgedPacketsDropped tells whether the machine's own firewall stands between the nodes: it sees
// what passes a bridge where the kernel says so, and Docker sets it to drop what it does not know.
// A rule that names the bridge is taken as the remedy.
func BridgedPacketsDropped(ctx context.Context) (bool, error) {
	setting, err := os.ReadFile("/proc/sys/net/bridge/bridge-nf-call-iptables")
	if errors.Is(err, fs.ErrNotExist) || strings.TrimSpace(string(setting)) == "0" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	rules, err := host.Run(ctx, host.Cmd("iptables", "-S", "FORWARD"))
	return dropsBridged(rules), err
}

func dropsBridged(rules string) bool {
	return strings.Contains(rules, "-P FORWARD DROP") && !strings.Contains(rules, "-i "+topology.Bridge+" ")
}
