// Package supervisor keeps the components of a cluster running: one process that starts them,
// starts again what died, and leaves down what was stopped by hand. It knows nothing of Kubernetes.
//
// The components do not depend on it. When it ends they go on, and the next one takes them over by
// their records.
package supervisor

import (
	"fmt"
	"log"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/process"
)

// Logs are cut when they reach this size: the content moves to NAME.log.1 and the file begins anew.
const longestLog = 64 << 20

const logCheck = time.Minute

// stopGrace is how long a component may take to end before it is killed.
const stopGrace = 10 * time.Second

// Supervisor is the state of all components. Make one with New.
type Supervisor struct {
	store process.Store

	lock       sync.Mutex
	components map[string]*component
	leaving    bool
}

type component struct {
	record process.Record
	pause  time.Duration
	// changing is held while the component is started or stopped by request.
	changing sync.Mutex
	// retry starts it again after a pause; nil while none is planned.
	retry *time.Timer
}

// New takes over what the records of this boot say; components of an earlier boot wait for `up`,
// which makes the network first that they need.
func New(store process.Store) (*Supervisor, error) {
	records, err := store.Load()
	if err != nil {
		return nil, err
	}
	boot, err := process.BootID()
	if err != nil {
		return nil, err
	}
	supervisor := &Supervisor{store: store, components: map[string]*component{}}
	supervisor.lock.Lock()
	defer supervisor.lock.Unlock()
	for _, record := range records {
		taken := &component{record: record}
		supervisor.components[record.Spec.Name] = taken
		switch {
		case record.Identity.Alive():
			log.Printf("%s: taken over, process %d", record.Spec.Name, record.Identity.PID)
			go supervisor.watchForeign(taken, record.Identity)
		case record.Desired == process.Up && record.Identity.BootID == boot:
			supervisor.planRestart(taken)
		}
	}
	go supervisor.cutLogs()
	return supervisor, nil
}

// Start brings a component up as the spec says: it starts one that is down, leaves one alone that
// runs by the same spec, and replaces one that runs by another.
func (s *Supervisor) Start(spec process.Spec) error {
	target := s.component(spec.Name)
	target.changing.Lock()
	defer target.changing.Unlock()

	s.lock.Lock()
	record := target.record
	s.lock.Unlock()
	if record.Identity.Alive() && sameSpec(record.Spec, spec) && record.Desired == process.Up {
		return nil
	}
	if err := s.halt(target); err != nil {
		return err
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	target.record.Spec = spec
	target.pause = 0
	return s.launch(target)
}

// Resume starts a component that is down, by the spec it had.
func (s *Supervisor) Resume(name string) error {
	spec, err := s.spec(name)
	if err != nil {
		return err
	}
	return s.Start(spec)
}

// Stop ends a component, and it stays down.
func (s *Supervisor) Stop(name string) error {
	if _, err := s.spec(name); err != nil {
		return err
	}
	target := s.component(name)
	target.changing.Lock()
	defer target.changing.Unlock()
	return s.halt(target)
}

// Forget ends a component and drops its record; one that does not exist is fine.
func (s *Supervisor) Forget(name string) error {
	if _, err := s.spec(name); err != nil {
		return nil
	}
	if err := s.Stop(name); err != nil {
		return err
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.components, name)
	return s.store.Remove(name)
}

// Kill sends SIGKILL to a component, as a crash would end it; it comes back by itself.
func (s *Supervisor) Kill(name string) error {
	if _, err := s.spec(name); err != nil {
		return err
	}
	target := s.component(name)
	s.lock.Lock()
	identity := target.record.Identity
	s.lock.Unlock()
	handle, err := process.Open(identity)
	if err != nil {
		return fmt.Errorf("%s does not run: %w", name, err)
	}
	defer handle.Close()
	return handle.Signal(unix.SIGKILL)
}

// Status gives all records, by name.
func (s *Supervisor) Status() []process.Record {
	s.lock.Lock()
	defer s.lock.Unlock()
	var records []process.Record
	for _, each := range s.components {
		records = append(records, each.record)
	}
	slices.SortFunc(records, func(a, b process.Record) int {
		if a.Spec.Name < b.Spec.Name {
			return -1
		}
		return 1
	})
	return records
}

// Leave ends the supervision and leaves the components as they are.
func (s *Supervisor) Leave() {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.leaving = true
	for _, each := range s.components {
		if each.retry != nil {
			each.retry.Stop()
		}
	}
}

func (s *Supervisor) component(name string) *component {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.components[name] == nil {
		s.components[name] = &component{record: process.Record{Spec: process.Spec{Name: name}}}
	}
	return s.components[name]
}

func (s *Supervisor) spec(name string) (process.Spec, error) {
	s.lock.Lock()
	defer s.lock.Unlock()
	found := s.components[name]
	if found == nil || len(found.record.Spec.Argv) == 0 {
		return process.Spec{}, fmt.Errorf("component %q does not exist: `rtc-cluster component list` names them", name)
	}
	return found.record.Spec, nil
}

// halt brings a component down and writes that down first, so that its end is no surprise.
func (s *Supervisor) halt(target *component) error {
	s.lock.Lock()
	if target.retry != nil {
		target.retry.Stop()
		target.retry = nil
	}
	target.record.Desired = process.Down
	identity := target.record.Identity
	if len(target.record.Spec.Argv) > 0 {
		if err := s.store.Save(target.record); err != nil {
			s.lock.Unlock()
			return err
		}
	}
	s.lock.Unlock()
	return process.Stop(identity, stopGrace)
}

// launch starts a component; the lock is held.
func (s *Supervisor) launch(target *component) error {
	child, identity, err := process.Launch(target.record.Spec)
	if err != nil {
		return err
	}
	target.record.Identity = identity
	target.record.Desired = process.Up
	target.record.Started = time.Now()
	log.Printf("%s: started, process %d", target.record.Spec.Name, identity.PID)
	go func() {
		_ = child.Wait()
		s.ended(target, identity, child.ProcessState.String())
	}()
	return s.store.Save(target.record)
}

// watchForeign waits for a process that an earlier supervisor started.
func (s *Supervisor) watchForeign(target *component, identity process.Identity) {
	handle, err := process.Open(identity)
	if err == nil {
		_, err = handle.Ended(-1)
		handle.Close()
	}
	s.ended(target, identity, fmt.Sprintf("an earlier supervisor's child (%v)", err))
}

func (s *Supervisor) ended(target *component, identity process.Identity, how string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	name := target.record.Spec.Name
	if target.record.Desired != process.Up || target.record.Identity != identity {
		log.Printf("%s: process %d ended as asked", name, identity.PID)
		return
	}
	target.record.Restarts++
	log.Printf("%s: process %d ended unexpectedly: %s", name, identity.PID, how)
	s.planRestart(target)
}

// planRestart starts a component again after its pause; the lock is held.
func (s *Supervisor) planRestart(target *component) {
	if s.leaving {
		return
	}
	target.pause = pause(target.pause, time.Since(target.record.Started))
	log.Printf("%s: starts again in %v", target.record.Spec.Name, target.pause)
	target.retry = time.AfterFunc(target.pause, func() {
		s.lock.Lock()
		defer s.lock.Unlock()
		if s.leaving || target.record.Desired != process.Up || target.record.Identity.Alive() {
			return
		}
		if err := s.launch(target); err != nil {
			log.Printf("%s: %v", target.record.Spec.Name, err)
			s.planRestart(target)
		}
	})
}

// sameSpec compares what decides whether a running process has to be replaced.
func sameSpec(a, b process.Spec) bool {
	return slices.Equal(a.Argv, b.Argv) && slices.Equal(a.Env, b.Env) && a.NetnsPath == b.NetnsPath && a.Fingerprint == b.Fingerprint
}

func (s *Supervisor) cutLogs() {
	for range time.Tick(logCheck) {
		for _, record := range s.Status() {
			if err := cutLog(record.Spec.Log, longestLog); err != nil && !os.IsNotExist(err) {
				log.Printf("%s: %v", record.Spec.Log, err)
			}
		}
	}
}

// cutLog keeps a log below two times the limit. The writer has it open for appending, so the file
// must stay the same one: its content is copied and it is cut to nothing. Lines written in between
// are lost.
func cutLog(path string, limit int64) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() < limit {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".1", content, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}
