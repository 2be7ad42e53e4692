# Sourced by the benchmarks, after lib.sh: builds what is measured, and runs it in a network of its own.
# shellcheck shell=sh

# Builds media-node by itself, as it is released, without what the loader wants of its library. Tables go to BENCH_RESULTS.
prepare_bench() {
    cd "$repository"
    "$repository/e2e/setup/packages.sh" build bench
    [ "$(nproc)" -ge 2 ] || fail "one core is not enough" "server and loader need one each"
    step "building media-node and the loader (about 3 minutes on 2 cores the first time)"
    cargo build --quiet --locked --release -p media-node
    cargo build --quiet --locked --release -p bench
    bench_results=${BENCH_RESULTS:-$repository/target/bench}
    mkdir -p "$bench_results"
}

# The loader in a network namespace that ends with it: no firewall, no connection tracking, nobody else's traffic. The
# servers that it starts end when it ends, however it does: the kernel sees to that.
bench() {
    bench_directory=$(mktemp -d)
    trap 'rm -rf "$bench_directory"' EXIT
    as_root=--map-root-user
    [ "$(id -u)" = 0 ] && as_root=
    # shellcheck disable=SC2016,SC2086 # for the inner shell; nothing or one word
    unshare $as_root --net sh -c 'ip link set lo up && exec "$@"' sh \
        target/release/bench --directory "$bench_directory" --markdown "$bench_results/$1.md" "$@" &
    loader=$!
    trap 'kill "$loader"; wait "$loader" || :; exit 130' INT TERM
    wait "$loader" || fail "the benchmark failed" "its message is above"
    trap - INT TERM
    rm -rf "$bench_directory"
    step "written: $bench_results/$1.md"
}
