package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"rtcfleet.dev/e2e/cluster/internal/cluster"
	"rtcfleet.dev/e2e/cluster/internal/network"
	"rtcfleet.dev/e2e/cluster/internal/topology"
	"rtcfleet.dev/e2e/cluster/internal/wire"
)

func newRegion(given *options) *cobra.Command {
	command := &cobra.Command{Use: "region", Short: "Take a whole region off the network, or make its network bad"}
	command.AddCommand(newLink(given, "down REGION", "Unplug all nodes of a region; what runs on them goes on, cut off", ofRegion))
	command.AddCommand(newLink(given, "up REGION", "Plug the nodes of a region in again", ofRegion))
	command.AddCommand(newRegionNetem(given))
	return command
}

func newNode(given *options) *cobra.Command {
	command := &cobra.Command{Use: "node", Short: "Take a single node off the network"}
	command.AddCommand(newLink(given, "down NODE", "Unplug a node; what runs on it goes on, cut off", single))
	command.AddCommand(newLink(given, "up NODE", "Plug a node in again", single))
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

// Which nodes a command means by its argument.
type chosen func(all topology.Topology, name string) ([]topology.Node, error)

func ofRegion(all topology.Topology, name string) ([]topology.Node, error) { return all.InRegion(name) }

func single(all topology.Topology, name string) ([]topology.Node, error) {
	node, err := all.Node(name)
	return []topology.Node{node}, err
}

// newLink plugs nodes in or out; the first word of its usage says which.
func newLink(given *options, use, short string, nodesOf chosen) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  exactly(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			nodes, err := nodesOf(target.Nodes, arguments[0])
			if err != nil {
				return usageError{err}
			}
			if err := network.SetLinks(command.Context(), nodes, command.Name() == "up"); err != nil {
				return err
			}
			for _, node := range nodes {
				fmt.Fprintf(command.OutOrStdout(), "%s: link %s\n", node.Name, command.Name())
			}
			return nil
		},
	}
}
