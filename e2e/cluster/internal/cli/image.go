package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"rtcfleet.dev/e2e/cluster/internal/images"
)

func newImage(given *options) *cobra.Command {
	command := &cobra.Command{Use: "image", Short: "Build images out of static programs and load them into the nodes"}
	command.AddCommand(newImageBuild(), newImageLoad(given))
	return command
}

func newImageBuild() *cobra.Command {
	var (
		tag, archive string
		additions    []string
	)
	command := &cobra.Command{
		Use:   "build --tag NAME:TAG --file ARCHIVE [--add SRC:DEST]… BINARY",
		Short: "Write an OCI archive with one static program as entrypoint",
		Long: fmt.Sprintf(`Write an OCI archive with one static program as entrypoint, at /<its file name>, on an empty base.

It runs as user and group %d. The same program gives the same bytes.`, images.User),
		Args: exactly(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			name, err := images.FullName(tag)
			if err != nil {
				return usageError{err}
			}
			var files []images.File
			for _, text := range additions {
				file, err := images.ParseFile(text)
				if err != nil {
					return usageError{err}
				}
				files = append(files, file)
			}
			digest, err := images.Build(archive, name, arguments[0], files)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "%s@%s\n", name, digest)
			return err
		},
	}
	command.Flags().StringVar(&tag, "tag", "", "the image's name, such as rtc-fleet/operator:dev")
	command.Flags().StringVar(&archive, "file", "", "archive to write")
	command.Flags().StringArrayVar(&additions, "add", nil, "another file, as SRC:DEST; may be given several times")
	for _, name := range []string{"tag", "file"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return command
}

func newImageLoad(given *options) *cobra.Command {
	return &cobra.Command{
		Use:   "load ARCHIVE…",
		Short: "Load image archives (OCI or docker tar) into every node that has not got them",
		Args:  asUsage(cobra.MinimumNArgs(1)),
		RunE: func(command *cobra.Command, archives []string) error {
			target, err := given.open(command)
			if err != nil {
				return err
			}
			return target.LoadImages(command.Context(), archives)
		},
	}
}
