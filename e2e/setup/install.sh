#!/bin/sh
# Installs the chart with the images whose tags are in the file named by the first argument, and waits for the operator.
set -eu
. "$(dirname "$0")/lib.sh"
. "$1"
use_cluster_tools
repositories=
if foreign_cluster; then
    repositories="--set image.repository=$IMAGE_REGISTRY/operator --set mediaNode.image.repository=$IMAGE_REGISTRY/media-node"
fi

step "installing the chart (usually 15 seconds)"
# shellcheck disable=SC2086,SC2154 # a list of words; the tags come from the file
helm upgrade --install rtc-fleet "$repository/charts/rtc-fleet" --namespace "$system_namespace" --create-namespace \
    --set-string image.tag="$OPERATOR_TAG" --set-string mediaNode.image.tag="$MEDIA_NODE_TAG" $repositories \
    --wait --timeout 3m >/dev/null || {
    kubectl -n "$system_namespace" get pods,events >&2 || true
    fail "the operator did not become ready" "its pods and events are above; logs: kubectl -n $system_namespace logs deploy/rtc-fleet-operator"
}
