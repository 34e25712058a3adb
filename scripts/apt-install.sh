#!/bin/sh
# Install Debian packages, quietly: apt-install.sh PACKAGE... Without root it says what to do, and stops.
set -eu

if ! command -v apt-get >/dev/null; then
    echo "Needed: $* (Debian's names). There is no apt-get here: install them your system's way, then try again." >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Needed: $*. As root: apt-get install $*" >&2
    exit 1
fi

echo "Installing $* from Debian"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 \
        install --no-install-recommends "$@" >"$log" 2>&1 </dev/null
}
# A fresh system has no package lists, an old one may have lists that are out of date: update only then.
if ! install "$@"; then
    apt-get -qq -o DPkg::Lock::Timeout=120 update >"$log" 2>&1 && install "$@" || {
        cat "$log" >&2
        echo "apt-get could not install $*; see above" >&2
        exit 1
    }
fi
