#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Every CI stage, runnable by hand: `tests/ci.sh STAGE...`, or a group: `check`, `all`.
#
# Each stage's output goes to the terminal and to ci/STAGE.log in cargo's target directory. The end is a table of the
# tests that ran, by layer, and the line `N passed, N failed`; a failed stage that is no test counts
# as one failure there, so that the line says zero only when everything is well.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${CARGO:=cargo}" "${SEEDS:=300}" "${FUZZ_SECONDS:=60}" "${PART:=}"
target=${CARGO_TARGET_DIR:-target}
logs=$target/ci
CARGO_TERM_COLOR=never
export CARGO_TERM_COLOR

# Whether cargo has this subcommand; a minimal installation of Rust lacks some.
has() {
    $CARGO "$1" --version >/dev/null 2>&1 || { echo "not run: cargo $1 is not installed"; return 1; }
}

stage_fmt() {
    has fmt || return 0
    $CARGO fmt --all --check
}

stage_clippy() {
    has clippy || return 0
    $CARGO clippy --locked --workspace --all-targets -- -D warnings
    $CARGO clippy --locked -p plinth --all-features -- -D warnings
    $CARGO clippy --locked -p plinth --no-default-features -- -D warnings
    $CARGO clippy --locked -p stas --no-default-features -- -D warnings
}

stage_test() {
    $CARGO test --locked --workspace --exclude guest --all-features --no-fail-fast
}

# The same without what needs root.
stage_unprivileged() {
    $CARGO test --locked --workspace --exclude guest --all-features --no-fail-fast -- --skip root_
}

stage_tidy() {
    $CARGO test --locked -p checks --test tidy -- --nocapture --test-threads=1
}

stage_man() {
    $CARGO test --locked -p checks --test man
}

stage_docs() {
    RUSTDOCFLAGS='-D warnings' $CARGO doc --locked --workspace --all-features --no-deps --quiet
}

stage_sim() {
    SIM_SEEDS=$SEEDS $CARGO test --locked --profile sim -p checks --test sim
}

stage_fuzz() {
    if $CARGO fuzz --version >/dev/null 2>&1; then
        tests/fuzz/run.sh "$FUZZ_SECONDS"
    else
        echo "not run: cargo-fuzz is not installed"
    fi
}

# The library and its tests under the address sanitizer, which sees use after free and leaks of what
# libbpf is given as well. It is an unstable flag of the compiler, which the stable one takes when
# it is told to. One test measures memory, and would measure the sanitizer's.
stage_sanitize() {
    RUSTC_BOOTSTRAP=1 RUSTFLAGS='-Z sanitizer=address' \
        $CARGO test --locked -p tinybpf --lib --bins --tests --no-fail-fast \
        --target "$(uname -m)-unknown-linux-gnu" --target-dir "$target/sanitize" \
        -- --skip root_objects_leave_nothing_open
}

# A guest mostly waits for its timers, so that a processor does for several.
stage_guest() {
    : "${RUST_TEST_THREADS:=$(($(nproc) * 2))}"
    export RUST_TEST_THREADS
    $CARGO test --locked -p guest --no-fail-fast
}

stage_static() {
    ${MAKE:-make} --no-print-directory static CARGO="$CARGO"
    built=$target/$(uname -m)-unknown-linux-gnu/release
    for program in stafd stacd stafctl stacctl stasadm microvm tinybpf; do
        file=$built/$program
        # A program that asks for an interpreter would need shared libraries.
        if grep -aq /ld-linux "$file"; then
            echo "$file is not static"
            return 1
        fi
        ls -l "$file"
    done
    # Promised, and a bar of tests/bench.tsv.
    if [ "$(stat -c %s "$built/tinybpf")" -gt 2200000 ]; then
        echo "$built/tinybpf has grown beyond 2.2 MB"
        return 1
    fi
}

stage_bench() {
    $CARGO build --locked --release -p stas
    ${MAKE:-make} --no-print-directory static CARGO="$CARGO"
    CARGO=$CARGO bin/tinybpf/bpf/build.sh "$target/bpf"
    CARGO=$CARGO tests/bench/build.sh "$target/bench"
    # shellcheck disable=SC2086 # no part, or one
    $CARGO run --locked --release --quiet -p checks --bin bench $PART
}

stage_deny() {
    has deny || return 0 # tests/tidy.rs checks the banned crates as well
    $CARGO deny --locked check bans licenses sources
}

stage_floor() {
    floor=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    toolchain=$(rustup toolchain list 2>/dev/null | grep -m 1 "^$floor" | cut -d ' ' -f 1) || true
    if [ -n "$toolchain" ]; then
        rustup run "$toolchain" cargo check --locked -p stas -p tinybpf -p microvm --target-dir "$target/floor"
    else
        echo "not run: the toolchain $floor is not installed"
    fi
}

# Which kind of BPF program was shown where, when a stage has looked.
kinds() {
    [ -e "$target/bpf-kinds.tsv" ] || return 0
    printf '\nBPF programs by kind and kernel\n'
    $CARGO run --locked --quiet -p guest -- kinds
}

# The sources that tests stand in.
sources() {
    find src bin tests -name '*.rs' -not -path '*/target/*' "$@"
}

# The names of all property tests: those inside `proptest! { ... }`.
property_names() {
    # shellcheck disable=SC2016 # awk's own variables
    sources -exec awk '
        FNR == 1 { inside = 0 }
        /^ *proptest(::proptest)?! *\{/ { inside = 1; indent = match($0, /[^ ]/) }
        inside && /^ *fn / { name = $2; sub(/\(.*/, "", name); print name }
        inside && /^ *\}$/ && match($0, /[^ ]/) == indent { inside = 0 }
    ' {} +
}

# The names of all golden tests: those that read fixtures, themselves or through a helper of their
# file. Each file is read twice: for the helpers, then for the tests.
golden_names() {
    sources -exec grep -l 'fixtures/' {} + | while read -r file; do
        awk '
            /^ *(pub )?fn / {
                name = $0; sub(/.*fn /, "", name); sub(/[(<].*/, "", name)
                test = previous ~ /#\[test\]/
            }
            { previous = $0 }
            NR == FNR { if (/fixtures\//) reads[name] = 1; next }
            test && (name in reads) { print name }
            test { for (helper in reads) if (index($0, helper "(")) print name }
        ' "$file" "$file"
    done
}

# Reads test harness output; prints the table and the closing line. $1: stages failed without a test.
summary() {
    property_names | sort -u >"$logs/property-names"
    golden_names | sort -u >"$logs/golden-names"
    awk -v extra="$1" -v names="$logs/" '
        BEGIN {
            while ((getline line < (names "property-names")) > 0) property[line] = 1
            while ((getline line < (names "golden-names")) > 0) golden[line] = 1
        }
        function layer(test,    last) {
            last = test; sub(/.*::/, "", last)
            if (where ~ /deps\/(guest|machines|hosts)-/) return "guest"
            if (where ~ /deps\/(tidy|man|ledger|dist)-/) return "house"
            if (where ~ /deps\/sim/ || test ~ /simulation/) return "simulation"
            if (last in property) return "property"
            if (last in golden) return "golden"
            if (where ~ /Running tests\//) return "command"
            return "unit"
        }
        /^ *Running / { where = $0 }
        /^ *Doc-tests / { where = "doc" }
        /^test .* \.\.\. (ok|FAILED)$/ && !seen[where, $2]++ {
            count[layer($2)]++
            if ($NF == "ok") passed++; else { failed++; broken = broken "  failed: " $2 "\n" }
        }
        /^test .* \.\.\. ignored/ { ignored++ }
        END {
            printf "\nTests by layer\n"
            split("unit property golden command simulation guest house", order, " ")
            for (i = 1; i in order; i++) printf "  %-12s%6d\n", order[i], count[order[i]]
            if (ignored) printf "  %-12s%6d\n", "ignored", ignored
            printf "%s", broken
            printf "%d passed, %d failed\n", passed, failed + extra
        }
    ' "$logs"/*.log
}

run() {
    name=$1
    printf '\n== %s\n' "$name"
    begun=$(date +%s)
    { ( set -e; "stage_$name" ); echo $? >"$logs/status"; } 2>&1 | tee "$logs/$name.log"
    status=$(cat "$logs/status")
    printf '== %s: %s in %s s\n' "$name" "$([ "$status" = 0 ] && echo ok || echo FAILED)" \
        "$(($(date +%s) - begun))"
    [ "$status" = 0 ] && return 0
    broken_stages="$broken_stages $name"
    grep -q '^test .*FAILED$' "$logs/$name.log" || extra=$((extra + 1))
}

[ $# -gt 0 ] || { echo "usage: tests/ci.sh STAGE... | check | all" >&2; exit 2; }
case $1 in
    check) set -- fmt clippy unprivileged ;;
    all) set -- fmt clippy test docs guest static deny floor ;;
esac
for name; do
    command -v "stage_$name" >/dev/null || { echo "tests/ci.sh: no stage '$name'" >&2; exit 2; }
done
rm -rf "$logs" "$target/bpf-kinds.tsv"
mkdir -p "$logs"
broken_stages=''
extra=0
for name; do run "$name"; done
kinds || { broken_stages="$broken_stages kinds" extra=$((extra + 1)); }
summary $extra
[ -z "$broken_stages" ] || { echo "failed stages:$broken_stages" >&2; exit 1; }
