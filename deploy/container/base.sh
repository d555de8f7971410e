#!/bin/sh
# A base image where no registry is reached: Debian with its Python, from the machine's own package mirror, in the place of
# python:3.11-slim-bookworm. Usage, as root: base.sh IMAGE
set -eu
umask 022
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" env DEBIAN_FRONTEND=noninteractive sh -euc '
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends ca-certificates libpython3.11 python3 python3-venv
    apt-get clean
' >/dev/null
: >"$root/etc/resolv.conf"
find "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root/usr/share/info" -mindepth 1 -delete
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/* "$root"/var/log/* "$root"/tmp/*
tar -C "$root" --exclude='./dev/*' -c . | podman import --quiet - "$1"
