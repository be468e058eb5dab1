#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Compiles the BPF objects of this directory: the ready-made programs and what the tests load.
#
#   build.sh OUT_DIR            everything
#   build.sh OUT_DIR programs   only what `make install` installs
#
#   OUT_DIR/programs/NAME.bpf.o    from programs/NAME.bpf.c
#   OUT_DIR/NAME.bpf.o             from fixtures/NAME.bpf.c
#   OUT_DIR/broken/NAME.bpf.o      from broken/NAME.bpf.c, and some made from healthy ones
#   OUT_DIR/probed                 from fixtures/probed.c: the process that uprobes look into
#   OUT_DIR/without_bpf            from fixtures/without_bpf.c: runs a command without bpf(2)
#
# Only what is older than its source is built; several may run at once. The headers are those of
# the libbpf-sys crate that the workspace is locked to (LIBBPF_SYS_DIR names another place), so no
# libbpf of the system is needed, and no kernel headers beyond those of libc.
#
# Environment: CLANG, LLVM_STRIP (default: version 19, else whatever there is), CLANG_OLD (version
# 14, whose output differs), CC, CARGO, JOBS.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
workspace=$(cd "$here/../../.." && pwd)
say() { printf '%s\n' "bpf: $*" >&2; }
die() { say "$@"; exit 1; }

case ${2:-all} in all | programs) ;; *) die "unknown part '$2': programs or nothing" ;; esac
[ $# -gt 0 ] || die "usage: build.sh OUT_DIR [programs]"
part=${2:-all}
mkdir -p "$1/programs" "$1/broken"
out=$(cd "$1" && pwd)
stamp=$out/.built-$part

current() { # nothing is newer than the last complete run
    [ -e "$stamp" ] && [ -z "$(find "$here" "$workspace/Cargo.lock" -newer "$stamp")" ]
}

current && exit 0 # what most calls see
exec 9>"$out/.lock"
flock 9
current && exit 0
began=$out/.began-$part
: >"$began"

first() { # the first of these commands that exists
    for name; do
        if command -v "$name" >/dev/null 2>&1; then echo "$name" && return; fi
    done
    die "none of these is installed: $*; run tests/setup.sh system"
}
CLANG=${CLANG:-$(first clang-19 clang-20 clang-18 clang)}
LLVM_STRIP=${LLVM_STRIP:-$(first llvm-strip-19 llvm-strip-20 llvm-strip-18 llvm-strip)}

headers() { # the directory of the libbpf-sys crate
    "${CARGO:-cargo}" metadata --locked --format-version 1 --manifest-path "$workspace/Cargo.toml" \
        --filter-platform "$(uname -m)-unknown-linux-gnu" |
        tr ',' '\n' | sed -n 's|.*"manifest_path":"\(.*/libbpf-sys[^/]*\)/Cargo.toml".*|\1|p' | head -n 1
}
crate=${LIBBPF_SYS_DIR:-$(headers)}
[ -e "$crate/libbpf/src/bpf_helpers.h" ] || die "no libbpf headers below '$crate'"
mkdir -p "$out/include"
# Other headers: everything is outdated.
[ "$(readlink "$out/include/bpf")" = "$crate/libbpf/src" ] || find "$out" -name '*.bpf.o' -delete
ln -sfn "$crate/libbpf/src" "$out/include/bpf"

machine=$(uname -m)
case $machine in
    x86_64) arch=x86 ;;
    aarch64) arch=arm64 ;;
    s390x) arch=s390 ;;
    ppc64*) arch=powerpc ;;
    riscv64) arch=riscv ;;
    *) arch=$machine ;;
esac
# Relative names keep the builder's directories out of the objects.
flags="-O2 -mcpu=v3 -Wall -Werror -fno-stack-protector -D__TARGET_ARCH_$arch \
-fdebug-compilation-dir=. -I. -I$out/include -I$crate/libbpf/include/uapi \
-idirafter /usr/include/$machine-linux-gnu"

outdated() { # OBJECT SOURCE
    [ ! -e "$1" ] || [ -n "$(find "$2" "$here"/*.h "$here/build.sh" -newer "$1")" ]
}

list=$out/.list-$part
: >"$list"
plan() { # OBJECT SOURCE COMMAND...: to be run where the list is worked off
    object=$1 source=$2
    shift 2
    ! outdated "$out/$object" "$here/$source" || printf '%s\n' "$object $source $*" >>"$list"
}

objects() { # DIRECTORY PREFIX
    for path in "$here/$1"/*.bpf.c; do
        [ -e "$path" ] || continue
        name=${path##*/}
        name=${name%.c}
        case $1/$name in
            # Enumerators as compilers before 15 described them.
            fixtures/enums_old.bpf) plan "$2$name.o" "$1/$name.c" old ;;
            # No debugging information, hence no BTF.
            broken/no_btf.bpf) plan "$2$name.o" "$1/$name.c" bare ;;
            broken/big_endian.bpf) plan "$2$name.o" "$1/$name.c" big ;;
            # Arenas are address spaces of their own, known from version 4 on.
            fixtures/arena.bpf) plan "$2$name.o" "$1/$name.c" arena ;;
            *) plan "$2$name.o" "$1/$name.c" normal ;;
        esac
    done
}

objects programs programs/
if [ "$part" = all ]; then
    objects fixtures ''
    objects broken broken/
fi

if [ -s "$list" ]; then
    export CLANG LLVM_STRIP flags here out
    CLANG_OLD=${CLANG_OLD:-$([ "$part" != all ] || first clang-14)}
    export CLANG_OLD
    # shellcheck disable=SC2016 # expanded by the inner shell
    xargs -P "${JOBS:-$(nproc)}" -L 1 sh -eu -c '
        object=$1 source=$2 clang=$CLANG target=bpf debug=-g extra=
        case $3 in
            old) clang=$CLANG_OLD ;;
            bare) debug=-g0 ;;
            big) target=bpfeb ;;
            arena) extra=-mcpu=v4 ;;
        esac
        cd "$here"
        # shellcheck disable=SC2086 # flags are words
        "$clang" $debug -target $target $flags $extra -c "$source" -o "$out/$object.new" || exit 255
        # Leaves the BTF, takes the rest of what -g made.
        [ "$debug" = -g0 ] || "$LLVM_STRIP" -g "$out/$object.new"
        mv "$out/$object.new" "$out/$object"
    ' sh <"$list" || die "not everything was compiled"
fi

for path in "$here"/programs/*.toml; do
    [ ! -e "$path" ] || cp -p "$path" "$out/programs/"
done

if [ "$part" = all ]; then
    for name in probed without_bpf; do
        if outdated "$out/$name" "$here/fixtures/$name.c"; then
            "${CC:-cc}" -O1 -static -Wall -Werror -o "$out/$name.new" "$here/fixtures/$name.c"
            mv "$out/$name.new" "$out/$name"
        fi
    done
    # Damaged copies: what a broken download or disk leaves.
    head -c 3000 "$out/maps.bpf.o" >"$out/broken/truncated.bpf.o"
    head -c 7 "$out/maps.bpf.o" >"$out/broken/stub.bpf.o"
    : >"$out/broken/empty.bpf.o"
    echo 'not an object' >"$out/broken/text.bpf.o"
fi
mv "$began" "$stamp"
