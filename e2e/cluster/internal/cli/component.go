package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"rtcfleet.dev/e2e/cluster/internal/supervisor"
)

func newComponent(given *options) *cobra.Command {
	command := &cobra.Command{
		Use:   "component",
		Short: "Kill, stop and start single components",
		Long: `Kill, stop and start single components: etcd, apiserver, controller-manager, scheduler,
containerd/NODE, kubelet/NODE, kube-proxy/NODE.`,
	}
	type act = func(*supervisor.Client, context.Context, string) error
	command.AddCommand(newComponentList(given))
	for _, each := range []struct {
		name, short string
		act         act
	}{
		{"kill", "End a component by SIGKILL, as a crash would; it comes back after a second", (*supervisor.Client).Kill},
		{"stop", "End a component; it stays down until `start` or `up`", (*supervisor.Client).Stop},
		{"start", "Start a component that is down", (*supervisor.Client).Resume},
		{"restart", "End a component and start it again", func(client *supervisor.Client, ctx context.Context, name string) error {
			if err := client.Stop(ctx, name); err != nil {
				return err
			}
			return client.Resume(ctx, name)
		}},
	} {
		command.AddCommand(&cobra.Command{
			Use:   each.name + " NAME",
			Short: each.short,
			Args:  exactly(1),
			RunE: func(command *cobra.Command, arguments []string) error {
				target, err := given.open(command)
				if err != nil {
					return err
				}
				return each.act(target.Supervisor(), command.Context(), arguments[0])
			},
		})
	}
	return command
}

func newComponentList(given *options) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the names of all components",
		Args:  exactly(0),
		RunE: func(command *cobra.Command, _ []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			report, err := target.Supervisor().Status(command.Context())
			if err != nil {
				return err
			}
			for _, record := range report.Components {
				fmt.Fprintln(command.OutOrStdout(), record.Spec.Name)
			}
			return nil
		},
	}
}
