#!/usr/bin/env bash
# Make sure that a Chromium is here for the browser test; $TRADEWISE_CHROMIUM may name one of your own.
set -euo pipefail

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

if [ -n "${TRADEWISE_CHROMIUM:-}" ]; then
    "$TRADEWISE_CHROMIUM" --version >/dev/null 2>&1 || die "TRADEWISE_CHROMIUM=$TRADEWISE_CHROMIUM does not run"
    exit 0
fi
if command -v chromium >/dev/null; then exit 0; fi

id=$(. /etc/os-release 2>/dev/null && echo "${ID:-}") || id=
if [ "$id" != ubuntu ]; then
    exec "$(dirname "$0")/apt-install.sh" "the browser test" chromium
fi
# Ubuntu's package is only a door to a snap, which containers and servers often cannot run.
[ "$(id -u)" = 0 ] || die "the browser test needs Chromium. Run: sudo .venv/bin/playwright install --with-deps chromium"
printf '==> Installing Chromium with Playwright for the browser test (about 200 MB)\n' >&2
.venv/bin/playwright install --with-deps chromium >&2 ||
    die "Playwright could not install Chromium; name one that is here: TRADEWISE_CHROMIUM=/path/to/chromium"
