#!/bin/sh
# What every target that needs a cluster begins with: packages, compilers, and the local cluster unless KUBECONFIG names another.
set -eu
. "$(dirname "$0")/lib.sh"

"$repository/e2e/setup/programs.sh"
if foreign_cluster; then
    use_cluster_tools
    "$repository/e2e/setup/packages.sh" build
    kubectl version --request-timeout=10s >/dev/null 2>&1 ||
        fail "the cluster that KUBECONFIG names ($KUBECONFIG) does not answer" "check it with: kubectl version"
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "the local cluster needs root: it makes network namespaces and mounts" "run as root, or set KUBECONFIG to a cluster of yours"
"$repository/e2e/setup/packages.sh" build cluster clients
"$repository/e2e/setup/build-cluster.sh"
"$rtc_cluster" up
