package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"rtcfleet.dev/e2e/cluster/internal/cluster"
	"rtcfleet.dev/e2e/cluster/internal/network"
	"rtcfleet.dev/e2e/cluster/internal/wire"
)

func newRegion(given *options) *cobra.Command {
	command := &cobra.Command{Use: "region", Short: "Take a whole region off the network, or make its network bad"}
	command.AddCommand(newRegionLink(given, "down", "Unplug all nodes of a region; what runs on them goes on, cut off", false))
	command.AddCommand(newRegionLink(given, "up", "Plug the nodes of a region in again", true))
	command.AddCommand(newRegionNetem(given))
	return command
}

func newRegionNetem(given *options) *cobra.Command {
	var (
		impairment wire.Impairment
		loss       string
		clear      bool
	)
	command := &cobra.Command{
		Use:   "netem REGION [--delay 50ms] [--jitter 5ms] [--loss 2%] | --clear",
		Short: "Delay or lose packets between a region and everything else",
		Long: `Delay or lose packets between a region's nodes and everything else, in each direction: a delay of
50ms makes a round trip 100 ms longer. Between two nodes of the region it counts for both.
Each call replaces what was set before.`,
		Args: exactly(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			nodes, err := target.Nodes.InRegion(arguments[0])
			if err != nil {
				return usageError{err}
			}
			if clear {
				return target.EndImpairments(command.Context(), nodes)
			}
			if impairment.LossPercent, err = wire.ParsePercent(loss); err != nil {
				return usageError{err}
			}
			if err := impairment.Check(); err != nil {
				return usageError{err}
			}
			return target.Impair(command.Context(), nodes, impairment)
		},
	}
	impairmentFlags(command, &impairment, &loss)
	command.Flags().BoolVar(&clear, "clear", false, "make the network good again")
	command.MarkFlagsMutuallyExclusive("clear", "delay")
	command.MarkFlagsMutuallyExclusive("clear", "jitter")
	command.MarkFlagsMutuallyExclusive("clear", "loss")
	return command
}

func impairmentFlags(command *cobra.Command, impairment *wire.Impairment, loss *string) {
	command.Flags().DurationVar(&impairment.Delay, "delay", 0, "how long a packet is on its way")
	command.Flags().DurationVar(&impairment.Jitter, "jitter", 0, "by how much the delay of each packet varies, to both sides")
	command.Flags().StringVar(loss, "loss", "0%", "how many packets are lost")
}

// newWire is the program of a bad cable, which the supervisor runs.
func newWire(given *options) *cobra.Command {
	var (
		impairment wire.Impairment
		loss       string
	)
	command := &cobra.Command{
		Use:    cluster.WireCommand + " NODE",
		Hidden: true,
		Args:   exactly(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			node, err := target.Nodes.Node(arguments[0])
			if err != nil {
				return usageError{err}
			}
			if impairment.LossPercent, err = wire.ParsePercent(loss); err != nil {
				return usageError{err}
			}
			return wire.Run(command.Context(), node, impairment)
		},
	}
	impairmentFlags(command, &impairment, &loss)
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
