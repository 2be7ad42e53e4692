#!/bin/sh
# What the operator takes with thousands of relays. Makes a cluster for it and removes that again.
# SCALE_REGIONS and SCALE_RELAYS (a region) say how many.
set -eu
. "$(dirname "$0")/lib.sh"
foreign_cluster && fail "bench-scale makes a cluster of its own, with thousands of pretended machines" "unset KUBECONFIG"
[ ! -e "$state/kubeconfig" ] || fail "there is a local cluster already, in $state" "make down"

"$repository/e2e/setup/programs.sh"
"$repository/e2e/setup/packages.sh" build cluster
"$repository/e2e/setup/build-cluster.sh"
"$repository/e2e/setup/go-program.sh" kwok
step "building the benchmark (first time about 3 minutes)"
cd "$repository"
cargo build --quiet --locked --release -p scale

trap '"$rtc_cluster" down >/dev/null' EXIT
trap 'exit 130' INT TERM
"$rtc_cluster" up --nodes-file "$repository/e2e/scale/cluster.yaml"
tags=$(mktemp)
"$repository/e2e/setup/images.sh" "$tags"
"$repository/e2e/setup/install.sh" "$tags"
rm -f "$tags"
use_cluster_tools
step "relays on pretended machines (about 20 minutes for 5 000)"
KWOK="$cache/bin/kwok" "$repository/target/release/scale" --regions "${SCALE_REGIONS:-200}" --relays "${SCALE_RELAYS:-25}"
