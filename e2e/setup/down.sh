#!/bin/sh
# Removes the local cluster with everything in it; from a foreign cluster, the chart (its CRDs and regions stay).
set -eu
. "$(dirname "$0")/lib.sh"

if foreign_cluster; then
    use_cluster_tools
    step "removing the chart from $KUBECONFIG (its CRDs and the regions stay)"
    helm uninstall rtc-fleet --namespace "$system_namespace" --wait --ignore-not-found
    exit 0
fi
if [ -x "$rtc_cluster" ]; then
    "$rtc_cluster" down
elif [ -e "$state" ]; then
    fail "there is a cluster in $state, but no $rtc_cluster to end it with" "run e2e/setup/build-cluster.sh, then make down again"
else
    echo "nothing is up"
fi
