"""What the set-up may do on a Debian or Ubuntu machine where it runs as root: install packages, and say so."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Sequence

_FAMILY = frozenset({"debian", "ubuntu"})
_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=2")
_SHOWN = ("Get:", "Setting up ")
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
    _run_apt((*_APT, "-q", "update"), say)
    _run_apt((*_APT, "-q", "-y", "--no-install-recommends", "install", *packages), say)


def _run_apt(command: Sequence[str], say: Callable[[str], None]) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    last: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker: we asked for a pipe
        for line in process.stdout:
            last.append(line.rstrip())
            if line.startswith(_SHOWN):
                say(f"  {line.rstrip()}")
    if process.returncode != 0:
        tail = "\n".join(last)
        raise PackageInstallError(f"`{' '.join(command)}` ended with status {process.returncode}:\n{tail}")
