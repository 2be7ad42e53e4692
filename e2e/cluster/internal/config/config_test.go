package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"rtcfleet.dev/e2e/cluster/internal/topology"
)

func TestAStateFolderThatDownMustNotRemoveIsRefused(t *testing.T) {
	for _, path := range []string{"", "relative", "/", "//", "/home", "/home/", "/var/lib/" + strings.Repeat("x", 40)} {
		if _, err := NewState(path); err == nil || !strings.Contains(err.Error(), "--state") {
			t.Errorf("%q was accepted: %v", path, err)
		}
	}
	if _, err := NewState(DefaultState); err != nil {
		t.Errorf("the default was refused: %v", err)
	}
}

func TestSocketsOfTheLongestNodeNameFitTheKernelLimit(t *testing.T) {
	state, err := NewState("/" + strings.Repeat("a", 18) + "/" + strings.Repeat("b", 18))
	if err != nil {
		t.Fatal(err)
	}
	if socket := state.ContainerdSocket(strings.Repeat("n", 40)) + ".ttrpc"; len(socket) > 107 {
		t.Errorf("%s has %d bytes, the kernel takes 107", socket, len(socket))
	}
}

func TestSavedNodesAreReadBackAndAbsentOnesAreNotFound(t *testing.T) {
	state := State{root: filepath.Join(t.TempDir(), "cluster")}
	if _, found, err := state.LoadNodes(); found || err != nil {
		t.Fatalf("found %v, %v in an empty folder", found, err)
	}
	if err := state.SaveNodes(topology.Default()); err != nil {
		t.Fatal(err)
	}
	nodes, found, err := state.LoadNodes()
	if !found || err != nil || !reflect.DeepEqual(nodes, topology.Default()) {
		t.Errorf("read %v, %v, %v", nodes, found, err)
	}
}

func TestAnUnknownKeyInTheNodesFileIsRefusedWithAnExample(t *testing.T) {
	_, err := ParseNodes([]byte("nodes: [{name: a, regoin: b}]"))
	if err == nil || !strings.Contains(err.Error(), "regoin") || !strings.Contains(err.Error(), "number: 11") {
		t.Errorf("got %v", err)
	}
}
