#!/bin/sh
# Writes what is generated from the types: CRDs, the chart's copies of them, and the API reference. With --check it
# writes nothing and fails when a file differs.
set -eu
. "$(dirname "$0")/lib.sh"
cd "$repository"
cargo run --quiet --locked -p rtcfleet-crds --bin crdgen -- "$@"
