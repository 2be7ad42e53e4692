package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Spec says how to start a program.
type Spec struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Env  []string `json:"env,omitempty"`
	// NetnsPath is the network namespace to run in; empty means the one of the starter.
	NetnsPath string `json:"netnsPath,omitempty"`
	// CgroupProcs are the cgroup.procs files that the process joins before the program begins, so
	// that whatever it starts later is found there.
	CgroupProcs []string `json:"cgroupProcs,omitempty"`
	Log         string   `json:"log"`
	// Fingerprint changes with the content of the program's configuration files, which Argv only
	// names.
	Fingerprint string `json:"fingerprint"`
}

// join is run by sh: the first argument counts the cgroup.procs files that follow it.
const join = `n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 125; shift; n=$((n-1)); done; exec "$@"`

// commandLine wraps a program so that it starts in its cgroups and its network namespace. Each
// wrapper replaces itself, so the process keeps its number. nsenter enters the network namespace
// alone; `ip netns exec` would mount /sys anew and hide the cgroups from the kubelet.
func commandLine(spec Spec) []string {
	argv := spec.Argv
	if spec.NetnsPath != "" {
		argv = append([]string{"nsenter", "--net=" + spec.NetnsPath, "--"}, argv...)
	}
	wrapped := append([]string{"sh", "-c", join, "sh", fmt.Sprint(len(spec.CgroupProcs))}, spec.CgroupProcs...)
	return append(wrapped, argv...)
}

// Launch starts a program in a session of its own, with its output added to its log. The caller
// has to wait for the command.
func Launch(spec Spec) (*exec.Cmd, Identity, error) {
	if err := os.MkdirAll(filepath.Dir(spec.Log), 0o755); err != nil {
		return nil, Identity{}, err
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, Identity{}, err
	}
	defer log.Close()
	argv := commandLine(spec)
	child := exec.Command(argv[0], argv[1:]...)
	child.Dir = "/"
	child.Env = append(os.Environ(), spec.Env...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return nil, Identity{}, fmt.Errorf("%s: %w", spec.Name, err)
	}
	// Until the caller waits the process is there, at least as a zombie.
	identity, _, err := identify(child.Process.Pid)
	if err != nil {
		_ = child.Wait()
		return nil, Identity{}, fmt.Errorf("%s: %w", spec.Name, err)
	}
	return child, identity, nil
}
