#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Installs microvm and what belongs to it; called by `make install`.
#
# Environment: DESTDIR (prefix of every path written, empty for this system), PREFIX (/usr), BUILT
# (the directory with the built program). The units of a host are not installed here: that is
# `microvm host install`, which knows the state directory and the user of that host.
set -eu
cd "$(dirname "$0")/../../.."
: "${DESTDIR:=}" "${PREFIX:=/usr}" "${BUILT:=target/release}"
bindir=$PREFIX/bin share=$PREFIX/share

put() { # MODE SOURCE TARGET
    install -D -m "$1" "$2" "$DESTDIR$3"
}

put 755 "$BUILT/microvm" "$bindir/microvm"
(cd bin/microvm/examples && find . -type f) | while read -r file; do
    mode=644
    [ ! -x "bin/microvm/examples/$file" ] || mode=755
    put "$mode" "bin/microvm/examples/$file" "$share/doc/microvm/examples/${file#./}"
done

for shell in bash zsh fish; do
    case $shell in
        bash) target=$share/bash-completion/completions/microvm ;;
        zsh) target=$share/zsh/site-functions/_microvm ;;
        fish) target=$share/fish/vendor_completions.d/microvm.fish ;;
    esac
    mkdir -p "$(dirname "$DESTDIR$target")"
    "$BUILT/microvm" completions "$shell" >"$DESTDIR$target"
    chmod 644 "$DESTDIR$target"
done
"$BUILT/microvm" schema >"$DESTDIR$share/doc/microvm/schema.json"
chmod 644 "$DESTDIR$share/doc/microvm/schema.json"

for file in LICENSE-APACHE LICENSE-MIT; do put 644 "$file" "$share/doc/microvm/$file"; done
