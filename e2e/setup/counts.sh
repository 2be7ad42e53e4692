#!/bin/sh
# Adds up what cargo test and go test said, from standard input: `N passed, N failed`. Fails when nothing ran.
awk '
/^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^passed/) passed += $i; if ($(i + 1) ~ /^failed/) failed += $i } }
/^ *--- PASS:/ { passed++ }
/^ *--- FAIL:/ { failed++ }
END { printf "%d passed, %d failed\n", passed, failed; exit passed == 0 || failed > 0 }'
