#!/bin/sh
# BENCH_PACKETS (10 million) mutated packets at a running media-node; BENCH_SEED chooses others.
set -eu
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/bench.sh"

prepare_bench
step "sending ${BENCH_PACKETS:-10000000} mutated packets; Ctrl-C ends it"
bench mutations
