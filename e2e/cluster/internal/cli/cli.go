// Package cli is the command line of rtc-cluster.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"rtcfleet.dev/e2e/cluster/internal/cluster"
	"rtcfleet.dev/e2e/cluster/internal/config"
)

// Exit codes: a command that was written wrongly is told from one that failed.
const (
	exitFailed = 1
	exitUsage  = 2
)

// Run executes a command line and gives the exit code.
func Run(arguments []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(arguments)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "rtc-cluster: interrupted: run the same command again, it goes on from here")
		return exitFailed
	}
	fmt.Fprintf(os.Stderr, "rtc-cluster: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

type usageError struct{ error }

// options are what all commands have.
type options struct{ state string }

func newRoot() *cobra.Command {
	var given options
	root := &cobra.Command{
		Use:   "rtc-cluster",
		Short: "A real Kubernetes cluster with several regions on one machine, without a container engine",
		Long: `A real Kubernetes cluster with several regions on one machine, without a container engine.

Each node is a network namespace with a containerd and a kubelet of its own, on a bridge whose other
side is the machine itself. kubectl, helm and the components of Kubernetes are in the program too:
rtc-cluster kubectl …, rtc-cluster helm …`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	state := os.Getenv(config.StateEnv)
	if state == "" {
		state = config.DefaultState
	}
	root.PersistentFlags().StringVar(&given.state, "state", state, "folder that holds everything of the cluster; env "+config.StateEnv)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newUp(&given), newDown(&given), newStatus(&given), newKubeconfig(&given),
		newImage(&given), newRegion(&given), newNode(&given), newComponent(&given), newSupervise(&given), newWire(&given),
	)
	return root
}

// open finds the cluster of a command line.
func (o *options) open(command *cobra.Command) (*cluster.Cluster, error) {
	state, err := config.NewState(o.state)
	if err != nil {
		return nil, usageError{err}
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return cluster.New(state, program, command.OutOrStdout())
}

// exactly is cobra.ExactArgs with the exit code of a usage error.
func exactly(number int) cobra.PositionalArgs { return asUsage(cobra.ExactArgs(number)) }

func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(command *cobra.Command, arguments []string) error {
		if err := check(command, arguments); err != nil {
			return usageError{fmt.Errorf("%w: usage: %s", err, command.UseLine())}
		}
		return nil
	}
}

func newUp(given *options) *cobra.Command {
	var nodesFile string
	command := &cobra.Command{
		Use:   "up",
		Short: "Make the cluster, or complete it; ends with its status",
		Long: `Make the cluster, or complete it; ends with its status.

Run it again at any time: it starts what was stopped, plugs in what was unplugged, and leaves alone
what works.`,
		Args: exactly(0),
		RunE: func(command *cobra.Command, _ []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			if nodesFile != "" {
				content, err := os.ReadFile(nodesFile)
				if err != nil {
					return err
				}
				layout, err := config.ParseLayout(content)
				if err != nil {
					return usageError{fmt.Errorf("%s: %w", nodesFile, err)}
				}
				if err := target.SetLayout(layout); err != nil {
					return err
				}
			}
			if err := target.Up(command.Context()); err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout())
			return target.Status(command.Context())
		},
	}
	command.Flags().StringVar(&nodesFile, "nodes-file", "", "YAML file with other nodes, and how long they may be silent: `nodes: [{name, region, role, number}], nodeMonitorGrace: 16s` (default: five nodes)")
	return command
}

func newDown(given *options) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster with everything it made",
		Args:  exactly(0),
		RunE: func(command *cobra.Command, _ []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			return target.Down(command.Context())
		},
	}
}

func newStatus(given *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show components and nodes; exit code 1 when one does not work",
		Args:  exactly(0),
		RunE: func(command *cobra.Command, _ []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			return target.Status(command.Context())
		},
	}
}

func newKubeconfig(given *options) *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  exactly(0),
		RunE: func(command *cobra.Command, _ []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			if _, err := os.Stat(target.State.Kubeconfig()); err != nil {
				return config.ErrNoCluster
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), target.State.Kubeconfig())
			return err
		},
	}
}

func newSupervise(given *options) *cobra.Command {
	return &cobra.Command{
		Use:    cluster.SuperviseCommand,
		Hidden: true,
		Args:   exactly(0),
		RunE: func(command *cobra.Command, _ []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			return cluster.Supervise(target.State, target.Program)
		},
	}
}
