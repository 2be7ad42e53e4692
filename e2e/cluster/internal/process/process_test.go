package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestStartTimeIsFoundBehindAProgramNameWithBlanksAndParentheses(t *testing.T) {
	line := "42 (a (b) c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1"
	got, err := parseStat(line)
	if err != nil || got != (stat{state: 'S', startTicks: 987654}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "42 a S", "42 (a) S 1"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestAnotherProcessWithTheSameNumberIsNotTakenForOurs(t *testing.T) {
	self, err := Identify(os.Getpid())
	if err != nil || !self.Alive() {
		t.Fatalf("%+v, %v", self, err)
	}
	earlier, otherBoot := self, self
	earlier.StartTicks--
	otherBoot.BootID = "another"
	if earlier.Alive() || otherBoot.Alive() || (Identity{}).Alive() {
		t.Error("a process that is not ours was taken for ours")
	}
	// Were the identity not checked, this would end the test.
	if err := Stop(earlier, 0); err != nil {
		t.Error(err)
	}
}

func launched(t *testing.T, argv ...string) (*exec.Cmd, Identity, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	child, identity, err := Launch(Spec{Name: "test", Argv: argv, Log: log, Env: []string{"RTC_TEST=seen"}})
	if err != nil {
		t.Fatal(err)
	}
	return child, identity, log
}

func TestAProcessThatIgnoresSigtermIsKilledAfterTheGrace(t *testing.T) {
	child, identity, log := launched(t, "sh", "-c", `trap "" TERM; echo ready; while :; do sleep 0.05; done`)
	go func() { _ = child.Wait() }()
	for content := []byte{}; !strings.Contains(string(content), "ready"); content, _ = os.ReadFile(log) {
		time.Sleep(time.Millisecond)
	}
	if err := Stop(identity, 50*time.Millisecond); err != nil || identity.Alive() {
		t.Errorf("alive %v, %v", identity.Alive(), err)
	}
	if err := Stop(identity, 0); err != nil {
		t.Errorf("ending it again: %v", err)
	}
}

func TestOutputAndEnvironmentReachTheLogOfAProcess(t *testing.T) {
	child, _, log := launched(t, "sh", "-c", "echo out $RTC_TEST; echo err >&2")
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(log)
	if err != nil || string(content) != "out seen\nerr\n" {
		t.Errorf("%q, %v", content, err)
	}
}

func TestAProcessJoinsItsCgroupsBeforeItsNamespaceAndItsProgram(t *testing.T) {
	got := commandLine(Spec{Argv: []string{"prog", "arg"}, NetnsPath: "/run/netns/x", CgroupProcs: []string{"/a", "/b"}})
	want := []string{"sh", "-c", join, "sh", "2", "/a", "/b", "nsenter", "--net=/run/netns/x", "--", "prog", "arg"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	procs := filepath.Join(t.TempDir(), "cgroup.procs")
	child, identity, err := Launch(Spec{Name: "test", Argv: []string{"true"}, CgroupProcs: []string{procs}, Log: procs + ".log"})
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(procs); strings.TrimSpace(string(content)) != strconv.Itoa(identity.PID) {
		t.Errorf("%q joined, want %d", content, identity.PID)
	}
}

func TestRecordsAreReadBackAndAMissingFolderHasNone(t *testing.T) {
	store := Store{Folder: filepath.Join(t.TempDir(), "run")}
	if records, err := store.Load(); err != nil || records != nil {
		t.Fatalf("%v, %v", records, err)
	}
	record := Record{Spec: Spec{Name: "kubelet/system-1", Argv: []string{"a"}}, Identity: Identity{PID: 1, StartTicks: 2, BootID: "b"}, Desired: Down, Restarts: 3}
	if err := store.Save(record); err != nil {
		t.Fatal(err)
	}
	if records, err := store.Load(); err != nil || !reflect.DeepEqual(records, []Record{record}) {
		t.Errorf("%+v, %v", records, err)
	}
}
