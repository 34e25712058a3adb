#!/bin/sh
# Make the virtual environment: make-venv.sh DIRECTORY. One that works is left alone.
set -eu

target=$1
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

"$target/bin/python" -c "$new_enough" 2>/dev/null && "$target/bin/pip" --version >/dev/null 2>&1 && exit 0

python=
for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$candidate" -c "$new_enough" 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Richmond needs Python 3.11 or newer, and there is none on the PATH" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$(dirname "$0")/apt-install.sh" python3-venv
fi
echo "Making the virtual environment $target/ with $("$python" --version)"
"$python" -m venv --clear "$target"
