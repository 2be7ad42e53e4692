package wire

import (
	"testing"

	"rtcfleet.dev/e2e/cluster/internal/topology"
)

func TestTheCableIsPluggedInAgainWhereItWasPulledOut(t *testing.T) {
	node, err := topology.Default().Node("southindia-2")
	if err != nil {
		t.Fatal(err)
	}
	insert, remove := insertion(node), removal(node)
	if got, want := insert[0].String(), "ip link set rtcv22 nomaster arp off"; got != want {
		t.Errorf("%q", got)
	}
	if got, want := remove[0].String(), "ip link set rtcv22 master rtcbr0 arp on"; got != want {
		t.Errorf("%q", got)
	}
}
