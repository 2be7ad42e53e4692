#!/bin/sh
# Checks the compilers. Usage: programs.sh
set -eu
. "$(dirname "$0")/lib.sh"

command -v cargo >/dev/null || fail "no cargo in PATH" "install Rust 1.91 or newer: https://rustup.rs"
command -v go >/dev/null || foreign_cluster || fail "no go in PATH: the local cluster is built with it" \
    "install Go 1.24 or newer (https://go.dev/dl), or set KUBECONFIG to a cluster of yours"
