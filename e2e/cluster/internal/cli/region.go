package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"rtcfleet.dev/e2e/cluster/internal/network"
)

func newRegion(given *options) *cobra.Command {
	command := &cobra.Command{Use: "region", Short: "Take a whole region off the network, or make its network bad"}
	command.AddCommand(newRegionLink(given, "down", "Unplug all nodes of a region; what runs on them goes on, cut off", false))
	command.AddCommand(newRegionLink(given, "up", "Plug the nodes of a region in again", true))
	return command
}

func newRegionLink(given *options, name, short string, up bool) *cobra.Command {
	return &cobra.Command{
		Use:   name + " REGION",
		Short: short,
		Args:  exactly(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			nodes, err := target.Nodes.InRegion(arguments[0])
			if err != nil {
				return usageError{err}
			}
			if err := network.SetLinks(command.Context(), nodes, up); err != nil {
				return err
			}
			for _, node := range nodes {
				fmt.Fprintf(command.OutOrStdout(), "%s: link %s\n", node.Name, name)
			}
			return nil
		},
	}
}
