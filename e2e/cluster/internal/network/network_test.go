package network

import (
	"slices"
	"strings"
	"testing"

	"rtcfleet.dev/e2e/cluster/internal/host"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

func oneNode(t *testing.T) topology.Topology {
	t.Helper()
	nodes, err := topology.New([]topology.Node{{Name: "a-1", Region: "a", Role: topology.RoleMedia, Number: 7}})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func words(commands []host.Command) []string {
	var lines []string
	for _, command := range commands {
		lines = append(lines, command.String())
	}
	return lines
}

func TestAnEmptyMachineGetsBridgeNamespaceAndCable(t *testing.T) {
	got := words(plan(oneNode(t), observed{}))
	want := []string{
		"ip link add rtcbr0 type bridge",
		"ip netns add rtc-a-1",
		"ip link add rtcv7 type veth peer name eth0 netns rtc-a-1",
		"ip -netns rtc-a-1 -batch -",
		"ip -batch -",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestACompleteNetworkIsOnlyConfirmed(t *testing.T) {
	complete := observed{links: map[string]bool{"rtcbr0": true, "rtcv7": true}, netns: map[string]bool{"rtc-a-1": true}}
	for _, line := range words(plan(oneNode(t), complete)) {
		if !strings.HasSuffix(line, "-batch -") {
			t.Errorf("%q would change a complete network", line)
		}
	}
}

func TestTheFileOfANamespaceThatARebootEndedIsRemovedFirst(t *testing.T) {
	got := words(plan(oneNode(t), observed{links: map[string]bool{"rtcbr0": true}, broken: map[string]bool{"rtc-a-1": true}}))
	if len(got) < 2 || got[0] != "ip netns delete rtc-a-1" || got[1] != "ip netns add rtc-a-1" {
		t.Errorf("%q", got)
	}
}

func TestEveryNodeKnowsTheWayToTheOthersPodsAndNotToItsOwn(t *testing.T) {
	nodes := topology.Default()
	node, err := nodes.Node("centralindia-1")
	if err != nil {
		t.Fatal(err)
	}
	lines := batch(node, nodes).Stdin
	if !strings.Contains(lines, "route replace 10.201.22.0/24 via 10.200.0.22\n") {
		t.Error("no route to southindia-2's pods")
	}
	if strings.Contains(lines, "10.201.11.0/24") {
		t.Error("its own pods are routed away")
	}
}

func TestRemovalTouchesOnlyWhatIsOursAndThere(t *testing.T) {
	seen := observed{
		links: map[string]bool{"eth0": true, "docker0": true, "rtcv7": true, "rtcbr0": true},
		netns: map[string]bool{"rtc-a-1": true, "somebody": true},
	}
	want := []string{"ip link delete rtcv7", "ip netns delete rtc-a-1", "ip link delete rtcbr0"}
	if got := words(removal(oneNode(t), seen)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := removal(oneNode(t), observed{}); got != nil {
		t.Errorf("%q on an empty machine", words(got))
	}
}
