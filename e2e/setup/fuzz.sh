#!/bin/sh
# Mutated packets through the parser and the whole TURN core; SECONDS_EACH=60 by default.
set -eu
. "$(dirname "$0")/lib.sh"
cd "$repository"
step "fuzzing the TURN core for ${FUZZ_SECONDS:-60} seconds"
