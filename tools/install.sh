#!/usr/bin/env bash
# Makes a virtual environment and installs counterpoint into it, editable.
#   tools/install.sh FOLDER EXTRA
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 extra=$2

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3.11 python3.12 python3.13 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "expected Python 3.11 or newer, found none; install it or set PYTHON=/path/to/python" >&2
    exit 1
fi

if [ ! -x "$venv/bin/python" ]; then
    # Debian and Ubuntu ship venv's other half as a package of its own.
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
        echo "installing $package, which $python lacks"
        sudo=""
        [ "$(id -u)" = 0 ] || sudo=sudo
        $sudo apt-get update -qq && $sudo apt-get install -y -qq "$package"
    fi
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[$extra]"
