"""What the set-up may do on a Debian or Ubuntu machine where it runs as root: install packages, and say so."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence

_FAMILY = frozenset({"debian", "ubuntu"})
_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2")
_APT_SHOWN = ("Get:", "Setting up ")
_TAIL_LINES = 12


class PackageInstallError(Exception):
    """apt-get could not install something; the message holds its last lines. Code `package_install_failed`."""

    code = "package_install_failed"


def os_release() -> dict[str, str]:
    """Return the machine's os-release fields, empty where the system has no such file."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def is_debian_family() -> bool:
    """Tell whether this is Debian, Ubuntu or a descendant that says so."""
    release = os_release()
    return bool(_FAMILY & {release.get("ID", ""), *release.get("ID_LIKE", "").split()})


def may_install() -> bool:
    """Tell whether we could install packages here: root, on a system of the Debian family."""
    return os.geteuid() == 0 and is_debian_family() and shutil.which("apt-get") is not None


def apt_install(packages: Sequence[str], say: Callable[[str], None]) -> None:
    """Install packages without their recommendations, telling downloads and set-ups as they happen.

    Raises PackageInstallError. Waits up to five minutes for another apt to finish.
    """
    say(f"Installing {', '.join(packages)} with apt-get")
    run_telling((*_APT, "-q", "update"), say, shown=())
    run_telling((*_APT, "-q", "-y", "--no-install-recommends", "install", *packages), say, shown=_APT_SHOWN)


def mirror_of(suite: str) -> str | None:
    """Return the address of the mirror that this machine's apt uses for the main packages of a release, or None."""
    command = ("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Identifier: Packages")
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        release, component, uri = line.split(maxsplit=2)
        if (release, component) == (suite, "main") and uri.startswith(("http://", "https://", "file:")):
            return uri
    return None


def apt_proxies() -> dict[str, str]:
    """Return the proxies that apt is set to, as environment variables for tools that do not read apt's settings."""
    found: dict[str, str] = {}
    for scheme in ("http", "https"):
        command = ("apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy")
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for word in shlex.split(answer):
            found[f"{scheme}_proxy"] = word.removeprefix("proxy=")
    return found


def run_telling(
    command: Sequence[str],
    say: Callable[[str], None],
    *,
    shown: tuple[str, ...],
    extra_env: Mapping[str, str] | None = None,
) -> None:
    """Run a long command, telling those of its lines that begin with one of `shown`.

    Raises PackageInstallError with its last lines when it fails.
    """
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", **(extra_env or {})}
    last: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            last.append(line.rstrip())
            if line.startswith(shown):
                say(f"  {line.rstrip()}")
    if process.returncode != 0:
        tail = "\n".join(last)
        raise PackageInstallError(f"`{' '.join(command)}` ended with status {process.returncode}:\n{tail}")
