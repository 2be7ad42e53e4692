# Sourced by the other scripts: where things are, and how steps are told.
# shellcheck shell=sh

repository=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet
state=${RTC_CLUSTER_STATE:-/var/lib/rtc-cluster}
rtc_cluster=$cache/bin/rtc-cluster
system_namespace=rtc-fleet-system

# A step: what is done and how long that usually takes.
step() { printf '\n==> %s\n' "$*"; }

# A failure: what is wrong and what to do, then the end.
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

# at_least HAVE WANT: true when version HAVE is WANT or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# True when KUBECONFIG names a cluster that we have not made.
foreign_cluster() {
    [ -n "${KUBECONFIG:-}" ] && [ "$KUBECONFIG" != "$state/kubeconfig" ]
}

# kubectl and helm: the local cluster's own, or those in PATH for a cluster of somebody else.
use_cluster_tools() {
    if foreign_cluster; then
        for program in kubectl helm; do
            command -v "$program" >/dev/null || fail "$program is not in PATH" "install it, or unset KUBECONFIG to use the local cluster, which brings its own"
        done
    else
        export KUBECONFIG="$state/kubeconfig" PATH="$state/bin:$PATH"
    fi
}
