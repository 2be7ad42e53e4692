// Package network makes the machines' network: a bridge in the root namespace, which is the
// outside, and for each node a network namespace with a cable to the bridge.
package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/host"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

const netnsFolder = "/run/netns"

// The cable's end inside a node.
const nodeLink = "eth0"

// The bridge has an address of its own: otherwise it takes the lowest of its cables', and changes it
// whenever one is plugged in or out.
const bridgeMAC = "02:72:74:63:00:01"

// podNetnsPrefix begins the names of the namespaces that containerd makes for pods.
const podNetnsPrefix = "cni-"

// observed is what of the network is there.
type observed struct {
	// links of the root namespace.
	links map[string]bool
	// netns that are mounted; one that is only a stale file is in broken.
	netns  map[string]bool
	broken map[string]bool
}

// Up makes what is missing, and plugs in the cables that SetLinks unplugged.
func Up(ctx context.Context, nodes topology.Topology) error {
	seen, err := observe(ctx)
	if err != nil {
		return err
	}
	if err := host.RunAll(ctx, plan(nodes, seen)); err != nil {
		return err
	}
	for _, node := range nodes.Nodes() {
		if err := setSysctls(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// plan gives the commands that complete the network. Those that are repeated on a complete network
// change nothing.
func plan(nodes topology.Topology, seen observed) []host.Command {
	var commands []host.Command
	run := func(argv ...string) { commands = append(commands, host.Cmd(argv...)) }

	if !seen.links[topology.Bridge] {
		run("ip", "link", "add", topology.Bridge, "type", "bridge")
	}
	root := []string{
		"addr replace " + topology.GatewayV4 + "/24 dev " + topology.Bridge,
		"addr replace " + topology.GatewayV6 + "/64 dev " + topology.Bridge + " nodad",
		"link set " + topology.Bridge + " address " + bridgeMAC + " up",
	}
	for _, node := range nodes.Nodes() {
		if seen.broken[node.Netns()] {
			run("ip", "netns", "delete", node.Netns())
		}
		if !seen.netns[node.Netns()] {
			run("ip", "netns", "add", node.Netns())
		}
		if !seen.links[node.HostLink()] {
			run("ip", "link", "add", node.HostLink(), "type", "veth", "peer", "name", nodeLink, "netns", node.Netns())
		}
		commands = append(commands, batch(node, nodes))
		root = append(root,
			"link set "+node.HostLink()+" master "+topology.Bridge+" arp on",
			"link set "+node.HostLink()+" up",
			"route replace "+node.PodCIDR().String()+" via "+node.IPv4().String(),
		)
	}
	// Service addresses are rewritten by a node's kube-proxy; from outside they go through the
	// first one.
	root = append(root, "route replace "+topology.ServiceNetwork+" via "+nodes.Nodes()[0].IPv4().String())
	return append(commands, host.Command{Argv: []string{"ip", "-batch", "-"}, Stdin: strings.Join(root, "\n") + "\n"})
}

// batch sets up the inside of a node: its addresses, the way out, and the way to others' pods.
func batch(node topology.Node, nodes topology.Topology) host.Command {
	lines := []string{
		"link set lo up",
		"addr replace " + node.IPv4().String() + "/24 dev " + nodeLink,
		// Without duplicate address detection the address serves at once.
		"addr replace " + node.IPv6().String() + "/64 dev " + nodeLink + " nodad",
		"link set " + nodeLink + " up",
		"route replace 0.0.0.0/0 via " + topology.GatewayV4,
		"route replace ::/0 via " + topology.GatewayV6,
	}
	for _, other := range nodes.Nodes() {
		if other != node {
			lines = append(lines, "route replace "+other.PodCIDR().String()+" via "+other.IPv4().String())
		}
	}
	return host.Command{Argv: []string{"ip", "-netns", node.Netns(), "-batch", "-"}, Stdin: strings.Join(lines, "\n") + "\n"}
}

// setSysctls lets a node forward for its pods. The settings belong to the namespace of who writes.
func setSysctls(ctx context.Context, node topology.Node) error {
	const script = `for name in ipv4/ip_forward ipv6/conf/all/forwarding; do echo 1 > /proc/sys/net/$name; done
for name in /proc/sys/net/ipv6/conf/*/accept_ra; do echo 0 > $name; done`
	_, err := host.Run(ctx, host.Cmd("nsenter", "--net="+node.NetnsPath(), "--", "sh", "-ec", script))
	return err
}

// Down removes the bridge, the namespaces and those of pods that are left. What is not there is fine.
func Down(ctx context.Context, nodes topology.Topology) error {
	seen, err := observe(ctx)
	if err != nil {
		return err
	}
	if err := host.RunAll(ctx, removal(nodes, seen)); err != nil {
		return err
	}
	return removeNetnsFolder()
}

// removeNetnsFolder takes away the folder that `ip netns` mounts on itself, once it is empty.
func removeNetnsFolder() error {
	entries, err := os.ReadDir(netnsFolder)
	if errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Unmount(netnsFolder, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: not mounted
		return fmt.Errorf("umount %s: %w", netnsFolder, err)
	}
	return os.Remove(netnsFolder)
}

func removal(nodes topology.Topology, seen observed) []host.Command {
	var commands []host.Command
	for _, node := range nodes.Nodes() {
		// A cable goes as a whole when one end is deleted; deleting only the namespace would leave
		// it to a later clean-up by the kernel.
		if seen.links[node.HostLink()] {
			commands = append(commands, host.Cmd("ip", "link", "delete", node.HostLink()))
		}
		if seen.netns[node.Netns()] || seen.broken[node.Netns()] {
			commands = append(commands, host.Cmd("ip", "netns", "delete", node.Netns()))
		}
	}
	if seen.links[topology.Bridge] {
		commands = append(commands, host.Cmd("ip", "link", "delete", topology.Bridge))
	}
	return commands
}

// RemovePodNetns deletes the named namespaces of pods.
func RemovePodNetns(ctx context.Context, names []string) error {
	for _, name := range names {
		if !strings.HasPrefix(name, podNetnsPrefix) {
			return fmt.Errorf("%s is not the network namespace of a pod", name)
		}
		if _, err := os.Lstat(filepath.Join(netnsFolder, name)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := host.Run(ctx, host.Cmd("ip", "netns", "delete", name)); err != nil {
			return err
		}
	}
	return nil
}

func observe(ctx context.Context) (observed, error) {
	seen := observed{links: map[string]bool{}, netns: map[string]bool{}, broken: map[string]bool{}}
	present, err := links(ctx)
	if err != nil {
		return seen, err
	}
	for name := range present {
		seen.links[name] = true
	}
	entries, err := os.ReadDir(netnsFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return seen, err
	}
	for _, entry := range entries {
		if isNetns(filepath.Join(netnsFolder, entry.Name())) {
			seen.netns[entry.Name()] = true
		} else {
			seen.broken[entry.Name()] = true
		}
	}
	return seen, nil
}

// isNetns tells a mounted namespace from the empty file that a reboot leaves where /run is on disk.
func isNetns(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Type == unix.NSFS_MAGIC
}
