#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# dracut: takes the command, its early manifest and the objects that this one names into the
# initramfs. Without /etc/tinybpf/initramfs.toml it does nothing.

manifest=/etc/tinybpf/initramfs.toml

# dracut calls these by name.
check() {
    require_binaries @SBINDIR@/tinybpf || return 1
    [[ -e ${dracutsysrootdir-}$manifest ]]
}

depends() {
    return 0
}

install() {
    local root=${dracutsysrootdir-} files file
    # The program says what the manifest names; it knows TOML. A manifest that is wrong is said now,
    # not at the boot.
    files=$("$root@SBINDIR@/tinybpf" check --files "$root$manifest") || return 1
    inst @SBINDIR@/tinybpf /usr/sbin/tinybpf
    inst_simple "$manifest"
    while read -r file; do
        [[ -z $file ]] || inst_simple "$file"
    done <<< "$files"
    # shellcheck disable=SC2154 # moddir is dracut's
    inst_hook pre-pivot 50 "$moddir/tinybpf-apply.sh"
}
