#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Installs tinybpf, its ready-made objects and what belongs to them; called by `make install`.
#
# Environment: DESTDIR (prefix of every path written, empty for this system), PREFIX (/usr),
# SYSCONFDIR (/etc), BUILT (the directory with the built program), OBJECTS (the directory into which
# bin/tinybpf/bpf/build.sh has compiled). No manifest is put into SYSCONFDIR: nothing is loaded that
# nobody has asked for.
set -eu
cd "$(dirname "$0")/../../.."
. bin/install-parts.sh
: "${SYSCONFDIR:=/etc}" "${OBJECTS:=target/bpf}"
dist=bin/tinybpf/dist
sbindir=$PREFIX/sbin libdir=$PREFIX/lib/tinybpf

fill() { # MODE SOURCE TARGET: with the paths of this installation
    mkdir -p "$(dirname "$DESTDIR$3")"
    sed -e "s|@SBINDIR@|$sbindir|g" \
        -e "s|/usr/lib/tinybpf/|$libdir/|g" -e "s|/etc/tinybpf/|$SYSCONFDIR/tinybpf/|g" \
        "$2" >"$DESTDIR$3"
    chmod "$1" "$DESTDIR$3"
}

put 755 "$BUILT/tinybpf" "$sbindir/tinybpf"
pages tinybpf.8 tinybpf.toml.5
for object in "$OBJECTS"/programs/*.bpf.o; do put 644 "$object" "$libdir/${object##*/}"; done
for file in bin/tinybpf/bpf/programs/*.toml; do fill 644 "$file" "$libdir/${file##*/}"; done
# The sources say what the programs do, and are where one of one's own begins.
for file in bin/tinybpf/bpf/programs/*.bpf.c bin/tinybpf/bpf/kernel.h; do
    put 644 "$file" "$share/doc/tinybpf/${file##*/}"
done

for file in "$dist"/units/*.service; do
    fill 644 "$file" "$PREFIX/lib/systemd/system/${file##*/}"
done
fill 755 "$dist/initramfs-tools/hooks/tinybpf" "$share/initramfs-tools/hooks/tinybpf"
fill 755 "$dist/initramfs-tools/scripts/init-bottom/tinybpf" \
    "$share/initramfs-tools/scripts/init-bottom/tinybpf"
for file in "$dist"/dracut/90tinybpf/*.sh; do
    fill 755 "$file" "$PREFIX/lib/dracut/modules.d/90tinybpf/${file##*/}"
done

completions tinybpf completion
licences tinybpf
