package cluster

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/cgroup"
	"rtcfleet.dev/e2e/cluster/internal/config"
	"rtcfleet.dev/e2e/cluster/internal/process"
	"rtcfleet.dev/e2e/cluster/internal/supervisor"
)

// SuperviseCommand is the argument by which this program becomes a cluster's supervisor.
const SuperviseCommand = "supervise"

const supervisorName = "supervisor"

// Starting this program and binding a socket takes a fraction of a second.
const supervisorLimit = 20 * time.Second

func components(state config.State) process.Store { return process.Store{Folder: state.Records()} }

// supervisorStore is apart from the components', which the supervisor reads itself.
func supervisorStore(state config.State) process.Store {
	return process.Store{Folder: filepath.Join(state.Records(), supervisorName)}
}

// startSupervisor leaves one alone that runs this very build, and replaces any other: the
// components go on meanwhile.
func (c *Cluster) startSupervisor(ctx context.Context, mounts cgroup.Mounts) error {
	program, err := supervisor.ProgramID(c.Program)
	if err != nil {
		return err
	}
	if report, err := c.supervisor.Status(ctx); err == nil && report.Program == program {
		return nil
	}
	if err := c.stopSupervisor(); err != nil {
		return err
	}
	spec := process.Spec{
		Name:        supervisorName,
		Argv:        []string{c.Program, SuperviseCommand, "--state", c.State.Root()},
		CgroupProcs: mounts.DaemonProcs(),
		Log:         c.log(supervisorName),
	}
	child, identity, err := process.Launch(spec)
	if err != nil {
		return c.failure(supervisorName, err, "")
	}
	if err := supervisorStore(c.State).Save(process.Record{Spec: spec, Identity: identity, Desired: process.Up, Started: time.Now()}); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for deadline := time.Now().Add(supervisorLimit); ; pause(ctx, askAgain) {
		_, err := c.supervisor.Status(ctx)
		if err == nil {
			return nil
		}
		select {
		case how := <-ended:
			return c.failure(supervisorName, fmt.Errorf("ended at once: %v", how), "")
		default:
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return c.failure(supervisorName, fmt.Errorf("does not answer: %w", errors.Join(err, ctx.Err())), "")
		}
	}
}

// stopSupervisor ends the supervisor, if one runs, and only it.
func (c *Cluster) stopSupervisor() error {
	records, err := supervisorStore(c.State).Load()
	if err != nil {
		return err
	}
	for _, record := range records {
		if err := process.Stop(record.Identity, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// Supervise is the supervisor's own process; it returns when it is asked to leave.
func Supervise(state config.State, program string) error {
	log.SetOutput(os.Stderr)
	log.SetFlags(log.LstdFlags | log.Lmicroseconds | log.LUTC)
	id, err := supervisor.ProgramID(program)
	if err != nil {
		return err
	}
	made, err := supervisor.New(components(state))
	if err != nil {
		return err
	}
	return supervisor.Serve(made, state.SupervisorSocket(), id)
}
