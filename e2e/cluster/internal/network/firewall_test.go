package network

import "testing"

func TestAFirewallThatDropsIsNamedUnlessItHasARuleForTheBridge(t *testing.T) {
	for rules, want := range map[string]bool{
		"-P FORWARD ACCEPT\n":                                         false,
		"-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n":                true,
		"-P FORWARD DROP\n-A FORWARD -i rtcbr0 -o rtcbr0 -j ACCEPT\n": false,
	} {
		if got := dropsBridged(rules); got != want {
			t.Errorf("%q: %v", rules, got)
		}
	}
}
