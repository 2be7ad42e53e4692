// Package wire makes a node's cable bad: a program that stands between the cable and the bridge and
// passes every packet on, later or not at all.
//
// The kernel has a queueing discipline for this, netem, but small kernels, such as those of virtual
// machines, are often built without. This needs only TAP devices and packet sockets.
package wire

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Limits keep a queue bounded: more delay than this belongs to no network on Earth.
const (
	longestDelay = 10 * time.Second
	wholePercent = 100.0
)

// Impairment is what happens to packets, in each direction by itself: a delay of 50 ms makes a round
// trip 100 ms longer.
type Impairment struct {
	Delay time.Duration
	// Jitter changes the delay of each packet by up to this much, evenly spread to both sides and
	// each by itself, as netem does: packets that follow each other closely change their order.
	Jitter time.Duration
	// LossPercent of packets are lost, each by its own chance.
	LossPercent float64
}

// Check refuses what cannot be done.
func (i Impairment) Check() error {
	switch {
	case i.Delay < 0 || i.Delay > longestDelay:
		return fmt.Errorf("--delay %v: write 0s to %v, such as 50ms", i.Delay, longestDelay)
	case i.Jitter < 0 || i.Jitter > i.Delay:
		return fmt.Errorf("--jitter %v: write 0s to the --delay (%v): no packet arrives before it was sent", i.Jitter, i.Delay)
	case !(i.LossPercent >= 0 && i.LossPercent <= wholePercent):
		return fmt.Errorf("--loss %v%%: write 0%% to 100%%", i.LossPercent)
	case i == Impairment{}:
		return fmt.Errorf("nothing to do: write --delay, --jitter or --loss, or --clear")
	}
	return nil
}

// ParsePercent reads 2 or 2%.
func ParsePercent(text string) (float64, error) {
	var percent float64
	trimmed := strings.TrimSuffix(text, "%")
	if _, err := fmt.Sscanf(trimmed+"\n", "%g\n", &percent); err != nil {
		return 0, fmt.Errorf("--loss %q: write a percentage, such as 2%% or 0.5%%", text)
	}
	return percent, nil
}

// Arguments are the flags that give this impairment.
func (i Impairment) Arguments() []string {
	return []string{"--delay", i.Delay.String(), "--jitter", i.Jitter.String(), "--loss", fmt.Sprintf("%g%%", i.LossPercent)}
}

func (i Impairment) String() string {
	var parts []string
	if i.Delay > 0 {
		parts = append(parts, "delay "+i.Delay.String())
	}
	if i.Jitter > 0 {
		parts = append(parts, "jitter "+i.Jitter.String())
	}
	if i.LossPercent > 0 {
		parts = append(parts, fmt.Sprintf("loss %g%%", i.LossPercent))
	}
	return strings.Join(parts, ", ")
}

// line is one direction of a cable.
type line struct {
	impairment Impairment
	random     *rand.Rand
}

// offer decides about a packet that was sent now: when it arrives, or that it does not.
func (l *line) offer(now time.Time) (arrives time.Time, lost bool) {
	if l.random.Float64()*wholePercent < l.impairment.LossPercent {
		return time.Time{}, true
	}
	arrives = now.Add(l.impairment.Delay)
	if jitter := l.impairment.Jitter; jitter > 0 {
		arrives = arrives.Add(time.Duration(l.random.Int64N(2*int64(jitter)+1)) - jitter)
	}
	return arrives, false
}
