#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds what `make bench` compares tinybpf with: `build.sh OUT_DIR`.
#
#   OUT_DIR/peer-aya, OUT_DIR/peer-libbpf-rs, OUT_DIR/ours   from this directory's workspace
#   OUT_DIR/peer, OUT_DIR/timed                              from c/, with the libbpf of that build
#
# All are static. The dependencies may need to be downloaded.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
target=$(uname -m)-unknown-linux-gnu
RUSTFLAGS='-C target-feature=+crt-static' "${CARGO:-cargo}" build --release --locked \
    --target "$target" --target-dir "$out/target" 2>"$out/log" || {
    cat "$out/log" >&2
    exit 1
}
for name in peer-aya peer-libbpf-rs ours; do
    cp "$out/target/$target/release/$name" "$out/$name"
done
# The newest, when there were several versions.
# shellcheck disable=SC2012 # no odd names here
library=$(ls -t "$out/target/$target"/release/build/libbpf-sys-*/out/libbpf.a | head -n 1)
${CC:-cc} -O2 -Wall -Werror -static -I"${library%/*}/include" -o "$out/peer" c/peer.c "$library" -lelf -lz
${CC:-cc} -O2 -Wall -Werror -static -o "$out/timed" c/timed.c
