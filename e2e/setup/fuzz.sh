#!/bin/sh
# Mutated packets through the parser and the whole TURN core, for FUZZ_SECONDS (60). FUZZ_SEED repeats a run.
set -eu
. "$(dirname "$0")/lib.sh"
cd "$repository"
target=$(rustc -vV | sed -n 's/^host: //p')

step "building the fuzzer (a minute or two where images have been built, else about 6 on 2 cores)"
# Flags and packages of images.sh, so that the dependencies are built once.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked --release --target "$target" \
    -p operator -p media-node --features media-node/test-support --example fuzz-driver ||
    fail "the build failed" "the compiler's messages are above"

step "fuzzing the TURN core for ${FUZZ_SECONDS:-60} seconds"
"target/$target/release/examples/fuzz-driver" --seconds "${FUZZ_SECONDS:-60}" ${FUZZ_SEED:+--seed "$FUZZ_SEED"} ||
    fail "the fuzzer found a fault" "the message above says which, and how to repeat it"
