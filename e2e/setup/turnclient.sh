#!/bin/sh
# Builds the scenarios' Go client (pion) into ${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet/bin. Go's own cache knows what changed.
set -eu
. "$(dirname "$0")/lib.sh"
client=$cache/bin/turnclient

[ -x "$client" ] || step "building the Go client of the scenarios (usually 20 seconds)"
mkdir -p "$cache/bin"
cd "$repository/e2e/cluster/turnclient"
CGO_ENABLED=0 go build -trimpath -o "$client" . ||
    fail "turnclient was not built" "the compiler's messages are above; are Go modules reached (go env GOPROXY)?"
