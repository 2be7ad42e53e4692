// Package config holds where a cluster keeps its files, and which nodes it has.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

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

// DefaultNodeMonitorGrace is how long a node may be silent before it is Unknown. Nodes of this cluster renew their
// leases every third second; with one period of the controller's, a lost one is Unknown in under 20 s instead of the
// usual 50 s.
const DefaultNodeMonitorGrace = 16 * time.Second

// Layout is what a cluster is made of.
type Layout struct {
	Nodes topology.Topology
	// NodeMonitorGrace is longer than the default where somebody adds nodes that renew their leases less often.
	NodeMonitorGrace time.Duration
}

// DefaultLayout is that of a cluster of which nothing is said.
func DefaultLayout() Layout {
	return Layout{Nodes: topology.Default(), NodeMonitorGrace: DefaultNodeMonitorGrace}
}

type layoutFile struct {
	Nodes            []topology.Node `json:"nodes"`
	NodeMonitorGrace string          `json:"nodeMonitorGrace,omitempty"`
}

// ParseLayout reads a list of nodes and the rest of a layout, in YAML or JSON. What it does not say is the default.
func ParseLayout(content []byte) (Layout, error) {
	layout := DefaultLayout()
	var file layoutFile
	if err := yaml.UnmarshalStrict(content, &file); err != nil {
		return layout, fmt.Errorf("nodes: %w: write `nodes: [{name: centralindia-1, region: centralindia, role: media, number: 11}]`", err)
	}
	var err error
	if file.Nodes != nil {
		if layout.Nodes, err = topology.New(file.Nodes); err != nil {
			return layout, err
		}
	}
	if file.NodeMonitorGrace != "" {
		layout.NodeMonitorGrace, err = time.ParseDuration(file.NodeMonitorGrace)
		if err != nil || layout.NodeMonitorGrace < DefaultNodeMonitorGrace {
			return layout, fmt.Errorf("nodeMonitorGrace: %q: write a duration of at least %s, such as 15m", file.NodeMonitorGrace, DefaultNodeMonitorGrace)
		}
	}
	return layout, nil
}

// LoadLayout reads the layout that the cluster was made with; found is false where none was made.
func (s State) LoadLayout() (layout Layout, found bool, err error) {
	content, err := os.ReadFile(s.nodesFile())
	if errors.Is(err, os.ErrNotExist) {
		return Layout{}, false, nil
	}
	if err != nil {
		return Layout{}, false, err
	}
	layout, err = ParseLayout(content)
	if err != nil {
		return Layout{}, false, fmt.Errorf("%s: %w", s.nodesFile(), err)
	}
	return layout, true, nil
}

// SaveLayout writes down the layout that the cluster is made with.
func (s State) SaveLayout(layout Layout) error {
	content, err := yaml.Marshal(layoutFile{Nodes: layout.Nodes.Nodes(), NodeMonitorGrace: layout.NodeMonitorGrace.String()})
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
