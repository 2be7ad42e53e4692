package preflight

import (
	"strings"
	"testing"
)

func TestMissingProgramsAreNamedOnceWithOneCommandThatInstallsThem(t *testing.T) {
	err := missing(func(program string) bool {
		return !strings.HasPrefix(program, "/usr/lib/cni") && program != "ctr" && program != "containerd"
	})
	if err == nil || !strings.HasSuffix(err.Error(), "`apt-get install --no-install-recommends containerd containernetworking-plugins`") {
		t.Errorf("%v", err)
	}
	if err := missing(func(string) bool { return true }); err != nil {
		t.Errorf("nothing is missing, yet: %v", err)
	}
}

func TestOnlyContainerdVersionsThatReadOurConfigurationAreTaken(t *testing.T) {
	for output, good := range map[string]bool{
		"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3": true,
		"containerd github.com/containerd/containerd v1.7.24 88bf19b2105c":            true,
		"containerd github.com/containerd/containerd/v2 2.1.0 abc":                    false,
		"containerd github.com/containerd/containerd 1.5.1 x":                         false,
		"": false,
	} {
		if err := checkContainerd(output); (err == nil) != good {
			t.Errorf("%q: %v", output, err)
		}
	}
}
