package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

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

func TestASavedLayoutIsReadBackAndAnAbsentOneIsNotFound(t *testing.T) {
	state := State{root: filepath.Join(t.TempDir(), "cluster")}
	if _, found, err := state.LoadLayout(); found || err != nil {
		t.Fatalf("found %v, %v in an empty folder", found, err)
	}
	saved := Layout{Nodes: topology.Default(), NodeMonitorGrace: 15 * time.Minute}
	if err := state.SaveLayout(saved); err != nil {
		t.Fatal(err)
	}
	layout, found, err := state.LoadLayout()
	if !found || err != nil || !reflect.DeepEqual(layout, saved) {
		t.Errorf("read %v, %v, %v", layout, found, err)
	}
}

func TestWhatALayoutDoesNotSayIsTheDefault(t *testing.T) {
	layout, err := ParseLayout([]byte("nodeMonitorGrace: 15m"))
	if err != nil || layout.NodeMonitorGrace != 15*time.Minute || !reflect.DeepEqual(layout.Nodes, topology.Default()) {
		t.Errorf("read %v, %v", layout, err)
	}
}

func TestAGraceShorterThanLeasesAreRenewedIsRefused(t *testing.T) {
	for _, written := range []string{"2s", "soon"} {
		_, err := ParseLayout([]byte("nodeMonitorGrace: " + written))
		if err == nil || !strings.Contains(err.Error(), written) || !strings.Contains(err.Error(), "at least 16s") {
			t.Errorf("%s: got %v", written, err)
		}
	}
}

func TestAnUnknownKeyInTheNodesFileIsRefusedWithAnExample(t *testing.T) {
	_, err := ParseLayout([]byte("nodes: [{name: a, regoin: b}]"))
	if err == nil || !strings.Contains(err.Error(), "regoin") || !strings.Contains(err.Error(), "number: 11") {
		t.Errorf("got %v", err)
	}
}
