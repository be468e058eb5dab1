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

installkernel() {
    # Tracing and packet hooks need no modules; the classic hook of traffic control does.
    if grep -q '"tc:' "${dracutsysrootdir-}$manifest"; then
        instmods sch_ingress cls_bpf
    fi
}

install() {
    local file
    inst @SBINDIR@/tinybpf /usr/sbin/tinybpf
    inst_simple "$manifest"
    # Every absolute path of a line `path = "..."` or `btf = "..."`.
    while read -r file; do
        inst_simple "$file"
    done < <(sed -n 's/^[[:space:]]*\(path\|btf\)[[:space:]]*=[[:space:]]*"\(\/[^"]*\)".*/\2/p' \
        "${dracutsysrootdir-}$manifest" | sort -u)
    # shellcheck disable=SC2154 # moddir is dracut's
    inst_hook pre-pivot 50 "$moddir/tinybpf-apply.sh"
}
