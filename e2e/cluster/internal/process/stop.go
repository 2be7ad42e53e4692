package process

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A process that was sent SIGKILL is gone in milliseconds, unless the kernel holds it.
const killWait = 10 * time.Second

// Handle refers to one process by a pidfd, so that a signal cannot hit a later process with the
// same number.
type Handle struct{ fd int }

// Open gives a handle; it fails with unix.ESRCH when the process is gone.
func Open(identity Identity) (Handle, error) {
	if identity.PID <= 0 { // never started
		return Handle{}, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(identity.PID, 0)
	if err != nil {
		return Handle{}, err
	}
	// Asked after opening: from here on the number cannot be used again under our hands.
	if !identity.Alive() {
		unix.Close(fd)
		return Handle{}, unix.ESRCH
	}
	return Handle{fd: fd}, nil
}

// Close lets go of the handle, not of the process.
func (h Handle) Close() { unix.Close(h.fd) }

// Signal sends a signal; to a process that is gone it does nothing.
func (h Handle) Signal(signal unix.Signal) error {
	err := unix.PidfdSendSignal(h.fd, signal, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// Ended waits until the process has ended, at most that long; negative means for ever.
func (h Handle) Ended(limit time.Duration) (bool, error) {
	timeout := -1
	deadline := time.Now().Add(limit)
	for {
		if limit >= 0 {
			timeout = int(max(0, time.Until(deadline)).Milliseconds())
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, timeout)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return ready > 0, err
	}
}

// Stop ends a process: SIGTERM, then SIGKILL after the grace. One that is gone is fine.
func Stop(identity Identity, grace time.Duration) error {
	handle, err := Open(identity)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer handle.Close()
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, killWait}} {
		if err := handle.Signal(step.signal); err != nil {
			return err
		}
		if ended, err := handle.Ended(step.wait); ended || err != nil {
			return err
		}
	}
	return fmt.Errorf("process %d does not end, not even by SIGKILL: the kernel holds it, see /proc/%d/stack", identity.PID, identity.PID)
}
