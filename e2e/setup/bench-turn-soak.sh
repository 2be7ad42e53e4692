#!/bin/sh
# Thousands of allocations on one media-node for BENCH_SOAK_SECONDS (600), with traffic and refreshes on all of them.
set -eu
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/bench.sh"

prepare_bench
step "soaking for ${BENCH_SOAK_SECONDS:-600} seconds; Ctrl-C ends it"
bench soak
