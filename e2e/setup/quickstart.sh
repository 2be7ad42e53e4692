#!/bin/sh
# Applies the two regions of the quick start, waits until they serve, shows them, and makes a relayed test call through each.
set -eu
. "$(dirname "$0")/lib.sh"
use_cluster_tools
quickstart=$repository/e2e/quickstart
media_node=$repository/target/$(rustc -vV | sed -n 's/^host: //p')/release/media-node

step "applying two TURN regions (usually ready in 20 seconds)"
kubectl apply -f "$quickstart/namespace.yaml" >/dev/null
if ! kubectl -n rtc get secret turn-auth >/dev/null 2>&1; then
    secret=$(head -c 24 /dev/urandom | base64)
    kubectl -n rtc create secret generic turn-auth --from-literal=current="$secret" >/dev/null
fi
kubectl apply -f "$quickstart/turnregion-centralindia.yaml" -f "$quickstart/turnregion-southindia.yaml" >/dev/null
if ! kubectl -n rtc wait --for=condition=Ready --timeout=120s turnregion/centralindia turnregion/southindia >/dev/null; then
    kubectl -n rtc get turnregion -o wide >&2
    kubectl -n rtc get pods,events >&2
    fail "the regions did not become ready" "conditions, pods and events are above"
fi
kubectl -n rtc get turnregion

# The call: credentials from the Secret, an echo as the peer, packets through the relay and back.
step "a relayed test call through each region (10 seconds)"
files=$(mktemp -d)
turnutils_peer -L 10.200.0.1 -p 3480 >/dev/null 2>&1 &
peer=$!
trap 'kill "$peer" 2>/dev/null || true; rm -rf "$files"' EXIT
kubectl -n rtc get secret turn-auth -o jsonpath='{.data.current}' | base64 -d >"$files/secret"
for region in centralindia southindia; do
    address=$(kubectl -n rtc get turnregion "$region" -o jsonpath='{.status.addresses[0]}')
    "$media_node" credentials --secret-file "$files/secret" --user test-call --ttl 10m -o json >"$files/credentials"
    username=$(sed -n 's/.*"username": *"\([^"]*\)".*/\1/p' "$files/credentials")
    password=$(sed -n 's/.*"password": *"\([^"]*\)".*/\1/p' "$files/credentials")
    turnutils_uclient -u "$username" -w "$password" -e 10.200.0.1 -r 3480 -p 3478 -n 100 -m 1 -z 20 "$address" >"$files/call" 2>&1 || true
    lost=$(sed -n 's/.*Total lost packets \([0-9]*\) (.*/\1/p' "$files/call" | tail -n 1)
    received=$(sed -n 's/.*tot_recv_msgs=\([0-9]*\).*/\1/p' "$files/call" | tail -n 1)
    if [ "${lost:-1}" != 0 ] || [ "${received:-0}" = 0 ]; then
        tail -n 20 "$files/call" >&2
        fail "the call through $region at $address did not get through" "the client's last words are above"
    fi
    printf '%-14s %-14s %s packets there and back, none lost\n' "$region" "$address" "$received"
done
