#!/bin/sh
# Builds rtc-cluster, and beside it helm and the pause program, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet/bin, unless they were built from these very sources.
set -eu

source_dir=$(cd "$(dirname "$0")/../cluster" && pwd)
script=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
bin_dir=${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet/bin
kubernetes=v1.34.4
minor=34

# The content of all sources and of this script, by name. The modules in the folders left out are other programs'.
sources() {
    (
        cd "$source_dir"
        find . \( -path ./turnclient -o -path ./kwok -o -path ./metrics-server -o -path ./external-dns \) -prune -o -type f \( -name '*.go' -o -name 'go.*' \) ! -name '*_test.go' -print | LC_ALL=C sort | xargs sha256sum
        sha256sum <"$script"
    ) | sha256sum
}

up_to_date() {
    for program in rtc-cluster helm pause; do
        [ -x "$bin_dir/$program" ] || return 1
    done
    [ "$(cat "$bin_dir/.sources" 2>/dev/null)" = "$wanted" ]
}

wanted=$(sources)
if up_to_date; then
    echo "build-cluster: $bin_dir/rtc-cluster is up to date"
    exit 0
fi

if ! command -v go >/dev/null; then
    echo "build-cluster: no go in PATH: install Go 1.24 or newer: https://go.dev/dl" >&2
    exit 1
fi

# One set of flags for good: another one compiles all of Kubernetes again.
version() { printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean ' "$1" "$kubernetes" "$1" "$1" "$minor" "$1"; }
helm_version() { printf -- '-X %s.k8sVersionMajor=1 -X %s.k8sVersionMinor=%s ' "$1" "$1" "$minor"; }
ldflags="-s -w $(version k8s.io/component-base/version)$(version k8s.io/client-go/pkg/version)"
ldflags="$ldflags$(helm_version helm.sh/helm/v3/pkg/chartutil)$(helm_version helm.sh/helm/v3/pkg/lint/rules)"

if [ -x "$bin_dir/rtc-cluster" ]; then
    echo "build-cluster: sources changed, building again (usually less than a minute)"
else
    echo "build-cluster: first build of Kubernetes $kubernetes from source (5 to 10 minutes on 2 cores, after its modules are downloaded)"
fi

mkdir -p "$bin_dir"
# What a build that was killed has left.
find "$bin_dir" -maxdepth 1 -name '.build.*' -mmin +120 -exec rm -rf {} +
work=$(mktemp -d "$bin_dir/.build.XXXXXX")
started=$(date +%s)
cd "$source_dir"
CGO_ENABLED=0 nice -n 5 go build -trimpath -ldflags "$ldflags" -o "$work/" . ./pause helm.sh/helm/v3/cmd/helm &
build=$!
trap 'kill "$build" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

while kill -0 "$build" 2>/dev/null; do
    passed=$(($(date +%s) - started))
    if [ "$passed" -gt 0 ] && [ $((passed % 30)) -eq 0 ]; then
        echo "build-cluster: compiling for ${passed} s"
    fi
    sleep 1
done
if ! wait "$build"; then
    echo "build-cluster: the build failed; the compiler's messages are above" >&2
    exit 1
fi

# A running cluster keeps its old program until its components are started again.
mv -f "$work/cluster" "$bin_dir/rtc-cluster"
mv -f "$work/helm" "$work/pause" "$bin_dir/"
echo "$wanted" >"$bin_dir/.sources"
echo "build-cluster: $bin_dir/rtc-cluster built in $(($(date +%s) - started)) s"
