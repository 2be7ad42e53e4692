#!/bin/sh
# Builds a Go program that has a module of its own beside the cluster's, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet/bin. Go's own cache knows what changed. Usage: go-program.sh NAME
set -eu
. "$(dirname "$0")/lib.sh"
name=$1
case $name in
turnclient) package=. takes="20 seconds" ;;                                              # the scenarios' client (pion)
kwok) package=sigs.k8s.io/kwok/cmd/kwok takes="3 minutes" ;;                             # pretended kubelets of bench-scale
metrics-server) package=sigs.k8s.io/metrics-server/cmd/metrics-server takes="3 minutes" ;; # of Kubernetes, for a scenario
external-dns) package=sigs.k8s.io/external-dns takes="4 minutes" ;;                        # for a scenario, with its CRD
*) fail "go-program.sh: no such program: $name" "write turnclient, kwok, metrics-server or external-dns" ;;
esac

[ -x "$cache/bin/$name" ] || step "building $name (first time about $takes)"
[ "$name" != external-dns ] || [ "$(go env GOTOOLCHAIN)" != local ] || at_least "$(go env GOVERSION | sed 's/^go//')" 1.26.1 ||
    fail "go is $(go env GOVERSION), and external-dns needs Go 1.26.1 or newer" "https://go.dev/dl, or unset GOTOOLCHAIN, and go gets it by itself"
mkdir -p "$cache/bin"
cd "$repository/e2e/cluster/$name"
CGO_ENABLED=0 go build -trimpath -o "$cache/bin/$name" "$package" ||
    fail "$name was not built" "the compiler's messages are above; are Go modules reached (go env GOPROXY)?"

if [ "$name" = external-dns ]; then
    mkdir -p "$cache/share"
    crds=$(go list -m -f '{{.Dir}}' sigs.k8s.io/external-dns)/charts/external-dns/crds
    install -m 644 "$crds/dnsendpoints.externaldns.k8s.io.yaml" "$cache/share/"
fi
