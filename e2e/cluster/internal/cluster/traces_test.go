package cluster

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAPodsNamespaceIsReadFromWhatThePluginsWroteDown(t *testing.T) {
	container, namespaces, err := parseCNIResult([]byte(`{"kind":"cniCacheV1","containerId":"9385","result":{"interfaces":[
		{"mac":"0e:a2","name":"veth155f"},
		{"mac":"2a:3c","name":"eth0","sandbox":"/var/run/netns/cni-faa4"}]}}`))
	if err != nil || container != "9385" || !slices.Equal(namespaces, []string{"cni-faa4"}) {
		t.Errorf("%q, %q, %v", container, namespaces, err)
	}
}

func TestAnotherKubeletsDevicesAreLeftAlone(t *testing.T) {
	folder := t.TempDir()
	entries := func(names ...string) []fs.DirEntry {
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		found, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if !onlyOurDevices(entries("kubelet.sock", "kubelet_internal_checkpoint")) {
		t.Error("what our kubelets leave would stay")
	}
	if onlyOurDevices(entries("gpu.sock")) {
		t.Error("somebody's device plugin would be removed")
	}
}
