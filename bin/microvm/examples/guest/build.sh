#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Makes the guest of the examples: a kernel and an initramfs with busybox.
#
#   build.sh [-k KERNEL] [-m MODULES] [-b BUSYBOX] [-s SERVER] [-o DIR]
#
# KERNEL is a compressed kernel, by default that of this machine; MODULES the directory with its
# modules, by default /lib/modules/VERSION of the version in the kernel's name. BUSYBOX is a static
# busybox (Debian: package busybox-static). Written are DIR/vmlinuz and DIR/initrd.img; DIR is by
# default the directory of this script.
#
# SERVER is a valkey-server or redis-server, for the example of that name: DIR/valkey.img is the
# initramfs with it and its libraries. By default it is looked for in PATH, and without one there is
# no valkey.img. One that was unpacked below some directory is taken with the libraries from there.
set -eu
umask 022

here=$(cd -- "$(dirname -- "$0")" && pwd)
kernel=
modules=
busybox=$(command -v busybox || :)
server=
out=$here

die() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

while getopts k:m:b:s:o: option; do
  case $option in
    k) kernel=$OPTARG ;;
    m) modules=$OPTARG ;;
    b) busybox=$OPTARG ;;
    s) server=$OPTARG ;;
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
if [ -n "$server" ]; then
  server=$(command -v "$server") || die "no server $server; -s wants a valkey-server or redis-server"
else
  server=$(command -v valkey-server || command -v redis-server || :)
fi

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM
root=$work/root
mkdir -p "$root/bin" "$root/modules" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc"
cp -- "$busybox" "$root/bin/busybox"
cp -- "$here/init" "$root/init"
cp -- "$here/http" "$root/bin/"
chmod 0755 "$root/init" "$root/bin/busybox" "$root/bin/http"

# Each module goes in with what it needs, and a list of all that, in the order in which it can be
# loaded. What the kernel has built in is not among its modules, and is passed over.
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
    printf '%s\n' "$plain" >>"$root/modules/$1.needs"
    [ ! -e "$root/modules/$plain" ] || continue
    case $name in
      *.ko) cp -- "$modules/$file" "$root/modules/$plain" ;;
      *.ko.gz) gzip -dc -- "$modules/$file" >"$root/modules/$plain" ;;
      *.ko.xz) xz -dc -- "$modules/$file" >"$root/modules/$plain" ;;
      *.ko.zst) zstd -qdc -- "$modules/$file" >"$root/modules/$plain" ;;
      *) die "do not know how to unpack $name" ;;
    esac
  done
}

for module in virtio_mmio virtio_pci virtio_console virtio_blk virtio_net i8042 atkbd; do
  add "$module"
done

# The libraries of a program and their loader, one a line; nothing for a static one.
libraries() {
  tree=${1%/usr/bin/*}
  loader=
  if [ "$tree" != "$1" ] && [ -n "$tree" ]; then
    loader=$(find "$tree/" -name 'ld-linux*' -type f | head -n 1)
  fi
  if [ -n "$loader" ]; then
    paths=$(find "$tree/lib/" "$tree/usr/lib/" -name 'lib*.so*' | sed 's|/[^/]*$||' | sort -u | tr '\n' :)
    "$loader" --library-path "$paths" --list "$1"
  else
    ldd "$1" 2>/dev/null || :
  fi
}

pack() {
  (cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -n1
}

mkdir -p -- "$out"
pack "$root" >"$work/initrd"
if [ -n "$server" ]; then
  mkdir -p "$work/server/bin" "$work/server/lib"
  cp -L -- "$server" "$work/server/bin/valkey-server"
  chmod 0755 "$work/server/bin/valkey-server"
  libraries "$server" >"$work/libraries"
  ! grep 'not found' "$work/libraries" >&2 || die "libraries of $server are missing"
  # A line is "name => path (address)", and for the loader "path (address)".
  while read -r name arrow path _; do
    case $name in
      */ld-linux*) mkdir -p "$work/server/${name%/*}" && cp -L -- "${path:-$name}" "$work/server/$name" ;;
      *) [ "$arrow" != '=>' ] || cp -L -- "$path" "$work/server/lib/$name" ;;
    esac
  done <"$work/libraries"
  # The kernel unpacks one archive after the other.
  pack "$work/server" | cat "$work/initrd" - >"$work/valkey"
  mv -- "$work/valkey" "$out/valkey.img"
else
  printf 'build.sh: no valkey-server or redis-server in PATH, so no valkey.img; see -s\n' >&2
fi
cp -- "$kernel" "$work/vmlinuz"
mv -- "$work/vmlinuz" "$out/vmlinuz"
mv -- "$work/initrd" "$out/initrd.img"
printf '%s\n' "$out/vmlinuz" "$out/initrd.img"
[ -z "$server" ] || printf '%s\n' "$out/valkey.img"
