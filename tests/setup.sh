#!/bin/bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Brings what building, checking and the guest tests need. Run again at will: it does only what is missing.
#
#   tests/setup.sh             all of the following; an ordinary user gets no reference
#   tests/setup.sh system      only the system packages (root, Debian or Ubuntu)
#   tests/setup.sh guest       only the kernels and programs for the guest (any user)
#   tests/setup.sh hypervisors only the programs that command lines of microvm are shown to (any user)
#   tests/setup.sh demo        what `make demo` needs: system packages (root if some are missing), one kernel
#   tests/setup.sh reference   the disk image with the reference nvme-stas (root, about a minute)
#
# Nothing for the guest is installed: packages are downloaded with apt and unpacked under $PLINTH_CACHE,
# by default target/lab. The mirror is the one that this machine's apt configuration names.
set -eu
umask 022

here=$(cd "$(dirname "$0")/.." && pwd)
# A relative one is so to the workspace, as for cargo and the tests.
cache=$(cd "$here" && realpath -m "${PLINTH_CACHE:-${CARGO_TARGET_DIR:-target}/lab}")
# The release whose kernels the guest boots, the one with the newest kernel that there is, and the
# one that carries the reference.
guest_suite=bookworm
newest_suite=sid
reference_suite=trixie
guest_programs=(dbus-daemon avahi-daemon nvme-cli udev iproute2)
# What command lines of microvm are shown to: this QEMU beside the machine's own, and Alioth.
qemu_programs=(qemu-system-x86 qemu-system-arm)
alioth_version=0.12.0
# Of the second only systemd-machined is wanted, which needs nothing that the first does not bring.
guest_manager=(systemd -- systemd-container)
# What makes file systems, and the libraries for that; the rest of these packages needs Python.
guest_filesystems=(xfsprogs btrfs-progs dosfstools
  libblkid1 libc6 libinih1 liblzo2-2 libudev1 liburcu8 libuuid1 libzstd1 zlib1g)
# The server of an example of microvm; it is unpacked and never runs on this machine.
example_server=redis-server
# The host at the other end of a deployment, which is another root directory of this machine.
other_host=(openssh-server sudo dash coreutils)
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
command -v cpio             cpio
command -v depmod           kmod
command -v xz               xz-utils
command -v mke2fs           e2fsprogs
command -v dbus-daemon      dbus
command -v mandoc           mandoc
command -v shellcheck       shellcheck
command -v mkfs.erofs       erofs-utils
command -v nix-instantiate  nix-bin
command -v mksquashfs       squashfs-tools
command -v setpriv          util-linux
command -v python3          python3
command -v clang-19         clang-19
command -v llvm-strip-19    llvm-19
command -v clang-14         clang-14
test -e /usr/include/libelf.h libelf-dev
test -e /usr/include/zlib.h zlib1g-dev
test -e /usr/include/$(arch)-linux-gnu/sys/sdt.h systemtap-sdt-dev
command -v bpftool          bpftool
command -v debootstrap      debootstrap
command -v ip               iproute2
command -v ssh              openssh-client
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
# Each suite has its own, or all would come from the newest.
apt=$cache/apt
private_apt() {
  local tool=$1
  shift
  "$tool" -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State="$apt/state" -o Dir::State::Lists="$apt/lists" \
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
    -o Dir::Cache::archives="$apt/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" \
    -o Acquire::Languages=none -o APT::Architecture=amd64 -o APT::Architectures::=amd64 "$@"
}

private_lists() {
  local suite=$1 main security keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ ! -e "$apt/fresh" ] || return 0
  main=$(mirror main)
  if [ -z "$main" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq # a fresh machine knows its mirrors only after this
    main=$(mirror main)
  fi
  security=$(mirror security)
  [ -n "$main" ] || die "apt knows no Debian mirror here (run apt-get update, or use a Debian machine)"
  mkdir -p "$apt/state" "$apt/lists/partial" "$apt/cache" "$apt/archives/partial"
  : >"$apt/status"
  {
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$main" "$suite"
    if [ "$suite" != "$newest_suite" ]; then # which has neither
      printf 'deb [signed-by=%s] %s %s-updates main\n' "$keyring" "$main" "$suite"
      [ -z "$security" ] ||
        printf 'deb [signed-by=%s] %s %s-security main\n' "$keyring" "$security" "$suite"
    fi
  } >"$apt/sources.list"
  say "reading the package lists of $suite"
  private_apt apt-get update -qq
  : >"$apt/fresh"
}

# kernel NAME SUITE PATTERN: the newest kernel package that matches, unpacked, with its modules.dep.
kernel() {
  local into=$cache/kernel-$1 suite=$2 pattern=$3 package release parts deb apt=$cache/apt
  [ ! -e "$into/ready" ] || return 0
  [ "$suite" = "$guest_suite" ] || apt=$cache/apt-$suite
  private_lists "$suite"
  package=$(private_apt apt-cache pkgnames linux-image- | grep -E "^$pattern\$" | sort -V | tail -n 1)
  [ -n "$package" ] || die "no kernel package matches $pattern"
  say "fetching $package"
  rm -rf "$into"
  mkdir -p "$into/deb"
  release=${package#linux-image-}
  # Newer releases split it: the kernel and the modules in packages of their own.
  parts=$(private_apt apt-cache pkgnames linux- | grep -Fx -e "linux-base-$release" \
    -e "linux-binary-$release" -e "linux-modules-$release" || true)
  # shellcheck disable=SC2086 # a list of names
  (cd "$into/deb" && private_apt apt-get download -qq "$package" $parts)
  for deb in "$into"/deb/*.deb; do dpkg-deb -x "$deb" "$into"; done
  rm -rf "$into/deb"
  [ -e "$into/lib" ] || ln -s usr/lib "$into/lib" # where newer packages put it
  PATH=$PATH:/usr/sbin:/sbin depmod -b "$into" "$release"
  if [ -e "$into/boot/vmlinuz-$release" ]; then
    mv "$into/boot/vmlinuz-$release" "$into/vmlinuz"
  else
    mv "$into/lib/modules/$release/vmlinuz" "$into/vmlinuz"
  fi
  printf '%s\n' "$release" >"$into/ready"
}

# fetched INTO PACKAGE... [-- PACKAGE...]: unpacks these with every library that they need into a fresh
# directory, those behind the dashes alone. What an interrupted run has left is not unpacked with them.
fetched() {
  local into=$1 deb package with_libraries=() alone=()
  shift
  say "fetching $*"
  rm -rf "$into"
  mkdir -p "$into"
  for package; do
    [ "$package" != -- ] || break
    with_libraries+=("$package")
  done
  alone=("${@:${#with_libraries[@]}+2}")
  rm -f "$apt"/archives/*.deb
  private_apt apt-get install -y -qq --no-install-recommends --download-only "${with_libraries[@]}" \
    >/dev/null
  [ ${#alone[@]} -eq 0 ] || (cd "$apt/archives" && private_apt apt-get download -qq "${alone[@]}")
  for deb in "$apt"/archives/*.deb; do
    dpkg-deb -x "$deb" "$into"
  done
  rm -f "$apt"/archives/*.deb
}

# tree NAME PACKAGE... [-- PACKAGE...]: packages with every library in one unpacked tree, those behind
# the dashes alone. Another list is fetched anew.
tree() {
  local into=$cache/$1
  shift
  [ "$(cat "$into/ready" 2>/dev/null)" != "$*" ] || return 0
  private_lists "$guest_suite"
  fetched "$into" "$@"
  printf '%s\n' "$*" >"$into/ready"
}

# picked NAME PACKAGE...: these packages and no others, in one unpacked tree.
picked() {
  local into=$cache/$1 deb
  shift
  [ ! -e "$into/ready" ] || return 0
  private_lists "$guest_suite"
  say "fetching $*"
  rm -rf "$into"
  mkdir -p "$into/deb"
  (cd "$into/deb" && private_apt apt-get download -qq "$@")
  for deb in "$into"/deb/*.deb; do dpkg-deb -x "$deb" "$into"; done
  rm -rf "$into/deb"
  printf '%s\n' "$*" >"$into/ready"
}

# The daemon that serves directories to virtual machines, of the newest suite, with every library and
# the loader that these need: the host's may be older.
virtiofsd() {
  local into=$cache/virtiofsd apt=$cache/apt-$newest_suite
  [ ! -e "$into/ready" ] || return 0
  private_lists "$newest_suite"
  fetched "$into" virtiofsd
  cat >"$into/run" <<'RUN'
#!/bin/sh
root=${0%/*}
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \
  "$root/usr/libexec/virtiofsd" "$@"
RUN
  chmod 755 "$into/run"
  "$into/run" --version >"$into/ready.new"
  mv "$into/ready.new" "$into/ready"
}

# qemu NAME SUITE: the QEMU of a release in a tree of its own, with every library.
qemu() {
  local into=$cache/qemu-$1 suite=$2 apt=$cache/apt
  [ ! -e "$into/ready" ] || return 0
  [ "$suite" = "$guest_suite" ] || apt=$cache/apt-$suite
  private_lists "$suite"
  fetched "$into" "${qemu_programs[@]}"
  # What it needs to be the root of a process.
  [ -e "$into/lib" ] || ln -s usr/lib "$into/lib"
  [ -e "$into/lib64" ] || ln -s usr/lib64 "$into/lib64"
  (cd "$into" && mkdir -p dev proc run srv work etc/ssl)
  printf 'nobody:x:65534:65534::/:/bin/false\n' >"$into/etc/passwd"
  printf 'nogroup:x:65534:\n' >"$into/etc/group"
  printf '127.0.0.1 localhost\n' >"$into/etc/hosts"
  printf '%s\n' "$suite" >"$into/ready"
}

# Alioth, built without optimization: it is shown command lines and never runs a machine here.
alioth() {
  local into=$cache/alioth-$alioth_version
  [ ! -e "$into/ready" ] || return 0
  say "building alioth $alioth_version"
  rm -rf "$into"
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$into/build cargo install -q alioth-cli \
    --version "$alioth_version" --locked --debug --root "$into"
  rm -rf "$into/build"
  : >"$into/ready"
}

qemus() {
  [ "$(uname -m)" = x86_64 ] || die "the hypervisors are for x86-64"
  mkdir -p "$cache"
  qemu oldest "$guest_suite"
  qemu newest "$newest_suite"
}

hypervisors() {
  qemus
  alioth
}

# guest NAME...: these kernels, and the programs.
guest() {
  local version
  [ "$(uname -m)" = x86_64 ] || die "the guest is for x86-64"
  mkdir -p "$cache"
  for version; do
    case $version in
      6.1) kernel 6.1 "$guest_suite" 'linux-image-6\.1\.[0-9]+-[0-9]+-cloud-amd64' ;;
      # The ones for clouds lack 9p.
      6.1-generic) kernel 6.1-generic "$guest_suite" 'linux-image-6\.1\.[0-9]+-[0-9]+-amd64' ;;
      6.12) kernel 6.12 "$guest_suite" 'linux-image-6\.12\.[0-9]+\+deb12-cloud-amd64' ;;
      sid) kernel sid "$newest_suite" 'linux-image-[0-9.]+(\+deb[0-9]+)?-cloud-amd64' ;;
      *) die "no such kernel: $version" ;;
    esac
  done
  tree programs "${guest_programs[@]}" # what some scenarios run beside ours
  tree manager "${guest_manager[@]}"   # the service manager of others
  picked filesystems "${guest_filesystems[@]}"
  tree server "$example_server"
  tree other-host "${other_host[@]}"   # unpacked, so that no daemon is installed here
  virtiofsd
}

reference() {
  local main root=$cache/reference.root image=$cache/reference.ext4
  [ ! -e "$image" ] || return 0
  [ "$(id -u)" -eq 0 ] || die "building the reference disk needs root (debootstrap)"
  system
  main=$(mirror main)
  [ -n "$main" ] || die "apt knows no Debian mirror here (run apt-get update, or use a Debian machine)"
  mkdir -p "$cache"
  rm -rf --one-file-system "$root"
  say "building the reference disk from $reference_suite"
  # It mounts /proc there, and not beyond its own end, so that a run that is cut leaves plain files.
  unshare --mount debootstrap --variant=minbase --include="$reference_programs" \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$reference_suite" "$root" "$main" \
    >"$cache/reference.log" 2>&1 || die "debootstrap failed, see $cache/reference.log"
  rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/usr/share/doc "$root"/usr/share/man
  mkdir -p "$root/var/cache/apt"
  PATH=$PATH:/usr/sbin:/sbin mke2fs -q -F -t ext4 -b 4096 -d "$root" "$image.new" 700M
  mv "$image.new" "$image"
  rm -rf "$root"
}

# The next run reads new lists; nothing goes on when this one ends early.
compiling=
end() {
  rm -f "$cache"/apt*/fresh
  [ -z "$compiling" ] || kill "$compiling" 2>/dev/null || :
}
trap end EXIT

case ${1:-all} in
  all)
    system
    mkdir -p "$cache"
    alioth & # compiles while the others wait for the network
    compiling=$!
    guest 6.1 6.1-generic 6.12 sid
    qemus
    if [ "$(id -u)" -eq 0 ]; then
      reference
    elif [ ! -e "$cache/reference.ext4" ]; then
      say "not root: the guest tests with the reference need tests/setup.sh reference, as root"
    fi
    wait "$compiling"
    compiling=
    ;;
  system) system ;;
  guest) guest 6.1 6.1-generic 6.12 sid ;;
  hypervisors) hypervisors ;;
  demo)
    system
    guest 6.1
    ;;
  reference) reference ;;
  *) die "unknown step '$1': system, guest, hypervisors, demo or reference" ;;
esac
