#!/bin/sh
# Everything that CI runs, in the order in which failures are cheap. Ends with the counts of all tests.
set -u
. "$(dirname "$0")/lib.sh"
cd "$repository" || exit 1
began=$(date +%s)
log=$(mktemp)
was_up=no
[ -e "$state/kubeconfig" ] && was_up=yes

# What is left behind, however this ends. A cluster that was up before stays up.
finish() {
    code=$?
    trap - EXIT INT TERM
    if [ "$was_up" = no ] && ! foreign_cluster && [ -x "$rtc_cluster" ]; then
        step "removing the cluster that the tests made"
        "$rtc_cluster" down >"$log.down" 2>&1 || { cat "$log.down"; code=1; }
    fi
    "$repository/e2e/setup/counts.sh" <"$log" || code=1
    echo "took $((($(date +%s) - began) / 60)) min $((($(date +%s) - began) % 60)) s"
    rm -f "$log" "$log.down" "$log.failed"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# A part of the suite: seen while it runs, and kept for the counts.
part() {
    rm -f "$log.failed"
    { "$@" 2>&1 || : >"$log.failed"; } | tee -a "$log"
    [ ! -e "$log.failed" ] || { echo "failed: $*"; exit 1; }
}

part make check
part make unit
part make fuzz
part make e2e
