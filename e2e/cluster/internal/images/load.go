package images

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"rtcfleet.dev/e2e/cluster/internal/host"
)

// Namespace is where the kubelet's images are in containerd.
const Namespace = "k8s.io"

// Imports are bound by the disk and the processor; more at a time are not faster.
const importsAtATime = 2

// Result tells what a load did on one node.
type Result struct {
	Node, Archive string
	// Loaded is false where the node had these very images already.
	Loaded bool
}

// Load imports archives into nodes, given as containerd's socket by name. Nodes that have the
// images are skipped. done is called for each node and archive, one call at a time.
func Load(ctx context.Context, archives []string, sockets map[string]string, done func(Result)) error {
	var (
		group   sync.WaitGroup
		lock    sync.Mutex
		failed  []error
		tickets = make(chan struct{}, importsAtATime)
	)
	for _, archive := range archives {
		wanted, err := Contents(archive)
		if err != nil {
			return err
		}
		absolute, err := filepath.Abs(archive)
		if err != nil {
			return err
		}
		for node, socket := range sockets {
			group.Add(1)
			go func() {
				defer group.Done()
				tickets <- struct{}{}
				defer func() { <-tickets }()
				loaded, err := loadInto(ctx, absolute, wanted, socket)
				lock.Lock()
				defer lock.Unlock()
				if err != nil {
					failed = append(failed, fmt.Errorf("node %s: %w", node, err))
					return
				}
				done(Result{Node: node, Archive: archive, Loaded: loaded})
			}()
		}
	}
	group.Wait()
	return errors.Join(failed...)
}

func loadInto(ctx context.Context, archive string, wanted map[string]string, socket string) (bool, error) {
	listing, err := host.Run(ctx, ctr(socket, "images", "list"))
	if err != nil {
		return false, fmt.Errorf("containerd does not answer: %w", err)
	}
	if hasAll(parseListing(listing), wanted) {
		return false, nil
	}
	_, err = host.Run(ctx, ctr(socket, "images", "import", archive))
	return err == nil, err
}

func ctr(socket string, arguments ...string) host.Command {
	return host.Cmd(append([]string{"ctr", "--address", socket, "--namespace", Namespace}, arguments...)...)
}

func hasAll(present, wanted map[string]string) bool {
	for name, digest := range wanted {
		if present[name] != digest {
			return false
		}
	}
	return len(wanted) > 0
}

// parseListing reads the table of `ctr images list`: name, media type, digest, …
func parseListing(table string) map[string]string {
	images := map[string]string{}
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[2], "sha256:") {
			images[fields[0]] = fields[2]
		}
	}
	return images
}
