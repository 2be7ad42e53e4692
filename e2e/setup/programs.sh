#!/bin/sh
# Checks the compilers and their versions. Usage: programs.sh
set -eu
. "$(dirname "$0")/lib.sh"


rust=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || true
[ -n "$rust" ] || fail "no cargo in PATH" "install Rust 1.91 or newer: https://rustup.rs"
at_least "$rust" 1.91 || fail "cargo is $rust" "Rust 1.91 or newer is needed: rustup update"

foreign_cluster && exit 0
go=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
[ -n "$go" ] || fail "no go in PATH: the local cluster is built with it" \
    "install Go 1.24 or newer (https://go.dev/dl; Debian 12's own is older), or set KUBECONFIG to a cluster of yours"
at_least "$go" 1.24 || fail "go is $go" "Go 1.24 or newer is needed: https://go.dev/dl"
