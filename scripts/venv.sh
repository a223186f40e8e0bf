#!/usr/bin/env bash
# Make a virtual environment at $1 with $PYTHON (default python3), installing Debian's venv module where that is missing.
set -euo pipefail

target=$1
python=${PYTHON:-python3}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    die "no '$python' here. Install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3) or name one: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "TradeWise needs Python 3.11 or newer, and '$python' is $("$python" --version 2>&1). Name a newer one: make PYTHON=python3.12"

# Debian and Ubuntu keep the part that puts pip into a new environment in a package of its own.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    "$(dirname "$0")/apt-install.sh" "a virtual environment with $python" "$package"
fi

printf '==> %s\n' "Making a virtual environment in $target with $("$python" --version)" >&2
rm -rf "$target"
"$python" -m venv "$target"
