#!/usr/bin/env bash
# Install Debian or Ubuntu packages, telling each as it is set up: apt-install.sh "what needs them" package...
set -euo pipefail

reason=$1
shift

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

command -v apt-get >/dev/null || die "$reason needs what Debian calls $*: install it with your system's packages"
[ "$(id -u)" = 0 ] || die "$reason needs more of this system. Run: sudo apt-get install $*"

printf '==> Installing %s with apt-get: %s needs it\n' "$*" "$reason" >&2
apt() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -q -y "$@" </dev/null; }
apt update >/dev/null
apt --no-install-recommends install "$@" | sed -un 's/^Setting up \([^ ]*\).*/    \1/p' >&2 ||
    die "apt-get could not install $*; see its message above"
