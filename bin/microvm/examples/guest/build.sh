#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Makes the guest of the examples: a kernel and an initramfs with busybox.
#
#   build.sh [-k KERNEL] [-m MODULES] [-b BUSYBOX] [-o DIR]
#
# KERNEL is a compressed kernel, by default that of this machine; MODULES the directory with its
# modules, by default /lib/modules/VERSION of the version in the kernel's name. BUSYBOX is a static
# busybox (Debian: package busybox-static). Written are DIR/vmlinuz and DIR/initrd.img; DIR is by
# default the directory of this script.
set -eu
umask 022

here=$(cd -- "$(dirname -- "$0")" && pwd)
kernel=
modules=
busybox=$(command -v busybox || :)
out=$here

die() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

while getopts k:m:b:o: option; do
  case $option in
    k) kernel=$OPTARG ;;
    m) modules=$OPTARG ;;
    b) busybox=$OPTARG ;;
    o) out=$OPTARG ;;
    *) exit 2 ;;
  esac
done

[ -n "$kernel" ] || kernel=/boot/vmlinuz-$(uname -r)
[ -r "$kernel" ] || die "cannot read the kernel $kernel; name one with -k"
if [ -z "$modules" ]; then
  name=$(basename -- "$(readlink -f -- "$kernel")")
  modules=/lib/modules/${name#vmlinuz-}
fi
[ -r "$modules/modules.dep" ] || die "no modules.dep in $modules; name the directory with -m"
[ -n "$busybox" ] || die "no busybox; install busybox-static, or name one with -b"
command -v cpio >/dev/null || die "cpio is needed to pack the initramfs"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM
root=$work/root
mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc"
cp -- "$busybox" "$root/bin/busybox"
cp -- "$here/init" "$root/init"
cp -- "$here/http" "$here/valkey" "$root/bin/"
chmod 0755 "$root/init" "$root/bin/busybox" "$root/bin/http" "$root/bin/valkey"

# Modules go in with what they need, in the order in which they can be loaded. What the kernel has
# built in is not among its modules, and is passed over.
add() {
  line=$(grep "/$1\.ko[^/]*:" "$modules/modules.dep" || :)
  [ -n "$line" ] || return 0
  # The paths behind the colon are sorted so that the last one is loaded first.
  files="${line%%:*} ${line#*:}"
  reversed=
  for file in $files; do reversed="$file $reversed"; done
  for file in $reversed; do
    name=$(basename -- "$file")
    plain=${name%%.ko*}.ko
    [ ! -e "$root/modules/$plain" ] || continue
    case $name in
      *.ko) cp -- "$modules/$file" "$root/modules/$plain" ;;
      *.ko.gz) gzip -dc -- "$modules/$file" >"$root/modules/$plain" ;;
      *.ko.xz) xz -dc -- "$modules/$file" >"$root/modules/$plain" ;;
      *.ko.zst) zstd -qdc -- "$modules/$file" >"$root/modules/$plain" ;;
      *) die "do not know how to unpack $name" ;;
    esac
    printf '%s\n' "$plain" >>"$root/modules/order"
  done
}

: >"$root/modules/order"
for module in virtio_mmio virtio_pci virtio_console virtio_blk virtio_net i8042 atkbd; do
  add "$module"
done

mkdir -p -- "$out"
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -n1 >"$work/initrd"
cp -- "$kernel" "$work/vmlinuz"
mv -- "$work/vmlinuz" "$out/vmlinuz"
mv -- "$work/initrd" "$out/initrd.img"
printf '%s\n' "$out/vmlinuz" "$out/initrd.img"
