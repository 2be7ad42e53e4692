#!/bin/sh
# media-node and coturn, measured side by side. docs/performance.md says how, and lists the variables.
set -eu
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/bench.sh"

prepare_bench
step "measuring; Ctrl-C ends it"
bench relaying
step "measuring allocations"
bench allocations
