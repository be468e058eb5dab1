#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Brings what building, checking and the guest tests need. Run again at will: it does only what is missing.
#
#   tests/setup.sh             all of the following; an ordinary user gets no reference
#   tests/setup.sh system      only the system packages (root, Debian or Ubuntu)
#   tests/setup.sh guest       only the kernels and programs for the guest (any user)
#   tests/setup.sh demo        what `make demo` needs: system packages (root if some are missing), one kernel
#   tests/setup.sh reference   the disk image with the reference nvme-stas (root, about a minute)
#
# Nothing for the guest is installed: packages are downloaded with apt and unpacked under $PLINTH_CACHE,
# by default target/lab. The mirror is the one that this machine's apt configuration names.
set -eu
umask 022

here=$(cd "$(dirname "$0")/.." && pwd)
cache=${PLINTH_CACHE:-${CARGO_TARGET_DIR:-$here/target}/lab}
# The release whose kernels the guest boots, and the one that carries the reference.
guest_suite=bookworm
reference_suite=trixie
guest_programs=(dbus-daemon avahi-daemon nvme-cli udev iproute2)
reference_programs=nvme-stas,dbus,avahi-daemon,nvme-cli,kmod,iproute2,procps,udev

say() { printf '%s\n' "setup: $*"; }
die() { printf '%s\n' "setup: $*" >&2; exit 1; }

# What must be there: a test of three words that succeeds when it is, and the packages that bring it.
need() {
  cat <<'TABLE'
command -v gcc              gcc libc6-dev
command -v pkg-config       pkg-config
pkg-config --exists libudev libudev-dev
command -v qemu-system-x86_64 qemu-system-x86
command -v busybox          busybox-static
command -v depmod           kmod
command -v xz               xz-utils
command -v mke2fs           e2fsprogs
command -v dbus-daemon      dbus
command -v mandoc           mandoc
command -v shellcheck       shellcheck
command -v setpriv          util-linux
command -v clang-19         clang-19
command -v llvm-strip-19    llvm-19
command -v clang-14         clang-14
test -e /usr/include/libelf.h libelf-dev
test -e /usr/include/zlib.h zlib1g-dev
test -e /usr/include/$(arch)-linux-gnu/sys/sdt.h systemtap-sdt-dev
command -v bpftool          bpftool
command -v debootstrap      debootstrap
test -e /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
TABLE
}

missing_packages() {
  local first second third packages
  while read -r first second third packages; do
    PATH=$PATH:/usr/sbin:/sbin bash -c "$first $second $third" >/dev/null 2>&1 || printf '%s\n' "$packages"
  done < <(need)
}

system() {
  local missing
  missing=$(missing_packages | tr -s ' \n' ' ')
  missing=${missing# }
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "these Debian packages (or their like) are missing, install them first: $missing"
  fi
  say "installing $missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || say "some package lists could not be refreshed, going on"
  # shellcheck disable=SC2086 # a list of names
  apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# The mirrors of this machine: "main" of the distribution and, where there is one, of its security archive.
mirror() {
  # shellcheck disable=SC2016 # apt fills these in
  apt-get indextargets --format '$(ORIGIN) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v want="$1" '$1 == "Debian" && (($2 ~ /-security$/) == (want == "security")) { print $3; exit }'
}

# apt with a state of its own: no root needed, no effect on the machine, an empty machine as its base.
private_apt() {
  local tool=$1
  shift
  "$tool" -o Dir::Etc::SourceList="$cache/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State="$cache/apt/state" -o Dir::State::Lists="$cache/apt/lists" \
    -o Dir::State::status="$cache/apt/status" -o Dir::Cache="$cache/apt/cache" \
    -o Dir::Cache::archives="$cache/apt/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
    -o Acquire::Languages=none -o APT::Architecture=amd64 -o APT::Architectures::=amd64 "$@"
}

private_lists() {
  local main security keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ ! -e "$cache/apt/fresh" ] || return 0
  main=$(mirror main)
  if [ -z "$main" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq # a fresh machine knows its mirrors only after this
    main=$(mirror main)
  fi
  security=$(mirror security)
  [ -n "$main" ] || die "apt knows no Debian mirror here (run apt-get update, or use a Debian machine)"
  mkdir -p "$cache/apt/state" "$cache/apt/lists/partial" "$cache/apt/cache" "$cache/apt/archives/partial"
  : >"$cache/apt/status"
  {
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$main" "$guest_suite"
    printf 'deb [signed-by=%s] %s %s-updates main\n' "$keyring" "$main" "$guest_suite"
    [ -z "$security" ] ||
      printf 'deb [signed-by=%s] %s %s-security main\n' "$keyring" "$security" "$guest_suite"
  } >"$cache/apt/sources.list"
  say "reading the package lists of $guest_suite"
  private_apt apt-get update -qq
  : >"$cache/apt/fresh"
}

# kernel VERSION PATTERN: the newest kernel package that matches, unpacked, with its modules.dep.
kernel() {
  local into=$cache/kernel-$1 pattern=$2 package release
  [ ! -e "$into/ready" ] || return 0
  private_lists
  package=$(private_apt apt-cache pkgnames linux-image- | grep -E "^$pattern\$" | sort -V | tail -n 1)
  [ -n "$package" ] || die "no kernel package matches $pattern"
  say "fetching $package"
  rm -rf "$into"
  mkdir -p "$into/deb"
  (cd "$into/deb" && private_apt apt-get download -qq "$package")
  dpkg-deb -x "$into"/deb/*.deb "$into"
  rm -rf "$into/deb"
  release=${package#linux-image-}
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$into" "$release"
  mv "$into/boot/vmlinuz-$release" "$into/vmlinuz"
  printf '%s\n' "$release" >"$into/ready"
}

# The programs that some scenarios run beside ours, with every library, in one unpacked tree.
programs() {
  local into=$cache/programs deb
  [ ! -e "$into/ready" ] || return 0
  private_lists
  say "fetching ${guest_programs[*]}"
  rm -rf "$into"
  mkdir -p "$into"
  private_apt apt-get install -y -qq --no-install-recommends --download-only "${guest_programs[@]}" >/dev/null
  for deb in "$cache"/apt/archives/*.deb; do
    dpkg-deb -x "$deb" "$into"
  done
  rm -f "$cache"/apt/archives/*.deb
  printf '%s\n' "${guest_programs[*]}" >"$into/ready"
}

# guest VERSION...: these kernels, and the programs.
guest() {
  local version
  [ "$(uname -m)" = x86_64 ] || die "the guest is for x86-64"
  mkdir -p "$cache"
  for version; do
    case $version in
      6.1) kernel 6.1 'linux-image-6\.1\.[0-9]+-[0-9]+-cloud-amd64' ;;
      6.12) kernel 6.12 'linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64' ;;
    esac
  done
  programs
  rm -f "$cache/apt/fresh" # the next fetch reads new lists
}

reference() {
  local main root=$cache/reference.root image=$cache/reference.ext4
  [ ! -e "$image" ] || return 0
  [ "$(id -u)" -eq 0 ] || die "building the reference disk needs root (debootstrap)"
  system
  main=$(mirror main)
  [ -n "$main" ] || die "apt knows no Debian mirror here (run apt-get update, or use a Debian machine)"
  mkdir -p "$cache"
  rm -rf "$root"
  say "building the reference disk from $reference_suite"
  debootstrap --variant=minbase --include="$reference_programs" \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$reference_suite" "$root" "$main" \
    >"$cache/reference.log" 2>&1 || die "debootstrap failed, see $cache/reference.log"
  rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/usr/share/doc "$root"/usr/share/man
  mkdir -p "$root/var/cache/apt"
  PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -b 4096 -d "$root" "$image.new" 700M
  mv "$image.new" "$image"
  rm -rf "$root"
}

case ${1:-all} in
  all)
    system
    guest 6.1 6.12
    if [ "$(id -u)" -eq 0 ]; then
      reference
    elif [ ! -e "$cache/reference.ext4" ]; then
      say "not root: the guest tests with the reference need tests/setup.sh reference, as root"
    fi
    ;;
  system) system ;;
  guest) guest 6.1 6.12 ;;
  demo)
    system
    guest 6.1
    ;;
  reference) reference ;;
  *) die "unknown step '$1': system, guest, demo or reference" ;;
esac
