#!/bin/sh
# Install Debian's chromium, with which the tests use the web pages, and in which screenshots are taken.
set -eu

command -v chromium >/dev/null && exit 0
here=$(dirname "$0")
if [ "$(id -u)" -ne 0 ]; then
    echo "Chromium is missing; the tests of the web pages need it. As root: $here/install-chromium.sh" >&2
    exit 1
fi
"$here/apt-install.sh" chromium
