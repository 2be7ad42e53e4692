package wire

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func newLine(impairment Impairment) *line {
	return &line{impairment: impairment, random: rand.New(rand.NewPCG(1, 2))}
}

func TestADelayIsTheSameForEveryPacketWithoutJitter(t *testing.T) {
	bad := newLine(Impairment{Delay: 50 * time.Millisecond})
	for packet := range 100 {
		sent := noon.Add(time.Duration(packet) * time.Millisecond)
		if arrives, lost := bad.offer(sent); lost || arrives != sent.Add(50*time.Millisecond) {
			t.Fatalf("packet %d: %v, lost %v", packet, arrives.Sub(sent), lost)
		}
	}
}

func TestJitterFillsItsBoundsAndDoesNotChangeTheMeanDelay(t *testing.T) {
	bad := newLine(Impairment{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond})
	const packets = 5000
	shortest, longest, sum := time.Hour, time.Duration(0), time.Duration(0)
	for packet := range packets {
		sent := noon.Add(time.Duration(packet) * time.Microsecond)
		arrives, _ := bad.offer(sent)
		shortest, longest = min(shortest, arrives.Sub(sent)), max(longest, arrives.Sub(sent))
		sum += arrives.Sub(sent)
	}
	if mean := sum / packets; mean < 49*time.Millisecond || mean > 51*time.Millisecond {
		t.Errorf("mean delay %v", mean)
	}
	if shortest < 30*time.Millisecond || shortest > 32*time.Millisecond || longest > 70*time.Millisecond || longest < 68*time.Millisecond {
		t.Errorf("delays from %v to %v, want about 30ms to 70ms", shortest, longest)
	}
}

func TestLossIsTheShareThatWasAskedFor(t *testing.T) {
	for percent, bounds := range map[float64][2]int{0: {0, 0}, 2: {1800, 2200}, 100: {100_000, 100_000}} {
		bad, lostPackets := newLine(Impairment{LossPercent: percent}), 0
		for range 100_000 {
			if _, lost := bad.offer(noon); lost {
				lostPackets++
			}
		}
		if lostPackets < bounds[0] || lostPackets > bounds[1] {
			t.Errorf("%g%%: %d of 100000 lost", percent, lostPackets)
		}
	}
}

func TestWhatNoNetworkDoesIsRefusedByTheNameOfItsFlag(t *testing.T) {
	for want, bad := range map[string]Impairment{
		"--delay":  {Delay: -time.Second},
		"--jitter": {Delay: time.Millisecond, Jitter: time.Second},
		"--loss":   {LossPercent: 101},
		"--clear":  {},
	} {
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := (Impairment{Delay: time.Second, Jitter: time.Second, LossPercent: 100}).Check(); err != nil {
		t.Error(err)
	}
}

func TestPercentagesAreReadWithAndWithoutTheirSign(t *testing.T) {
	for text, want := range map[string]float64{"2%": 2, "0.5": 0.5, "100%": 100} {
		if got, err := ParsePercent(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "%", "two", "2%%", "2x"} {
		if got, err := ParsePercent(bad); err == nil {
			t.Errorf("%q became %v", bad, got)
		}
	}
}
