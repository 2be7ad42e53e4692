#!/bin/sh
# Prints the path of the local cluster's kubeconfig.
set -eu
. "$(dirname "$0")/lib.sh"
[ -e "$state/kubeconfig" ] || fail "there is no local cluster yet" "run make up"
echo "$state/kubeconfig"
