package topology

import (
	"strings"
	"testing"
)

func TestDefaultNodesHaveTheAddressesThatTestsRelyOn(t *testing.T) {
	want := map[string][3]string{
		"system-1":       {"10.200.0.10", "fd00:200::10", "10.201.10.0/24"},
		"centralindia-1": {"10.200.0.11", "fd00:200::11", "10.201.11.0/24"},
		"centralindia-2": {"10.200.0.12", "fd00:200::12", "10.201.12.0/24"},
		"southindia-1":   {"10.200.0.21", "fd00:200::21", "10.201.21.0/24"},
		"southindia-2":   {"10.200.0.22", "fd00:200::22", "10.201.22.0/24"},
	}
	nodes := Default().Nodes()
	if len(nodes) != len(want) {
		t.Fatalf("%d nodes, want %d", len(nodes), len(want))
	}
	for _, node := range nodes {
		got := [3]string{node.IPv4().String(), node.IPv6().String(), node.PodCIDR().String()}
		if got != want[node.Name] {
			t.Errorf("%s: %v, want %v", node.Name, got, want[node.Name])
		}
	}
}

func TestInterfaceNamesFitTheKernelLimitForTheHighestNumber(t *testing.T) {
	node := Node{Name: strings.Repeat("n", longestNodeName), Number: highestNumber}
	if len(node.HostLink()) > 15 {
		t.Errorf("%s has %d characters, the kernel takes 15", node.HostLink(), len(node.HostLink()))
	}
}

func TestARegionIsFoundWithAllItsNodesAndAWrongOneNamesTheRightOnes(t *testing.T) {
	nodes, err := Default().InRegion("southindia")
	if err != nil || len(nodes) != 2 || nodes[0].Name != "southindia-1" || nodes[1].Name != "southindia-2" {
		t.Errorf("southindia: %v, %v", nodes, err)
	}
	_, err = Default().InRegion("northindia")
	if err == nil || !strings.Contains(err.Error(), "[centralindia southindia system]") {
		t.Errorf("an unknown region must name the known ones: %v", err)
	}
}

func TestEachMistakeInANodeListIsNamedWithItsPath(t *testing.T) {
	good := Node{Name: "a-1", Region: "a", Role: RoleMedia, Number: 10}
	with := func(change func(*Node)) Node { node := good; change(&node); return node }
	for mistake, row := range map[string]struct {
		nodes []Node
		want  string
	}{
		"no nodes":          {nil, "nodes: the list is empty"},
		"capital letters":   {[]Node{with(func(n *Node) { n.Name = "A" })}, "nodes[0].name"},
		"no region":         {[]Node{with(func(n *Node) { n.Region = "" })}, "nodes[0].region"},
		"unknown role":      {[]Node{with(func(n *Node) { n.Role = "db" })}, "nodes[0].role"},
		"gateway's number":  {[]Node{with(func(n *Node) { n.Number = 1 })}, "nodes[0].number"},
		"broadcast number":  {[]Node{with(func(n *Node) { n.Number = 255 })}, "nodes[0].number"},
		"same name twice":   {[]Node{good, with(func(n *Node) { n.Number = 11 })}, "nodes[1].name"},
		"same number twice": {[]Node{good, with(func(n *Node) { n.Name = "a-2" })}, "nodes[1].number"},
	} {
		_, err := New(row.nodes)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want it to say %q", mistake, err, row.want)
		}
	}
}
