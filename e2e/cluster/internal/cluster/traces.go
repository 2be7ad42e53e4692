package cluster

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/node"
)

// Places outside of the state folder that the kubelet, containerd and the CNI plugins write to and
// that no setting moves.
const (
	cniResults     = "/var/lib/cni/results"
	containerLinks = "/var/log/containers"
	devicePlugins  = "/var/lib/kubelet/device-plugins"
	shimSockets    = "/run/containerd/s"
)

// Folders that are removed when nothing else is in them.
var sharedFolders = []string{
	cniResults, "/var/lib/cni",
	containerLinks,
	"/var/lib/kubelet",
	shimSockets, "/run/containerd",
}

// traces are what the cluster left outside of its state folder.
type traces struct {
	files    []string
	podNetns []string
}

// findTraces looks while the state folder is still there, which says what is ours.
func findTraces(state config.State) (traces, error) {
	var found traces
	var failed []error
	for _, find := range []func(config.State, *traces) error{findCNIResults, findContainerLinks, findShimSockets} {
		if err := find(state, &found); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return found, errors.Join(failed...)
}

// findCNIResults reads what the plugins wrote down for each pod: its network namespace is there.
func findCNIResults(_ config.State, found *traces) error {
	entries, err := os.ReadDir(cniResults)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), node.CNINetworkPrefix) {
			continue
		}
		path := filepath.Join(cniResults, entry.Name())
		found.files = append(found.files, path)
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var result struct {
			Netns string `json:"netns"`
		}
		if err := json.Unmarshal(content, &result); err == nil && result.Netns != "" {
			found.podNetns = append(found.podNetns, filepath.Base(result.Netns))
		}
	}
	return nil
}

// findContainerLinks finds the links that a kubelet makes to the logs of its pods.
func findContainerLinks(state config.State, found *traces) error {
	entries, err := os.ReadDir(containerLinks)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(containerLinks, entry.Name())
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, state.Root()+"/") {
			found.files = append(found.files, path)
		}
	}
	return nil
}

// findShimSockets reads where the shims of our containers listen.
func findShimSockets(state config.State, found *traces) error {
	files, err := filepath.Glob(filepath.Join(state.Root(), "nodes/*/containerd-state/io.containerd.runtime.v2.task/*/*/address"))
	if err != nil {
		return err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // its container ended meanwhile
		}
		if socket := strings.TrimPrefix(strings.TrimSpace(string(content)), "unix://"); strings.HasPrefix(socket, shimSockets+"/") {
			found.files = append(found.files, socket)
		}
	}
	return nil
}

func (t traces) remove() error {
	var failed []error
	for _, file := range t.files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	// The kubelets share one socket and one empty list of devices; a kubelet of somebody else would
	// have more than these two in there.
	if entries, err := os.ReadDir(devicePlugins); err == nil && onlyOurDevices(entries) {
		failed = append(failed, os.RemoveAll(devicePlugins))
	}
	for _, folder := range sharedFolders {
		err := unix.Rmdir(folder)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTEMPTY) {
			failed = append(failed, &os.PathError{Op: "rmdir", Path: folder, Err: err})
		}
	}
	return errors.Join(failed...)
}

func onlyOurDevices(entries []fs.DirEntry) bool {
	for _, entry := range entries {
		switch entry.Name() {
		case "kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION":
		default:
			return false
		}
	}
	return true
}
