package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/process"
)

func TestPausesDoubleUpToTheLongestAndBeginAnewAfterAQuietRun(t *testing.T) {
	for _, row := range []struct {
		name                string
		previous, ran, want time.Duration
	}{
		{"the first death", 0, time.Second, firstPause},
		{"a second one at once", time.Second, time.Millisecond, 2 * time.Second},
		{"near the limit", 20 * time.Second, 0, longestPause},
		{"at the limit", longestPause, 0, longestPause},
		{"after a quiet run", longestPause, settled, firstPause},
	} {
		if got := pause(row.previous, row.ran); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

type bench struct {
	t          *testing.T
	supervisor *Supervisor
	store      process.Store
	spec       process.Spec
}

func newBench(t *testing.T) *bench {
	t.Helper()
	folder := t.TempDir()
	store := process.Store{Folder: filepath.Join(folder, "run")}
	supervisor, err := New(store)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, supervisor: supervisor, store: store, spec: process.Spec{
		Name: "kubelet/a", Argv: []string{"sleep", "1000"}, Log: filepath.Join(folder, "log"),
	}}
	t.Cleanup(func() { _ = b.supervisor.Stop(b.spec.Name) })
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) record() process.Record { return b.supervisor.Status()[0] }

// until waits for a condition, with a deadline that only a failure reaches.
func (b *bench) until(what string, condition func(process.Record) bool) process.Record {
	b.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if record := b.record(); condition(record) {
			return record
		}
	}
	b.t.Fatalf("%s: not seen; %+v", what, b.record())
	return process.Record{}
}

func TestAKilledComponentComesBackAsANewProcess(t *testing.T) {
	b := newBench(t)
	b.must(b.supervisor.Start(b.spec))
	before := b.record()
	b.must(b.supervisor.Kill(b.spec.Name))
	after := b.until("a new process", func(r process.Record) bool {
		return r.Identity != before.Identity && r.Identity.Alive()
	})
	if after.Restarts != 1 {
		t.Errorf("%d restarts counted", after.Restarts)
	}
}

func TestAStoppedComponentStaysDownUntilItIsStarted(t *testing.T) {
	b := newBench(t)
	b.must(b.supervisor.Start(b.spec))
	b.must(b.supervisor.Stop(b.spec.Name))
	if record := b.record(); record.Identity.Alive() || record.Desired != process.Down {
		t.Errorf("%+v", record)
	}
	if b.supervisor.component(b.spec.Name).retry != nil {
		t.Error("a restart is planned for what was stopped by hand")
	}
	b.must(b.supervisor.Resume(b.spec.Name))
	if record := b.record(); !record.Identity.Alive() || record.Restarts != 0 {
		t.Errorf("%+v", record)
	}
}

func TestStartLeavesTheSameSpecAloneAndReplacesAnother(t *testing.T) {
	b := newBench(t)
	b.must(b.supervisor.Start(b.spec))
	first := b.record().Identity
	b.must(b.supervisor.Start(b.spec))
	if b.record().Identity != first {
		t.Error("the same spec replaced the process")
	}
	b.spec.Fingerprint = "another configuration"
	b.must(b.supervisor.Start(b.spec))
	if b.record().Identity == first || first.Alive() {
		t.Error("another configuration left the process alone")
	}
}

func TestTheNextSupervisorTakesOverWhatRunsAndBringsBackWhatDied(t *testing.T) {
	b := newBench(t)
	b.must(b.supervisor.Start(b.spec))
	before := b.record()
	b.supervisor.Leave()
	if !before.Identity.Alive() {
		t.Fatal("the component ended with its supervisor")
	}
	next, err := New(b.store)
	b.must(err)
	b.supervisor = next
	if b.record().Identity != before.Identity {
		t.Error("the next supervisor started another process")
	}
	b.must(b.supervisor.Kill(b.spec.Name))
	b.until("a new process", func(r process.Record) bool {
		return r.Identity != before.Identity && r.Identity.Alive()
	})
}

func TestAForgottenComponentIsEndedAndUnknownToTheNextSupervisor(t *testing.T) {
	b := newBench(t)
	b.must(b.supervisor.Start(b.spec))
	identity := b.record().Identity
	b.must(b.supervisor.Forget(b.spec.Name))
	b.must(b.supervisor.Forget(b.spec.Name))
	if identity.Alive() || len(b.supervisor.Status()) != 0 {
		t.Errorf("alive %v, %v", identity.Alive(), b.supervisor.Status())
	}
	if records, err := b.store.Load(); err != nil || records != nil {
		t.Errorf("%v, %v", records, err)
	}
}

func TestComponentsOfAnEarlierBootWaitForUp(t *testing.T) {
	b := newBench(t)
	b.must(b.store.Save(process.Record{Spec: b.spec, Desired: process.Up, Identity: process.Identity{PID: 1, BootID: "earlier"}}))
	next, err := New(b.store)
	b.must(err)
	b.supervisor = next
	if b.supervisor.component(b.spec.Name).retry != nil || b.record().Identity.Alive() {
		t.Error("a component was started before its network is made")
	}
}

func TestALongLogIsMovedAsideWhileItsWriterGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writer, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	_, _ = writer.WriteString("old")
	if err := cutLog(path, 3); err != nil {
		t.Fatal(err)
	}
	_, _ = writer.WriteString("new")
	old, _ := os.ReadFile(path + ".1")
	current, _ := os.ReadFile(path)
	if string(old) != "old" || string(current) != "new" {
		t.Errorf("%q, %q", old, current)
	}
}

func TestAClientStartsStopsAndReadsThroughTheSocket(t *testing.T) {
	b := newBench(t)
	socket := filepath.Join(t.TempDir(), "s")
	client := NewClient(socket)
	ctx := context.Background()
	if _, err := client.Status(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a supervisor: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(b.supervisor, socket, "build-1") }()
	var report Report
	for err := error(ErrNotRunning); errors.Is(err, ErrNotRunning); report, err = client.Status(ctx) {
	}
	if report.Program != "build-1" {
		t.Errorf("%+v", report)
	}
	b.must(client.Start(ctx, b.spec))
	if !b.record().Identity.Alive() {
		t.Error("not started")
	}
	b.must(client.Stop(ctx, b.spec.Name))
	if err := client.Kill(ctx, b.spec.Name); err == nil || !strings.Contains(err.Error(), unix.ESRCH.Error()) {
		t.Errorf("killing what is down: %v", err)
	}
	if err := client.Stop(ctx, "nobody"); err == nil || !strings.Contains(err.Error(), "component list") {
		t.Errorf("stopping what is unknown: %v", err)
	}
	b.must(client.Leave(ctx))
	b.must(<-served)
}
