// Package config holds where a cluster keeps its files, and which nodes it has.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// StateEnv overrides DefaultState.
const (
	StateEnv     = "RTC_CLUSTER_STATE"
	DefaultState = "/var/lib/rtc-cluster"
)

// ErrNoCluster says that there is nothing in the state folder.
var ErrNoCluster = errors.New("there is no cluster: run `rtc-cluster up` first")

// Unix socket paths have at most 107 bytes; the longest below the state folder is
// nodes/<40 characters>/containerd.sock.ttrpc.
const longestState = 38

// State is the folder that holds everything of a cluster. Make one with NewState.
type State struct{ root string }

// NewState checks a state folder's path.
func NewState(path string) (State, error) {
	switch {
	case !filepath.IsAbs(path):
		return State{}, fmt.Errorf("--state: %q: write an absolute path, such as %s", path, DefaultState)
	case filepath.Clean(path) == "/" || strings.Count(filepath.Clean(path), "/") < 2:
		return State{}, fmt.Errorf("--state: %q: `down` removes the whole folder; write one of its own, such as %s", path, DefaultState)
	case len(path) > longestState:
		return State{}, fmt.Errorf("--state: %q: has %d characters; write at most %d, sockets below it have short names by the kernel's limit", path, len(path), longestState)
	}
	return State{root: filepath.Clean(path)}, nil
}

// Paths of the cluster's files.
func (s State) Root() string             { return s.root }
func (s State) Kubeconfig() string       { return filepath.Join(s.root, "kubeconfig") }
func (s State) Bin() string              { return filepath.Join(s.root, "bin") }
func (s State) Logs() string             { return filepath.Join(s.root, "logs") }
func (s State) Records() string          { return filepath.Join(s.root, "run") }
func (s State) PKI() string              { return filepath.Join(s.root, "pki") }
func (s State) Etcd() string             { return filepath.Join(s.root, "etcd") }
func (s State) Config() string           { return filepath.Join(s.root, "config") }
func (s State) AuditLog() string         { return filepath.Join(s.root, "audit.log") }
func (s State) SupervisorSocket() string { return filepath.Join(s.root, "supervisor.sock") }
func (s State) PauseImage() string       { return filepath.Join(s.root, "pause.tar") }
func (s State) nodesFile() string        { return filepath.Join(s.root, "nodes.yaml") }

// Node is the folder of one node.
func (s State) Node(name string) string { return filepath.Join(s.root, "nodes", name) }

// ContainerdSocket is where a node's containerd listens.
func (s State) ContainerdSocket(node string) string {
	return filepath.Join(s.Node(node), "containerd.sock")
}

type nodesFile struct {
	Nodes []topology.Node `json:"nodes"`
}

// ParseNodes reads a list of nodes, in YAML or JSON.
func ParseNodes(content []byte) (topology.Topology, error) {
	var file nodesFile
	if err := yaml.UnmarshalStrict(content, &file); err != nil {
		return topology.Topology{}, fmt.Errorf("nodes: %w: write `nodes: [{name: centralindia-1, region: centralindia, role: media, number: 11}]`", err)
	}
	return topology.New(file.Nodes)
}

// LoadNodes reads the nodes that the cluster was made with; found is false where none was made.
func (s State) LoadNodes() (nodes topology.Topology, found bool, err error) {
	content, err := os.ReadFile(s.nodesFile())
	if errors.Is(err, os.ErrNotExist) {
		return topology.Topology{}, false, nil
	}
	if err != nil {
		return topology.Topology{}, false, err
	}
	nodes, err = ParseNodes(content)
	if err != nil {
		return topology.Topology{}, false, fmt.Errorf("%s: %w", s.nodesFile(), err)
	}
	return nodes, true, nil
}

// SaveNodes writes down the nodes that the cluster is made with.
func (s State) SaveNodes(nodes topology.Topology) error {
	content, err := yaml.Marshal(nodesFile{Nodes: nodes.Nodes()})
	if err != nil {
		return err
	}
	return WriteFile(s.nodesFile(), content, 0o644)
}

// WriteFile replaces a file as a whole, so that a crash leaves the old or the new one.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
