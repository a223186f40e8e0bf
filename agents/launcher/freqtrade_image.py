"""The image of hosted freqtrade bots: our small program on an image with freqtrade in it, or on a Python with packages.

The packages are fetched on this machine, by its own pip and from wherever that is set to look, with the versions and
hashes of `agents/freqtrade_bot/requirements.txt`; inside the build there is no network.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import docker
from docker.errors import APIError, ContainerError, ImageNotFound

from agents import freqtrade_bot
from agents.launcher.base_image import ensure_base_image, is_present
from agents.launcher.images import (
    ImageBuildError,
    build,
    build_by_command,
    context_files,
    fingerprint,
    one_at_a_time,
    pack,
)

REPOSITORY: Final = "tradewise/freqtrade-bot"
BASE_VARIABLE: Final = "TRADEWISE_FREQTRADE_BASE_IMAGE"
_FETCH_TIMEOUT_S: Final = 1800
#: Of what is only published as source: one module, which this machine packs into a wheel.
_SOURCE_ONLY: Final = ("sdnotify",)
#: The C libraries that wheels are made for, as far as those of the bases go (glibc 2.28 and later).
_PLATFORMS: Final = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014",
                     "manylinux_2_12", "manylinux2010", "manylinux_2_5", "manylinux1")  # fmt: skip


def ensure_freqtrade_image(
    client: docker.DockerClient, *, say: Callable[[str], None], base_image: str | None = None
) -> str:
    """Return the tag of the image, building it where the engine lacks it; `latest` points to it too.

    `base_image`, or else TRADEWISE_FREQTRADE_BASE_IMAGE, names an image that holds freqtrade; without either, one is
    made of packages. Raises BaseImageUnavailable and ImageBuildError.
    """
    named = base_image or os.environ.get(BASE_VARIABLE) or None
    files = context_files(Path(freqtrade_bot.__file__).parent)
    tag = f"{REPOSITORY}:{freqtrade_bot.__version__}-{fingerprint(files, named)}"
    if not is_present(client, tag):
        with one_at_a_time(say), tempfile.TemporaryDirectory(prefix="tradewise-freqtrade-") as folder:
            if not is_present(client, tag):
                wheels: list[Path] = []
                base = named or ensure_base_image(client, say)
                if named is None:
                    wheels = _fetch(Path(folder), _python_of(client, base), say)
                say(f"Building {tag} on {base}")
                with tempfile.TemporaryFile(dir=folder) as packed:
                    _pack(packed, files, wheels)
                    build(client, packed, tag, base)
    client.api.tag(tag, REPOSITORY, "latest", force=True)
    return tag


def _python_of(client: docker.DockerClient, base: str) -> str:
    """The Python of an image, as `3.11`."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        said = client.containers.run(
            base, ["-c", program], entrypoint="python3", network_mode="none", remove=True, stderr=False
        )
    except (APIError, ContainerError, ImageNotFound) as error:
        raise ImageBuildError(f"{base} does not run python3: {error}") from error
    return str(said.decode().strip())


def _fetch(folder: Path, python: str, say: Callable[[str], None]) -> list[Path]:
    """Every package of the lock file as a wheel for ``python`` on this machine's processor."""
    say(f"Fetching the packages of freqtrade for Python {python} (about 160 MB)")
    locked = Path(freqtrade_bot.__file__).parent / "requirements.txt"
    machine = platform.machine()
    platforms = [f"--platform={name}_{machine}" for name in _PLATFORMS]
    common = ("--no-deps", "--require-hashes", f"--requirement={locked}")
    sources = [f"--no-binary={name}" for name in _SOURCE_ONLY]
    _pip(
        "download", *common, "--only-binary=:all:", *sources, f"--python-version={python}", "--implementation=cp",
        *platforms, f"--dest={folder}",
    )  # fmt: skip
    for source in folder.glob("*.tar.gz"):
        _pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(source))
    return sorted(folder.glob("*.whl"))


def _pip(*arguments: str) -> None:
    # What is packed here is packed alike each time: the engine then knows the layer again.
    env = {**os.environ, "SOURCE_DATE_EPOCH": "946684800"}
    command = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", *arguments)
    try:
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=_FETCH_TIMEOUT_S, env=env
        )
    except subprocess.TimeoutExpired as error:
        raise ImageBuildError(f"pip did not fetch the packages within {_FETCH_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise ImageBuildError(
            f"the packages of freqtrade could not be fetched: {' '.join(said)}. Where no package index answers, load "
            f"an image with freqtrade into the engine and name it: {BASE_VARIABLE}=name:tag."
        ) from error


def _pack(packed: IO[bytes], files: dict[str, bytes], wheels: list[Path]) -> None:
    """The build context. The folder of wheels is there even when nothing is in it."""
    with tarfile.open(fileobj=packed, mode="w") as archive:
        pack(archive, {**files, "wheels/README": b"The packages of requirements.txt, where the base has none.\n"})
        for wheel in wheels:
            entry = tarfile.TarInfo(f"wheels/{wheel.name}")
            entry.size, entry.mode = wheel.stat().st_size, 0o644
            with wheel.open("rb") as content:
                archive.addfile(entry, content)
    packed.seek(0)


def main() -> int:
    """The image of hosted freqtrade bots, by command."""
    return build_by_command(ensure_freqtrade_image)


if __name__ == "__main__":
    sys.exit(main())
