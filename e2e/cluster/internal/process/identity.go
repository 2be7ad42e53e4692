// Package process starts, recognises and ends the long-running programs of a cluster.
//
// A process is known by its number, its start time and the boot it belongs to, never by its number
// alone: numbers are used again.
package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Identity names one process for good.
type Identity struct {
	PID int `json:"pid"`
	// StartTicks is field 22 of /proc/PID/stat: clock ticks from boot to the start (proc_pid_stat(5)).
	StartTicks uint64 `json:"startTicks"`
	BootID     string `json:"bootID"`
}

// Identify gives the identity of the process that has this number now.
func Identify(pid int) (Identity, error) {
	identity, state, err := identify(pid)
	if err == nil && (state == 'Z' || state == 'X') {
		return Identity{}, os.ErrProcessDone
	}
	return identity, err
}

// identify also takes a process that has ended and was not waited for yet.
func identify(pid int) (identity Identity, state byte, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Identity{}, 0, err
	}
	stat, err := parseStat(string(content))
	if err != nil {
		return Identity{}, 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	boot, err := BootID()
	return Identity{PID: pid, StartTicks: stat.startTicks, BootID: boot}, stat.state, err
}

// BootID differs from boot to boot.
func BootID() (string, error) {
	content, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(content)), err
}

// Alive tells whether this very process still runs. A zombie does not.
func (i Identity) Alive() bool {
	if i.PID <= 0 {
		return false
	}
	now, err := Identify(i.PID)
	return err == nil && now == i
}

// ResidentBytes is the memory that the process holds, 0 when it is gone.
func (i Identity) ResidentBytes() uint64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", i.PID))
	if err != nil || !i.Alive() {
		return 0
	}
	fields := strings.Fields(string(content))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

type stat struct {
	state      byte
	startTicks uint64
}

// parseStat reads /proc/PID/stat. The second field is the program's name in parentheses and may
// hold blanks and parentheses itself, so counting begins after the last one.
func parseStat(line string) (stat, error) {
	_, rest, found := cutLast(line, ")")
	fields := strings.Fields(rest)
	const stateField, startField = 3 - 3, 22 - 3
	if !found || len(fields) <= startField || len(fields[stateField]) != 1 {
		return stat{}, fmt.Errorf("unexpected content %q", line)
	}
	ticks, err := strconv.ParseUint(fields[startField], 10, 64)
	if err != nil {
		return stat{}, err
	}
	return stat{state: fields[stateField][0], startTicks: ticks}, nil
}

func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
}
