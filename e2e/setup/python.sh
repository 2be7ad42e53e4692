#!/bin/sh
# Makes the folder ${XDG_CACHE_HOME:-$HOME/.cache}/rtc-fleet/python with the Python clients of e2e/requirements.txt,
# unless it has exactly those.
set -eu
. "$(dirname "$0")/lib.sh"
requirements=$repository/e2e/requirements.txt
python=$cache/python
stamp=$python/requirements.txt

if cmp -s "$requirements" "$stamp" && "$python/bin/python" -c 'import aioice' 2>/dev/null; then
    exit 0
fi

step "installing the Python clients of the scenarios (usually 10 seconds)"
command -v python3 >/dev/null || fail "no python3 in PATH" "apt-get install python3 python3-venv"
python3 -c 'import ensurepip, venv' 2>/dev/null || fail "this python3 cannot make virtual environments" "apt-get install python3-venv"
rm -rf "$python"
python3 -m venv "$python"
"$python/bin/python" -m pip install --quiet --require-hashes --only-binary :all: --no-input -r "$requirements" ||
    fail "pip could not install e2e/requirements.txt" "its last words are above; is the package index reached (pip config list)?"
cp "$requirements" "$stamp"
