package wire

import (
	"testing"
	"time"
)

func TestPacketsLeaveInTheOrderOfTheirArrivalAndThoseOfOneTimeInTheOrderTheyCame(t *testing.T) {
	q := newQueue(10)
	for _, sent := range []struct {
		name  string
		after time.Duration
	}{{"late", 3}, {"first", 1}, {"second", 1}, {"third", 1}, {"middle", 2}} {
		q.push(packet{bytes: []byte(sent.name), arrives: noon.Add(sent.after)})
	}
	for _, want := range []string{"first", "second", "third", "middle", "late"} {
		got, wait := q.due(noon.Add(3))
		if wait != 0 || string(got.bytes) != want {
			t.Errorf("%q after %v, want %q", got.bytes, wait, want)
		}
	}
}

func TestAPacketDoesNotLeaveBeforeItsTime(t *testing.T) {
	q := newQueue(1)
	q.push(packet{arrives: noon.Add(time.Second)})
	if _, wait := q.due(noon); wait != time.Second {
		t.Errorf("waits %v", wait)
	}
	if _, wait := q.due(noon.Add(time.Second)); wait != 0 {
		t.Errorf("still waits %v", wait)
	}
}

func TestAFullQueueLosesTheNewestPacket(t *testing.T) {
	q := newQueue(2)
	for _, name := range []string{"a", "b", "c"} {
		q.push(packet{bytes: []byte(name), arrives: noon})
	}
	if len(q.packets) != 2 || string(q.pop().bytes) != "a" || string(q.pop().bytes) != "b" {
		t.Error("an older packet was lost")
	}
}

func TestAWaitingReaderIsWokenByAPacketThatArrivesEarlier(t *testing.T) {
	q := newQueue(2)
	q.push(packet{bytes: []byte("late"), arrives: time.Now().Add(time.Hour)})
	got := make(chan string)
	go func() { got <- string(q.pop().bytes) }()
	q.push(packet{bytes: []byte("now"), arrives: time.Now()})
	if name := <-got; name != "now" {
		t.Errorf("got %q", name)
	}
}
