package kubeapi

import (
	"reflect"
	"testing"
	"time"
)

func TestANodeIsReadyOnlyWhenItsConditionSaysTrue(t *testing.T) {
	got, err := parseNodes([]byte(`{"items":[
		{"metadata":{"name":"a"},"status":{"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True","message":"kubelet is posting ready status","lastHeartbeatTime":"2026-01-01T12:00:00Z"}]}},
		{"metadata":{"name":"b"},"status":{"conditions":[{"type":"Ready","status":"Unknown","message":"Kubelet stopped posting node status."}]}},
		{"metadata":{"name":"c"},"status":{}}]}`))
	want := map[string]Node{
		"a": {Ready: true, Heartbeat: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)},
		"b": {Why: "Kubelet stopped posting node status."},
		"c": {Why: "no Ready condition yet"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}
