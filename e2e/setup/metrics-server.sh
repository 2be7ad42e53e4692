#!/bin/sh
# Builds the metrics server of Kubernetes, for the scenarios, into ${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet/bin. Go's own
# cache knows what changed.
set -eu
. "$(dirname "$0")/lib.sh"
server=$cache/bin/metrics-server

[ -x "$server" ] || step "building the metrics server (first time about 3 minutes)"
mkdir -p "$cache/bin"
cd "$repository/e2e/cluster/metrics-server"
CGO_ENABLED=0 go build -trimpath -o "$server" sigs.k8s.io/metrics-server/cmd/metrics-server ||
    fail "the metrics server was not built" "the compiler's messages are above; are Go modules reached (go env GOPROXY)?"
