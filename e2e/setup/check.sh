#!/bin/sh
# Format, lints and generated files.
set -eu
. "$(dirname "$0")/lib.sh"
cd "$repository"
"$repository/e2e/setup/packages.sh" build
"$repository/e2e/setup/programs.sh"

step "format"
cargo fmt --all -- --check || fail "Rust files are not formatted" "run: make fmt"
unformatted=$(gofmt -l e2e/cluster)
[ -z "$unformatted" ] || fail "Go files are not formatted: $unformatted" "run: make fmt"

step "lints (first time about 3 minutes on 2 cores)"
cargo clippy --quiet --locked --workspace --all-targets --all-features -- -D warnings

step "generated files"
"$repository/e2e/setup/generate.sh" --check
