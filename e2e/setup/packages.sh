#!/bin/sh
# Installs the Debian packages whose programs are missing. Usage: packages.sh [build] [cluster] [clients] [bench] [browser] [dns] [clock]
set -eu
. "$(dirname "$0")/lib.sh"

missing=
# need PROGRAM-OR-FILE PACKAGE: by what is used, not by package name, so that another vendor's build counts, too.
need() {
    case $1 in
    /*) [ -e "$1" ] && return ;;
    *) command -v "$1" >/dev/null && return ;;
    esac
    missing="$missing $2"
}

for purpose in "$@"; do
    case $purpose in
    build)
        need cc gcc
        need /usr/include/stdlib.h libc6-dev
        need make make
        ;;
    cluster)
        need containerd containerd
        need runc runc
        need iptables iptables
        need conntrack conntrack
        need ip iproute2
        need nsenter util-linux
        need /usr/lib/cni/bridge containernetworking-plugins
        ;;
    clients)
        need turnutils_uclient coturn
        need python3 python3
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
        ;;
    bench)
        need turnserver coturn
        need ip iproute2
        need unshare util-linux
        need setpriv util-linux
        need taskset util-linux
        ;;
    browser)
        need chromium chromium
        need certutil libnss3-tools
        ;;
    dns)
        need /usr/sbin/named bind9
        need /usr/sbin/knotd knot
        need /usr/sbin/pdns_server pdns-server
        need /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql pdns-backend-sqlite3
        need sqlite3 sqlite3
        ;;
    clock)
        need faketime faketime
        ;;
    *) fail "packages.sh: no such purpose: $purpose" "write build, cluster, clients, bench, browser, dns or clock" ;;
    esac
done

[ -n "$missing" ] || exit 0
step "installing Debian packages:$missing (usually less than a minute)"
command -v apt-get >/dev/null || fail "this is no Debian: install by hand what gives$missing" "then call make again"
[ "$(id -u)" = 0 ] || fail "packages are missing:$missing" "run as root, or: sudo apt-get install$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# RUNLEVEL=1 keeps the packages' services from being started: we start what we need ourselves.
# shellcheck disable=SC2086 # a list of words
if ! { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "apt-get could not install$missing" "its last words are above"
fi
