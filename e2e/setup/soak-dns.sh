#!/bin/sh
# Mixed faults for DNS_SOAK_MINUTES (30), during which no healthy region may leave the answer. The cluster is up and the
# operator installed. DNS_SOAK_SEED repeats what an earlier run printed.
set -eu
. "$(dirname "$0")/lib.sh"
foreign_cluster && fail "soak-dns breaks machines and the API server of the local cluster" "unset KUBECONFIG"
cd "$repository"
"$repository/e2e/setup/packages.sh" dns clock
cargo build --locked -p media-node # a prober of a user's own
step "mixed faults for ${DNS_SOAK_MINUTES:-30} minutes"
use_cluster_tools
cargo test --locked -p e2e --test dns -- --ignored --test-threads=1 --nocapture mixed_faults
