"""The image that the hosted bot's image starts from: a stock Python where a registry answers, else made from Debian.

Only the second way needs this machine to be Debian or Ubuntu and us to be root; it takes its packages from the mirror
that the machine itself uses.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

from agents.launcher import debian

STOCK_IMAGE = "python:3.13-slim"
OLDEST_PYTHON = (3, 11)
_OWN_REPOSITORY = "tradewise/base"
_REGISTRY_TIMEOUT_S = 10
_IMPORT_TIMEOUT_S = 600
# Nothing that a program needs to run: what apt downloaded, documentation, translations, logs.
_LEFT_OUT = ("var/cache/apt/*", "var/lib/apt/lists/*", "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*",
             "usr/share/info/*", "var/log/*", "var/cache/debconf/*", "tmp/*")  # fmt: skip
_DEBOOTSTRAP_SHOWN = ("I: Retrieving InRelease", "I: Resolving", "I: Installing", "I: Unpacking the",
                      "I: Configuring python3", "I: Base system")  # fmt: skip


class BaseImageUnavailable(Exception):  # noqa: N818 - a state of the machine rather than a fault of ours
    """No base image can be had here; the message says how to name one. Code `base_image_unavailable`."""

    code = "base_image_unavailable"


def ensure_base_image(client: docker.DockerClient, say: Callable[[str], None]) -> str:
    """Return the name of an image with Python 3.11 or newer that the engine has by the end of the call.

    What the engine has already comes first, so that a second build asks no network. Raises BaseImageUnavailable.
    """
    suite = debian.os_release().get("VERSION_CODENAME", "")
    own = f"{_OWN_REPOSITORY}:{suite or 'unknown'}"
    for name in (STOCK_IMAGE, own):
        if is_present(client, name):
            return name
    if _pull(client, STOCK_IMAGE, say):
        return STOCK_IMAGE
    if not suite or not debian.may_install():
        raise BaseImageUnavailable(_advice("and only root on Debian or Ubuntu can make one from packages"))
    try:
        _import_from_packages(client, suite, own, say)
    except (debian.PackageInstallError, APIError, OSError) as error:
        raise BaseImageUnavailable(_advice(f"and making one from packages failed: {error}")) from error
    return own


def is_present(client: docker.DockerClient, name: str) -> bool:
    """Tell whether the engine has an image of that name."""
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


@contextmanager
def patience(client: docker.DockerClient, seconds: int) -> Iterator[None]:
    """Wait so long for each answer of the engine within the block, whatever the client is set to."""
    before, client.api.timeout = client.api.timeout, seconds
    try:
        yield
    finally:
        client.api.timeout = before


def _pull(client: docker.DockerClient, name: str, say: Callable[[str], None]) -> bool:
    """Pull an image when its registry answers in time; tell whether the engine has it now."""
    say(f"Asking the registry for {name} (at most {_REGISTRY_TIMEOUT_S} s)")
    try:
        # A pull itself waits without end where packets vanish; this question first does not.
        with patience(client, _REGISTRY_TIMEOUT_S):
            client.images.get_registry_data(name)
        say(f"Pulling {name}")
        repository, tag = name.split(":")
        for step in client.api.pull(repository, tag=tag, stream=True, decode=True):
            if step.get("status") == "Pull complete":
                say(f"  layer {step.get('id', '')} is here")
    except (APIError, OSError) as error:
        reason = error.explanation if isinstance(error, APIError) and error.explanation else error
        say(f"  It did not give it: {reason}")
        return False
    return is_present(client, name)


def _import_from_packages(client: docker.DockerClient, suite: str, name: str, say: Callable[[str], None]) -> None:
    """Make a minimal system with Python by debootstrap and import it into the engine under `name`."""
    if shutil.which("debootstrap") is None:
        debian.apt_install(("debootstrap",), say)
    mirror = debian.mirror_of(suite)
    if mirror is None:
        raise BaseImageUnavailable(_advice(f"and this machine's package sources name no mirror of {suite}"))
    # Not /tmp: it is often mounted without devices or programs, both of which a system needs.
    folder = Path(tempfile.mkdtemp(prefix="tradewise-base-", dir="/var/tmp"))
    try:
        root = folder / "root"
        say(f"Making a base image of {suite} with Python from the machine's own package mirror (about a minute)")
        _debootstrap(root, suite, mirror, say)
        _check_python(root)
        say(f"Importing it into the engine as {name}")
        _import_folder(client, root, name, suite)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _debootstrap(root: Path, suite: str, mirror: str, say: Callable[[str], None]) -> None:
    # In a mount namespace of its own, whatever debootstrap mounts is gone when it ends, however it ends. Making that
    # private fails in a chroot, whose root is no mount point; there debootstrap's own cleaning has to do.
    apart = 'mount --make-rprivate / 2>/dev/null; exec "$@"'
    command = ("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", apart, "apart", "debootstrap",
               "--variant=minbase", "--include=python3,ca-certificates", suite, str(root), mirror)  # fmt: skip
    debian.run_telling(command, say, shown=_DEBOOTSTRAP_SHOWN, extra_env=debian.apt_proxies())


def _check_python(root: Path) -> None:
    """Refuse a release whose Python is too old for the bot."""
    target = os.readlink(root / "usr/bin/python3")  # noqa: PTH115 - only its name counts: python3.11
    if tuple(int(part) for part in target.removeprefix("python").split(".")) < OLDEST_PYTHON:
        raise BaseImageUnavailable(_advice(f"and this release's own is {target}"))


def _import_folder(client: docker.DockerClient, root: Path, name: str, suite: str) -> None:
    excluded = [f"--exclude=./{pattern}" for pattern in _LEFT_OUT]
    changes = ['CMD ["python3"]', "ENV LANG=C.UTF-8", f"LABEL tradewise.base={suite}"]
    repository, tag = name.split(":")
    with (
        patience(client, _IMPORT_TIMEOUT_S),
        subprocess.Popen(
            ("tar", "--create", "--numeric-owner", f"--directory={root}", *excluded, "."), stdout=subprocess.PIPE
        ) as tar,
    ):
        answer = client.api.import_image(
            src=tar.stdout, repository=repository, tag=tag, changes=changes, stream_src=True
        )
    faults = [fault for line in str(answer).splitlines() if (fault := json.loads(line).get("error"))]
    if tar.returncode != 0:
        faults.append(f"tar ended with status {tar.returncode}")
    if faults:
        # Half a system must not be taken for a base by the next start.
        with suppress(APIError):
            client.images.remove(name, force=True)
        raise OSError("; ".join(faults))


def _advice(why: str) -> str:
    return (
        f"no base image for hosted bots: the engine has none, no registry gave {STOCK_IMAGE}, {why}. Load an image "
        "with Python 3.11 or newer into the engine (`docker load`) and name it: TRADEWISE_BASE_IMAGE=name:tag."
    )
