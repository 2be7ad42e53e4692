package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rtcfleet.dev/e2e/cluster/internal/config"
)

// Desired is what the supervisor keeps a component at.
type Desired string

// A component that is Down was stopped by hand and stays so.
const (
	Up   Desired = "up"
	Down Desired = "down"
)

// Record is what is written down about a component, so that a later process finds it again.
type Record struct {
	Spec     Spec      `json:"spec"`
	Identity Identity  `json:"identity"`
	Desired  Desired   `json:"desired"`
	Started  time.Time `json:"started"`
	// Restarts counts unexpected ends since the component was first started.
	Restarts int `json:"restarts"`
}

// Store keeps one file a component in a folder.
type Store struct{ Folder string }

// file flattens names such as kubelet/system-1. Names hold no underscore, so no two meet.
func (s Store) file(name string) string {
	return filepath.Join(s.Folder, strings.ReplaceAll(name, "/", "_")+".json")
}

// Save writes one record.
func (s Store) Save(record Record) error {
	content, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	return config.WriteFile(s.file(record.Spec.Name), content, 0o600)
}

// Remove drops a record; one that is not there is fine.
func (s Store) Remove(name string) error {
	if err := os.Remove(s.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Load reads all records; a folder that is not there has none.
func (s Store) Load() ([]Record, error) {
	entries, err := os.ReadDir(s.Folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var records []Record
	for _, entry := range entries {
		path := filepath.Join(s.Folder, entry.Name())
		if filepath.Ext(path) != ".json" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var record Record
		if err := json.Unmarshal(content, &record); err != nil {
			return nil, fmt.Errorf("%s: %w: run `rtc-cluster down`, then `up`", path, err)
		}
		records = append(records, record)
	}
	return records, nil
}
