#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Fuzzes every decoder: `tests/fuzz/run.sh [SECONDS [TARGET...]]`.
#
# Each target runs for SECONDS (default 60) or RUNS executions (default 10 million), whichever ends
# first, from seeds/TARGET-* and from what earlier runs left in corpus/TARGET. A finding is kept in
# artifacts/TARGET; the other targets still run, and the script fails. Needs cargo-fuzz. Without a
# sanitizer the stable toolchain suffices (SANITIZER=address with nightly); overflows are checked.
set -u
cd "$(dirname "$0")" || exit 1
: "${CARGO:=cargo}" "${RUNS:=10000000}" "${SANITIZER:=none}"
seconds=${1:-60}
[ $# -gt 0 ] && shift
if ! $CARGO fuzz --version >/dev/null 2>&1; then
    echo "not run: cargo-fuzz is not installed" >&2
    exit 77
fi
targets=${*:-$(ls fuzz_targets | sed 's/\.rs$//')}

fuzz() {
    mkdir -p "corpus/$1" && cp "seeds/$1"-* "corpus/$1/" || return 1
    $CARGO fuzz run --fuzz-dir . --sanitizer "$SANITIZER" "$1" "corpus/$1" -- \
        -runs="$RUNS" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=8192 \
        -print_final_stats=1 -verbosity=0
}

failed=
for target in $targets; do
    echo "== $target"
    fuzz "$target" || failed="$failed $target"
done
if [ -n "$failed" ]; then
    echo "findings:$failed (see artifacts/)" >&2
    exit 1
fi
