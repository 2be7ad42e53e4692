// Package preflight finds out what the machine lacks before anything is changed on it.
package preflight

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"rtcfleet.dev/e2e/cluster/internal/host"
	"rtcfleet.dev/e2e/cluster/internal/node"
)

// programs are looked up in PATH, or by their absolute path, and come from Debian packages.
var programs = []struct{ program, debian string }{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"ip", "iproute2"},
	{"tc", "iproute2"},
	{"iptables", "iptables"},
	{"ip6tables", "iptables"},
	{"conntrack", "conntrack"},
	{"nsenter", "util-linux"},
	{"mount", "mount"},
	{"umount", "mount"},
	{node.CNIPlugins + "/ptp", "containernetworking-plugins"},
	{node.CNIPlugins + "/host-local", "containernetworking-plugins"},
	{node.CNIPlugins + "/portmap", "containernetworking-plugins"},
	{node.CNIPlugins + "/loopback", "containernetworking-plugins"},
}

// Check gives an error that says everything that is missing and how to get it.
func Check(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the cluster makes network namespaces and cgroups: run as root, such as by `sudo -E`")
	}
	if err := missing(func(program string) bool {
		_, err := exec.LookPath(program)
		return err == nil
	}); err != nil {
		return err
	}
	output, err := host.Run(ctx, host.Cmd("containerd", "--version"))
	if err != nil {
		return err
	}
	return checkContainerd(output)
}

func missing(found func(program string) bool) error {
	var names, packages []string
	for _, needed := range programs {
		if !found(needed.program) {
			names = append(names, filepath.Base(needed.program))
			packages = append(packages, needed.debian)
		}
	}
	if names == nil {
		return nil
	}
	slices.Sort(packages)
	return fmt.Errorf("programs are missing: %s: run `apt-get install --no-install-recommends %s`",
		strings.Join(names, ", "), strings.Join(slices.Compact(packages), " "))
}

var containerdVersion = regexp.MustCompile(`\bv?(\d+)\.(\d+)\.\d+`)

// checkContainerd takes 1.6 and 1.7, whose configuration file is the one that is written here.
func checkContainerd(output string) error {
	version := containerdVersion.FindStringSubmatch(output)
	if version == nil || version[1] != "1" || (version[2] != "6" && version[2] != "7") {
		return fmt.Errorf("containerd --version says %q: install 1.6 or 1.7, as in Debian 12 and 13", strings.TrimSpace(output))
	}
	return nil
}
