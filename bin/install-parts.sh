# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# What the installers of the families share: bin/*/dist/install.sh read this file.
#
# Uses DESTDIR (prefix of every path written, empty for this system), PREFIX (/usr) and BUILT (the
# directory with the built programs), and sets `share`. Runs in the root of the source tree.
: "${DESTDIR:=}" "${PREFIX:=/usr}" "${BUILT:=target/release}"
share=$PREFIX/share

put() { # MODE SOURCE TARGET
    install -D -m "$1" "$2" "$DESTDIR$3"
}

generate() { # TARGET PROGRAM [ARGUMENT...]: what a built program prints
    target=$1 program=$2
    shift 2
    mkdir -p "$(dirname "$DESTDIR$target")"
    "$BUILT/$program" "$@" >"$DESTDIR$target"
    chmod 644 "$DESTDIR$target"
}

completions() { # PROGRAM WORD: the word that makes the program print them
    generate "$share/bash-completion/completions/$1" "$1" "$2" bash
    generate "$share/zsh/site-functions/_$1" "$1" "$2" zsh
    generate "$share/fish/vendor_completions.d/$1.fish" "$1" "$2" fish
}

pages() { # PAGE...: manual pages by file name
    for page; do put 644 "man/$page" "$share/man/man${page##*.}/$page"; done
}

licences() { # PACKAGE
    for file in LICENSE-APACHE LICENSE-MIT; do put 644 "$file" "$share/doc/$1/$file"; done
}
