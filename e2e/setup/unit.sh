#!/bin/sh
# Unit and property tests, and the tests of the local cluster's own packages.
set -eu
. "$(dirname "$0")/lib.sh"
cd "$repository"
"$repository/e2e/setup/packages.sh" dns

step "unit and property tests (first time about 4 minutes on 2 cores)"
cargo test --locked --workspace --exclude e2e --all-features
step "tests of the local cluster and of the scenarios' Go client (seconds: they do not compile Kubernetes)"
cd e2e/cluster
go vet ./internal/...
go test -v ./internal/...
cd turnclient
go vet ./...
go test -v ./...
