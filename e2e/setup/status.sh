#!/bin/sh
# What runs in the local cluster.
set -eu
. "$(dirname "$0")/lib.sh"
[ -x "$rtc_cluster" ] || fail "there is no local cluster yet" "run make up"
"$rtc_cluster" status
use_cluster_tools
kubectl get turnregion --all-namespaces
