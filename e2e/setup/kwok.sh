#!/bin/sh
# Builds kwok, the pretended kubelets of bench-scale, into ${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet/bin. Go's own cache
# knows what changed.
set -eu
. "$(dirname "$0")/lib.sh"
kwok=$cache/bin/kwok

[ -x "$kwok" ] || step "building kwok (first time about 3 minutes)"
mkdir -p "$cache/bin"
cd "$repository/e2e/cluster/kwok"
CGO_ENABLED=0 go build -trimpath -o "$kwok" sigs.k8s.io/kwok/cmd/kwok ||
    fail "kwok was not built" "the compiler's messages are above; are Go modules reached (go env GOPROXY)?"
