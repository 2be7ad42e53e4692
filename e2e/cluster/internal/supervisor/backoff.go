package supervisor

import "time"

// A component that died comes back after firstPause; each death soon after a start doubles the
// pause up to longestPause. One that ran for settled begins anew, as a kubelet does for a pod.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
	settled      = time.Minute
)

// pause gives how long to wait before the next start, after a component that ran for `ran` died;
// previous is the pause before that run, 0 when there was none.
func pause(previous, ran time.Duration) time.Duration {
	if previous == 0 || ran >= settled {
		return firstPause
	}
	return min(previous*2, longestPause)
}
