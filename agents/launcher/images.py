"""Build the image of the hosted bot from the files that this installation carries, once for each version of them."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import docker
from docker.errors import APIError

from agents import paper_bot
from agents.launcher.base_image import BaseImageUnavailable, ensure_base_image, is_present, patience
from agents.launcher.engine import EngineUnavailable, ensure_engine, open_client, say_on_stderr

REPOSITORY = "tradewise/paper-bot"
_BUILD_TIMEOUT_S = 600
_HASH_LENGTH = 12


class ImageBuildError(Exception):
    """The engine could not build the image; the message holds its last words. Code `image_build_failed`."""

    code = "image_build_failed"


def ensure_paper_bot_image(
    client: docker.DockerClient, *, say: Callable[[str], None], base_image: str | None = None
) -> str:
    """Return the tag of the hosted bot's image, building it where the engine lacks it; `latest` points to it too.

    `base_image`, or else TRADEWISE_BASE_IMAGE, names what to build on; without either, what can be had is found.
    Raises BaseImageUnavailable and ImageBuildError.
    """
    base = base_image or os.environ.get("TRADEWISE_BASE_IMAGE") or None
    folder = Path(paper_bot.__file__).parent
    return ensure_image(client, folder, REPOSITORY, paper_bot.__version__, base_image=base, say=say)


def ensure_image(
    client: docker.DockerClient,
    folder: Path,
    repository: str,
    version: str,
    *,
    base_image: str | None,
    say: Callable[[str], None],
) -> str:
    """Return the tag of the image that `folder` describes, building it where the engine lacks it.

    The tag follows from the version, the files and the base where one is named, so that each change makes an image of
    its own. Raises BaseImageUnavailable and ImageBuildError.
    """
    files = context_files(folder)
    tag = f"{repository}:{version}-{fingerprint(files, base_image)}"
    if not is_present(client, tag):
        with one_at_a_time(say):
            if not is_present(client, tag):
                base = base_image or ensure_base_image(client, say)
                say(f"Building {tag} on {base}")
                build(client, as_tar(files), tag, base)
    client.api.tag(tag, repository, "latest", force=True)
    return tag


def context_files(folder: Path) -> dict[str, bytes]:
    """Return the files of a build context by their relative names, without what Python leaves beside them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def fingerprint(files: dict[str, bytes], base: str | None) -> str:
    """Return a short hash over the names and contents of a build context and the base where one is named."""
    digest = hashlib.sha256((base or "").encode())
    for name, content in files.items():
        digest.update(f"\0{name}\0{hashlib.sha256(content).hexdigest()}".encode())
    return digest.hexdigest()[:_HASH_LENGTH]


def as_tar(files: dict[str, bytes]) -> io.BytesIO:
    """Pack a build context with fixed owners, modes and times: equal files give equal layers."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        pack(archive, files)
    packed.seek(0)
    return packed


def pack(archive: tarfile.TarFile, files: dict[str, bytes]) -> None:
    """Add files to an archive, as `as_tar` does."""
    for name, content in files.items():
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))


def build(client: docker.DockerClient, context: IO[bytes], tag: str, base: str) -> None:
    """Build a packed context on `base` without a network. Raises ImageBuildError with the engine's last words."""
    said: list[str] = []
    try:
        with patience(client, _BUILD_TIMEOUT_S):
            # No network: all that the bot needs is in its folder and its base.
            for step in client.api.build(
                fileobj=context, custom_context=True, tag=tag, buildargs={"BASE_IMAGE": base}, network_mode="none",
                rm=True, forcerm=True, decode=True,
            ):  # fmt: skip
                said.append(str(step.get("stream") or step.get("error") or ""))
                if "error" in step:
                    raise ImageBuildError(f"building {tag} on {base} failed:\n{''.join(said[-10:]).strip()}")
    except APIError as error:
        raise ImageBuildError(f"building {tag} on {base} failed: {error.explanation}") from error


@contextmanager
def one_at_a_time(say: Callable[[str], None]) -> Iterator[None]:
    """Let one process build at a time, so that two that start together do the work once."""
    path = Path(tempfile.gettempdir(), f"tradewise-images-{os.geteuid()}.lock")
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another process is building images; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_by_command(ensure: Callable[..., str]) -> int:
    """Make sure of an engine and of the image that ``ensure`` builds in it; print the tag. The exit status."""
    try:
        client = open_client(ensure_engine(install=True, say=say_on_stderr).url)
        try:
            print(ensure(client, say=say_on_stderr))
        finally:
            client.close()
    except (EngineUnavailable, BaseImageUnavailable, ImageBuildError) as error:
        say_on_stderr(f"error: {error}")
        return 1
    return 0


def main() -> int:
    """The image of our own bot, by command."""
    return build_by_command(ensure_paper_bot_image)


if __name__ == "__main__":
    sys.exit(main())
