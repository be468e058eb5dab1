#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# dracut, pre-pivot: applies the early manifest, as the last thing before the real root takes over.
# Pins live in the file system below /sys/fs/bpf, which moves to the real root together with /sys.
# What has to be mounted says the manifest (`mount = ["bpf", "tracefs"]`). A failure is said and
# does not stop the boot. The file is sourced: it must not exit.
if [ -x /usr/sbin/tinybpf ] && [ -e /etc/tinybpf/initramfs.toml ]; then
    /usr/sbin/tinybpf apply /etc/tinybpf/initramfs.toml ||
        echo "tinybpf: the early manifest was not applied" >&2
fi
