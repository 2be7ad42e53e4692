// Package cluster brings a whole cluster up and down, and says how it is.
package cluster

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/supervisor"
)

// Cluster is one cluster of this machine; its networks allow one at a time.
type Cluster struct {
	config.Layout
	State config.State
	// Program is this very program's file, which is all components in one.
	Program string
	Out     io.Writer

	supervisor *supervisor.Client
}

// New takes the nodes that the cluster was made with, or else the default ones.
func New(state config.State, program string, out io.Writer) (*Cluster, error) {
	layout, found, err := state.LoadLayout()
	if err != nil {
		return nil, err
	}
	if !found {
		layout = config.DefaultLayout()
	}
	return &Cluster{Layout: layout, State: state, Program: program, Out: out, supervisor: supervisor.NewClient(state.SupervisorSocket())}, nil
}

// SetLayout chooses what a cluster that is not made yet is made of.
func (c *Cluster) SetLayout(layout config.Layout) error {
	made, found, err := c.State.LoadLayout()
	if err != nil {
		return err
	}
	if found && fmt.Sprint(made) != fmt.Sprint(layout) {
		return fmt.Errorf("--nodes-file: the cluster in %s is another one: run `rtc-cluster down` first", c.State.Root())
	}
	c.Layout = layout
	return nil
}

// Supervisor is the client of the cluster's supervisor.
func (c *Cluster) Supervisor() *supervisor.Client { return c.supervisor }

func (c *Cluster) sockets() map[string]string {
	sockets := map[string]string{}
	for _, node := range c.Nodes.Nodes() {
		sockets[node.Name] = c.State.ContainerdSocket(node.Name)
	}
	return sockets
}

// lock keeps two `up` or `down` from working at once. It is on the state folder itself, so that
// nothing is left behind; `down` removes the folder, so the one that waited looks again.
func (c *Cluster) lock() (unlock func(), err error) {
	for {
		if err := os.MkdirAll(c.State.Root(), 0o755); err != nil {
			return nil, err
		}
		folder, err := os.Open(c.State.Root())
		if err != nil {
			return nil, err
		}
		if unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			fmt.Fprintln(c.Out, "another rtc-cluster is at work on this cluster; waiting for it")
			if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
				folder.Close()
				return nil, err
			}
		}
		held, err := folder.Stat()
		if err != nil {
			folder.Close()
			return nil, err
		}
		if current, err := os.Stat(c.State.Root()); err == nil && os.SameFile(held, current) {
			return func() { folder.Close() }, nil
		}
		folder.Close()
	}
}

// helmProgram and pauseProgram are built beside this one.
func (c *Cluster) beside(name string) (string, error) {
	path := filepath.Join(filepath.Dir(c.Program), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is missing beside %s: build both by e2e/setup/build-cluster.sh", name, c.Program)
	}
	return path, nil
}

func (c *Cluster) log(component string) string {
	return filepath.Join(c.State.Logs(), filepath.FromSlash(component)+".log")
}
