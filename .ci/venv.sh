#!/bin/bash
# Create .venv with a Python from 3.11 to 3.13, and look for what compiles the C extension.
#
# Where it may (as root, with apt) it installs what is missing. Elsewhere it names the one command that does, and stops only
# for Python itself and its venv module: without a compiler or Python.h the pure-Python path runs.
set -euo pipefail
cd "$(dirname "$0")/.."

. .ci/apt.sh

fail() {
    say "$@"
    exit 1
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

if ! python=$(find_python); then
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python from 3.11 to 3.13"
    apt_install python3.11 python3.11-venv
    python=$(find_python) ||
        fail "no Python from 3.11 to 3.13 was found; run: sudo apt-get install -y python3.11 python3.11-venv (or: make PYTHON=/path/to/python3)"
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

if ! has_venv "$python"; then
    apt_install "python$version-venv"
    has_venv "$python" || fail "this Python has no venv module; run: sudo apt-get install -y python$version-venv"
fi

missing=$("$python" .ci/install.py missing)
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086  # a list of names
    apt_install $missing
fi

say "creating .venv with Python $version"
"$python" -m venv --clear .venv
