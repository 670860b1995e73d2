#!/bin/sh
# mmdebstrap's customize hook: $1 is the new root. Leaves out what no container reads.
set -eu
cat > "$1/etc/dpkg/dpkg.cfg.d/without-docs" <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/info/*
END
find "$1/usr/share/doc" -type f ! -name copyright -delete
rm -rf "$1/usr/share/man" "$1/usr/share/locale" "$1/usr/share/info" "$1"/var/cache/apt/*.bin "$1"/var/log/*.log
# The postinst of some packages (a JRE) wants it.
mkdir -p "$1/usr/share/man/man1" "$1/var/cache/apt/archives/partial"
# Packages never ask, and never start a service.
echo 'debconf debconf/frontend select Noninteractive' | chroot "$1" debconf-set-selections
printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\nDpkg::Options { "--force-confdef"; "--force-confold"; };\n' > "$1/etc/apt/apt.conf.d/90container"
rm -f "$1/etc/resolv.conf" "$1/etc/hostname"
