package supervisor

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"

	"rtcfleet.dev/e2e/cluster/internal/process"
)

// Report is the answer to a status request.
type Report struct {
	// Program is the identity of the file that the supervisor runs; see ProgramID.
	Program    string           `json:"program"`
	Components []process.Record `json:"components"`
}

// Serve answers on a unix socket until a client asks it to leave.
func Serve(supervisor *Supervisor, socket, program string) error {
	// A stale socket of a supervisor that was killed; the caller knows that none runs.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return err
	}
	left := make(chan struct{})
	server := &http.Server{Handler: handler(supervisor, program, func() { close(left) })}
	go func() {
		<-left
		supervisor.Leave()
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(supervisor *Supervisor, program string, leave func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(Report{Program: program, Components: supervisor.Status()})
	})
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, r *http.Request) {
		var spec process.Spec
		if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
			answer(w, err)
			return
		}
		answer(w, supervisor.Start(spec))
	})
	for path, act := range map[string]func(string) error{
		"POST /resume": supervisor.Resume,
		"POST /stop":   supervisor.Stop,
		"POST /kill":   supervisor.Kill,
		"POST /forget": supervisor.Forget,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			answer(w, act(r.URL.Query().Get("name")))
		})
	}
	mux.HandleFunc("POST /leave", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, nil)
		if flusher, ok := w.(http.Flusher); ok {
			flusher.Flush()
		}
		leave()
	})
	return mux
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}
