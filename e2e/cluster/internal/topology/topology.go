// Package topology says which machines the cluster pretends to have, and what they are called and
// addressed. Everything in it is pure: the same nodes give the same names and addresses.
package topology

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
)

// Labels that every node carries.
const (
	RegionLabel = "topology.kubernetes.io/region"
	ZoneLabel   = "topology.kubernetes.io/zone"
	RoleLabel   = "rtcfleet.dev/role"
)

// Roles of nodes: system pods run on the first kind, media nodes on the second.
const (
	RoleSystem = "system"
	RoleMedia  = "media"
)

// Addresses that do not depend on the nodes.
const (
	Bridge          = "rtcbr0"
	NetworkV4       = "10.200.0.0/24"
	NetworkV6       = "fd00:200::/64"
	GatewayV4       = "10.200.0.1"
	GatewayV6       = "fd00:200::1"
	PodNetwork      = "10.201.0.0/16"
	ServiceNetwork  = "10.96.0.0/16"
	APIServiceIP    = "10.96.0.1"
	DNSServiceIP    = "10.96.0.10"
	APIServerPort   = 6443
	netnsPrefix     = "rtc-"
	hostLinkPrefix  = "rtcv"
	lowestNumber    = 2
	highestNumber   = 254
	longestNodeName = 40
)

// Node is one machine of the cluster.
type Node struct {
	Name   string `json:"name"`
	Region string `json:"region"`
	Role   string `json:"role"`
	// Number is the last part of the node's addresses, 2 to 254.
	Number int `json:"number"`
}

// Topology is a checked set of nodes, ordered by number. Make one with New.
type Topology struct {
	nodes []Node
}

// Default has two media nodes in each of two regions and one node for system pods.
func Default() Topology {
	topology, err := New([]Node{
		{Name: "system-1", Region: "system", Role: RoleSystem, Number: 10},
		{Name: "centralindia-1", Region: "centralindia", Role: RoleMedia, Number: 11},
		{Name: "centralindia-2", Region: "centralindia", Role: RoleMedia, Number: 12},
		{Name: "southindia-1", Region: "southindia", Role: RoleMedia, Number: 21},
		{Name: "southindia-2", Region: "southindia", Role: RoleMedia, Number: 22},
	})
	if err != nil {
		panic(err) // the list above is a constant, and tested
	}
	return topology
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// New checks a list of nodes.
func New(nodes []Node) (Topology, error) {
	if len(nodes) == 0 {
		return Topology{}, fmt.Errorf("nodes: the list is empty: name at least one node")
	}
	names, numbers := map[string]bool{}, map[int]string{}
	for index, node := range nodes {
		at := fmt.Sprintf("nodes[%d]", index)
		switch {
		case !namePattern.MatchString(node.Name) || len(node.Name) > longestNodeName:
			return Topology{}, fmt.Errorf("%s.name: %q: write 1 to %d letters a-z, digits and '-', such as centralindia-1", at, node.Name, longestNodeName)
		case !namePattern.MatchString(node.Region):
			return Topology{}, fmt.Errorf("%s.region: %q: write letters a-z, digits and '-', such as centralindia", at, node.Region)
		case node.Role != RoleSystem && node.Role != RoleMedia:
			return Topology{}, fmt.Errorf("%s.role: %q: write %s or %s", at, node.Role, RoleSystem, RoleMedia)
		case node.Number < lowestNumber || node.Number > highestNumber:
			return Topology{}, fmt.Errorf("%s.number: %d: write a number from %d to %d, it ends the node's addresses", at, node.Number, lowestNumber, highestNumber)
		case names[node.Name]:
			return Topology{}, fmt.Errorf("%s.name: %q is there twice: give each node its own name", at, node.Name)
		case numbers[node.Number] != "":
			return Topology{}, fmt.Errorf("%s.number: %d is also the number of %s: give each node its own", at, node.Number, numbers[node.Number])
		}
		names[node.Name], numbers[node.Number] = true, node.Name
	}
	sorted := slices.Clone(nodes)
	slices.SortFunc(sorted, func(a, b Node) int { return a.Number - b.Number })
	return Topology{nodes: sorted}, nil
}

// Nodes gives all nodes, ordered by number.
func (t Topology) Nodes() []Node { return slices.Clone(t.nodes) }

// Node finds a node by its name.
func (t Topology) Node(name string) (Node, error) {
	for _, node := range t.nodes {
		if node.Name == name {
			return node, nil
		}
	}
	return Node{}, fmt.Errorf("node %q does not exist: the nodes are %v", name, t.names())
}

func (t Topology) names() []string {
	var names []string
	for _, node := range t.nodes {
		names = append(names, node.Name)
	}
	return names
}

// Regions gives the names of all regions, sorted.
func (t Topology) Regions() []string {
	var regions []string
	for _, node := range t.nodes {
		regions = append(regions, node.Region)
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}

// InRegion gives the nodes of a region; a region without nodes is an error.
func (t Topology) InRegion(region string) ([]Node, error) {
	var found []Node
	for _, node := range t.nodes {
		if node.Region == region {
			found = append(found, node)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("region %q does not exist: the regions are %v", region, t.Regions())
	}
	return found, nil
}

// IPv4 is the node's address on the bridge.
func (n Node) IPv4() netip.Addr { return netip.AddrFrom4([4]byte{10, 200, 0, byte(n.Number)}) }

// IPv6 ends in the decimal digits of the number, so that both addresses look alike: 10.200.0.11
// and fd00:200::11.
func (n Node) IPv6() netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00:200::%d", n.Number)) }

// PodCIDR is the subnet of the pods that have a network of their own.
func (n Node) PodCIDR() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 201, byte(n.Number), 0}), 24)
}

// Netns is the name of the network namespace that is the node's machine.
func (n Node) Netns() string { return netnsPrefix + n.Name }

// NetnsPath is where that namespace is mounted.
func (n Node) NetnsPath() string { return "/run/netns/" + n.Netns() }

// HostLink is the end of the node's cable that is plugged into the bridge. Interface names have at
// most 15 characters, so it is made from the number.
func (n Node) HostLink() string { return fmt.Sprintf("%s%d", hostLinkPrefix, n.Number) }

// Zone is the only zone of the node's region.
func (n Node) Zone() string { return n.Region + "-a" }

// Labels are those that the node registers with.
func (n Node) Labels() map[string]string {
	return map[string]string{RegionLabel: n.Region, ZoneLabel: n.Zone(), RoleLabel: n.Role}
}
