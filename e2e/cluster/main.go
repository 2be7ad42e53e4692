// Command rtc-cluster makes a real Kubernetes cluster on one machine, without a container engine.
//
// It is one program for everything: the first argument, or the name that it is called by, chooses
// between kubectl, helm, a component of Kubernetes, and the command line of the cluster itself.
package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"rtcfleet.dev/e2e/cluster/internal/cli"
)

func main() {
	if run, found := programs[filepath.Base(os.Args[0])]; found {
		os.Exit(run())
	}
	if len(os.Args) > 1 {
		if run, found := programs[os.Args[1]]; found {
			os.Args = os.Args[1:]
			os.Exit(run())
		}
	}
	// The components' packages add flags of theirs to every command line of the process.
	pflag.CommandLine = pflag.NewFlagSet("rtc-cluster", pflag.ExitOnError)
	os.Exit(cli.Run(os.Args[1:]))
}
