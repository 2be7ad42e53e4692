package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/kubeapi"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

func TestMountsGoInTheReverseOrderAndOthersStay(t *testing.T) {
	info := `1 1 0:1 / / rw - ext4 /dev/vda rw
2 1 0:2 / /var/lib/rtc-cluster/nodes/a/kubelet/pods/x/volume rw - tmpfs tmpfs rw
3 2 0:3 / /var/lib/rtc-cluster/nodes/a/kubelet/pods/x/volume/a\040b rw - tmpfs tmpfs rw
4 1 0:4 / /var/lib/rtc-cluster-two/x rw - tmpfs tmpfs rw
`
	want := []string{
		"/var/lib/rtc-cluster/nodes/a/kubelet/pods/x/volume/a b",
		"/var/lib/rtc-cluster/nodes/a/kubelet/pods/x/volume",
	}
	if got := mountsBelow(info, "/var/lib/rtc-cluster"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAFailureSaysThePartItsLastWordsAndWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(strings.Repeat("early\n", 50)+strings.Repeat("x", 1000)+"\nbind: address in use\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	failure := &Failure{Component: "etcd", Cause: errors.New("ended 3 times"), Log: path, LastLines: tail(path), Advice: "free the port"}
	text := failure.Error()
	for _, part := range []string{"etcd: ended 3 times", path, "bind: address in use", "what to do: free the port"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in %q", part, text)
		}
	}
	if len(failure.LastLines) != tailLines || len(failure.LastLines[tailLines-2]) > tailLineWidth+len("…") {
		t.Errorf("%d lines", len(failure.LastLines))
	}
	if tail(path+".missing") != nil {
		t.Error("a missing log has last lines")
	}
}

func TestNodesAreWaitedForUntilTheirRunningKubeletSaysReady(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	ready := kubeapi.Node{Ready: true, Heartbeat: noon}
	seen := map[string]kubeapi.Node{
		"system-1": ready, "centralindia-1": {Why: "no network"}, "centralindia-2": ready, "southindia-1": ready,
	}
	started := map[string]time.Time{
		"kubelet/system-1":       noon.Add(300 * time.Millisecond), // heartbeats have whole seconds
		"kubelet/centralindia-2": noon.Add(time.Second),
		"kubelet/southindia-1":   noon.Add(-time.Hour),
	}
	want := []unready{
		{"centralindia-1", "no network"},
		{"centralindia-2", "its kubelet has said nothing since it was started"},
		{"southindia-2", "it has not registered"},
	}
	if got := notReady(topology.Default().Nodes(), seen, started); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
