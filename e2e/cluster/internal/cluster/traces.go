package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/cgroup"
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
	runcState      = "/run/containerd/runc/k8s.io"
)

// The loopback plugin's result of a pod stands beside that of its network.
const loopbackResult = "cni-loopback-%s-lo"

// Folders that are removed when nothing else is in them.
var sharedFolders = []string{
	cniResults, "/var/lib/cni",
	containerLinks,
	"/var/lib/kubelet",
	shimSockets, runcState, "/run/containerd/runc", "/run/containerd",
}

// traces are what the cluster left outside of its state folder.
type traces struct {
	// files and folders that are removed with all that is in them.
	files    []string
	podNetns []string
}

// findTraces looks while the state folder is still there, which says what is ours.
func findTraces(state config.State) (traces, error) {
	var found traces
	var failed []error
	for _, find := range []func(config.State, *traces) error{findCNIResults, findContainerLinks, findRuncState} {
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
		containerID, namespaces, err := parseCNIResult(content)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		found.podNetns = append(found.podNetns, namespaces...)
		found.files = append(found.files, filepath.Join(cniResults, fmt.Sprintf(loopbackResult, containerID)))
	}
	return nil
}

// parseCNIResult gives the pod's container and the names of its network namespaces.
func parseCNIResult(content []byte) (containerID string, namespaces []string, err error) {
	var cached struct {
		ContainerID string `json:"containerId"`
		Result      struct {
			Interfaces []struct {
				Sandbox string `json:"sandbox"`
			} `json:"interfaces"`
		} `json:"result"`
	}
	if err := json.Unmarshal(content, &cached); err != nil {
		return "", nil, err
	}
	for _, link := range cached.Result.Interfaces {
		if link.Sandbox != "" { // the other end of the pod's cable is in no sandbox
			namespaces = append(namespaces, filepath.Base(link.Sandbox))
		}
	}
	return cached.ContainerID, namespaces, nil
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

// findRuncState finds what runc keeps of our containers, known by their cgroups.
func findRuncState(_ config.State, found *traces) error {
	states, err := filepath.Glob(filepath.Join(runcState, "*", "state.json"))
	if err != nil {
		return err
	}
	for _, state := range states {
		content, err := os.ReadFile(state)
		if err != nil {
			continue // its container ended meanwhile
		}
		if bytes.Contains(content, []byte("/"+cgroup.Root+"/")) {
			found.files = append(found.files, filepath.Dir(state))
		}
	}
	return nil
}

// removeDeadSockets removes the sockets of shims that are gone. A shim removes its own unless it is
// killed; nobody can use one that nobody listens on.
func removeDeadSockets() error {
	entries, err := os.ReadDir(shimSockets)
	if err != nil {
		return nil // there are none
	}
	var failed []error
	for _, entry := range entries {
		path := filepath.Join(shimSockets, entry.Name())
		connection, err := net.Dial("unix", path)
		if err == nil {
			connection.Close()
		} else if errors.Is(err, unix.ECONNREFUSED) {
			failed = append(failed, os.Remove(path))
		}
	}
	return errors.Join(failed...)
}

func (t traces) remove() error {
	var failed []error
	for _, file := range t.files {
		if err := os.RemoveAll(file); err != nil {
			failed = append(failed, err)
		}
	}
	failed = append(failed, removeDeadSockets())
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
