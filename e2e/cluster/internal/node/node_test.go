package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/pki"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

func prepared(t *testing.T) (config.State, Specs) {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "rtc") // t.TempDir is too long for a state folder
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	state, err := config.NewState(folder)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.OpenAuthority(state.PKI(), "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node, err := topology.Default().Node("centralindia-1")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := Prepare(state, node, "/bin/rtc-cluster", ca)
	if err != nil {
		t.Fatal(err)
	}
	return state, specs
}

func TestAKubeletRegistersWithBothAddressesAndItsRegion(t *testing.T) {
	_, specs := prepared(t)
	for _, argument := range []string{
		"--node-ip=10.200.0.11,fd00:200::11",
		"--node-labels=rtcfleet.dev/role=media,topology.kubernetes.io/region=centralindia,topology.kubernetes.io/zone=centralindia-a",
		"--hostname-override=centralindia-1",
	} {
		if !slices.Contains(specs.Kubelet.Argv, argument) {
			t.Errorf("%s is not in %v", argument, specs.Kubelet.Argv)
		}
	}
}

func TestNothingThatANodeWritesIsOutsideOfTheStateFolder(t *testing.T) {
	state, _ := prepared(t)
	for _, file := range []string{"containerd.toml", "kubelet.json", "cni/10-pods.conflist"} {
		content, err := os.ReadFile(filepath.Join(state.Node("centralindia-1"), file))
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.FieldsFunc(string(content), func(r rune) bool { return strings.ContainsRune("\" =,[]", r) }) {
			path := strings.TrimPrefix(word, "unix://")
			if strings.HasPrefix(path, "/var") || strings.HasPrefix(path, "/run") || strings.HasPrefix(path, "/opt") {
				t.Errorf("%s names %s", file, path)
			}
		}
	}
}

func TestPreparingAgainGivesTheSameSpecsSoThatNothingRestarts(t *testing.T) {
	state, first := prepared(t)
	ca, err := pki.OpenAuthority(state.PKI(), "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node, _ := topology.Default().Node("centralindia-1")
	second, err := Prepare(state, node, "/bin/rtc-cluster", ca)
	if err != nil {
		t.Fatal(err)
	}
	firstJSON, _ := json.Marshal(first)
	secondJSON, _ := json.Marshal(second)
	if string(firstJSON) != string(secondJSON) {
		t.Errorf("%s\n%s", firstJSON, secondJSON)
	}
}
