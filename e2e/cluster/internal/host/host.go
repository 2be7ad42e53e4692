// Package host runs the programs of the machine that change it (ip, tc, ctr, umount).
package host

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Command is one program with its arguments and, where it reads one, its standard input.
type Command struct {
	Argv  []string
	Stdin string
}

// Cmd makes a command without input.
func Cmd(argv ...string) Command { return Command{Argv: argv} }

// String is the command as one would type it.
func (c Command) String() string { return strings.Join(c.Argv, " ") }

// Run runs a command and gives its standard output. The error holds what it wrote to stderr.
func Run(ctx context.Context, command Command) (string, error) {
	child := exec.CommandContext(ctx, command.Argv[0], command.Argv[1:]...)
	var stdout, stderr bytes.Buffer
	child.Stdout, child.Stderr = &stdout, &stderr
	if command.Stdin != "" {
		child.Stdin = strings.NewReader(command.Stdin)
	}
	if err := child.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// RunAll runs commands one after the other and ends at the first that fails.
func RunAll(ctx context.Context, commands []Command) error {
	for _, command := range commands {
		if _, err := Run(ctx, command); err != nil {
			return err
		}
	}
	return nil
}
