#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Installs microvm and what belongs to it; called by `make install`.
#
# Environment: DESTDIR (prefix of every path written, empty for this system), PREFIX (/usr), BUILT
# (the directory with the built program). The units of a host are not installed here: that is
# `microvm host install`, which knows the state directory and the user of that host.
set -eu
cd "$(dirname "$0")/../../.."
. bin/install-parts.sh

put 755 "$BUILT/microvm" "$PREFIX/bin/microvm"
pages microvm.1 microvm.toml.5 microvm-runner.7 microvm-host.7 microvm-diagnostics.7
for name in qemu cloud-hypervisor firecracker crosvm kvmtool stratovirt alioth vfkit; do
    pages "microvm-$name.7"
done
(cd bin/microvm/examples && find . -type f) | while read -r file; do
    mode=644
    [ ! -x "bin/microvm/examples/$file" ] || mode=755
    put "$mode" "bin/microvm/examples/$file" "$share/doc/microvm/examples/${file#./}"
done

completions microvm completions
generate "$share/doc/microvm/schema.json" microvm schema
licences microvm
