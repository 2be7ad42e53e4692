package controlplane

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"rtcfleet.dev/e2e/cluster/internal/config"
)

func TestTheStoreStartsBeforeTheServerAndTheServerBeforeItsClients(t *testing.T) {
	folder, err := os.MkdirTemp("/tmp", "rtc")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	state, err := config.NewState(folder)
	if err != nil {
		t.Fatal(err)
	}
	made, err := Prepare(state, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, spec := range Specs(state, "rtc-cluster", made, config.DefaultNodeMonitorGrace) {
		names = append(names, spec.Name)
		if HealthURL(spec.Name) == "" {
			t.Errorf("%s has no health URL", spec.Name)
		}
	}
	if !slices.Equal(names, []string{Etcd, APIServer, ControllerManager, Scheduler}) {
		t.Errorf("%v", names)
	}
}

func TestTheAuditLogLeavesOutReadsOnly(t *testing.T) {
	var policy struct {
		Rules []struct {
			Level string
			Verbs []string
		}
	}
	if err := yaml.Unmarshal([]byte(auditPolicy), &policy); err != nil {
		t.Fatal(err)
	}
	for index, rule := range policy.Rules {
		if rule.Level == "None" && !slices.Equal(rule.Verbs, []string{"get", "list", "watch"}) {
			t.Errorf("rule %d drops %v", index, rule.Verbs)
		}
	}
	if last := policy.Rules[len(policy.Rules)-1]; last.Level != "Metadata" || last.Verbs != nil {
		t.Errorf("the last rule is %+v", last)
	}
	if strings.Contains(auditPolicy, "Request\n") {
		t.Error("contents, and with them secrets, would be logged")
	}
}
