#!/bin/sh
# The scenarios. The cluster is up and the operator installed. Usage: e2e.sh [PART-OF-A-NAME]
set -eu
. "$(dirname "$0")/lib.sh"
cd "$repository"
"$repository/e2e/setup/python.sh"
if ! foreign_cluster; then
    "$repository/e2e/setup/packages.sh" browser dns clock
    "$repository/e2e/setup/go-program.sh" turnclient
    "$repository/e2e/setup/go-program.sh" metrics-server
    "$repository/e2e/setup/go-program.sh" external-dns
fi
cargo build --locked -p media-node # a prober of a user's own
step "scenarios on the cluster (about 45 minutes)"
use_cluster_tools
cargo test --locked -p e2e -- --test-threads=1 "$@"
