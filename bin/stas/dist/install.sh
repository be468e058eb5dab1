#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Installs the built programs and what belongs to them; called by `make install`.
#
# Environment: DESTDIR (prefix of every path written, empty for this system), PREFIX (/usr),
# SYSCONFDIR (/etc), BUILT (the directory with the built programs). Configuration files that exist
# are kept; a newer default is put beside them as NAME.new.
set -eu
cd "$(dirname "$0")/../../.."
. bin/install-parts.sh
: "${SYSCONFDIR:=/etc}"
dist=bin/stas/dist
bindir=$PREFIX/bin sbindir=$PREFIX/sbin units=$PREFIX/lib/systemd/system

unit() { # SOURCE TARGET: with the paths of this installation
    mkdir -p "$(dirname "$DESTDIR$2")"
    sed -e "s|@BINDIR@|$bindir|g" -e "s|@SBINDIR@|$sbindir|g" \
        -e "s|/usr/share/doc/|$share/doc/|g" "$1" >"$DESTDIR$2"
    chmod 644 "$DESTDIR$2"
}

for program in stafd stacd; do put 755 "$BUILT/$program" "$sbindir/$program"; done
for program in stafctl stacctl stasadm; do put 755 "$BUILT/$program" "$bindir/$program"; done

pages plinth.7 stafd.8 stacd.8 stafctl.1 stacctl.1 stasadm.1 stafd.conf.5 stacd.conf.5 sys.conf.5

for file in "$dist"/units/*.service "$dist"/units/*.target "$dist"/units/*.d/*.conf; do
    unit "$file" "$units/${file#"$dist"/units/}"
done
for file in "$dist"/dbus/*.conf; do put 644 "$file" "$share/dbus-1/system.d/${file##*/}"; done

for file in "$dist"/conf/*.conf; do
    target=$SYSCONFDIR/stas/${file##*/}
    if [ -e "$DESTDIR$target" ]; then
        cmp -s "$file" "$DESTDIR$target" || put 644 "$file" "$target.new"
    else
        put 644 "$file" "$target"
    fi
done

for program in stafd stacd stafctl stacctl stasadm; do completions "$program" --completions; done

for file in README.md CHANGELOG.md "$dist/units/without-bus.conf"; do
    put 644 "$file" "$share/doc/stas/${file##*/}"
done
licences stas
