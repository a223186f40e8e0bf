"""The image of hosted freqtrade bots on a base that holds freqtrade already, as its makers' does."""

from __future__ import annotations

import io
from collections.abc import Iterator

import docker
import pytest

from agents.launcher.freqtrade_image import ensure_freqtrade_image
from agents.launcher.images import ImageBuildError, as_tar

pytestmark = [pytest.mark.freqtrade]

_MAKERS = "tradewise/test-freqtrade-makers:1"
#: As in the image of freqtrade's makers: a user of their own, number 1000, and everything in that user's own packages.
_DOCKERFILE = """
FROM {image} AS ours
FROM {base}
USER 0:0
RUN useradd --uid 1000 --home-dir /srv/makers --create-home makers && chmod 0700 /srv/makers
COPY --from=ours --chown=1000:1000 /opt/freqtrade /srv/makers/.local/lib/python3.11/site-packages
USER makers
"""


@pytest.fixture
def makers_image(engine: docker.DockerClient, freqtrade_image: str) -> Iterator[str]:
    """An image made as theirs is."""
    text = _DOCKERFILE.format(image=freqtrade_image, base="tradewise/base:bookworm")
    packed: io.BytesIO = as_tar({"Dockerfile": text.encode()})
    _build(engine, packed, _MAKERS)
    yield _MAKERS
    engine.images.remove(_MAKERS, force=True)


def _build(engine: docker.DockerClient, packed: io.BytesIO, tag: str) -> None:
    steps = engine.api.build(
        fileobj=packed, custom_context=True, tag=tag, network_mode="none", rm=True, forcerm=True, decode=True
    )
    errors = [step["error"] for step in steps if "error" in step]
    assert not errors, errors


def test_their_image_is_taken_as_it_is(engine: docker.DockerClient, makers_image: str) -> None:
    said: list[str] = []
    tag = ensure_freqtrade_image(engine, say=said.append, base_image=makers_image)
    try:
        assert not any("Fetching" in line for line in said)
        config = engine.images.get(tag).attrs["Config"]
        assert (config["User"], config["Entrypoint"]) == ("10001:10001", ["python3", "-m", "freqtrade_bot"])
        found = engine.containers.run(
            tag, ["-c", "import freqtrade; print(freqtrade.__file__)"], entrypoint="python3", remove=True,
            network_mode="none",
        )  # fmt: skip
        assert found.decode().startswith("/opt/makers/lib/")
    finally:
        ensure_freqtrade_image(engine, say=said.append)  # so that `latest` is the usual one again
        engine.images.remove(tag, force=True)


def test_a_base_without_freqtrade_is_refused_by_the_build(engine: docker.DockerClient, freqtrade_image: str) -> None:
    assert freqtrade_image
    with pytest.raises(ImageBuildError, match="No module named freqtrade"):
        ensure_freqtrade_image(engine, say=lambda _line: None, base_image="tradewise/base:bookworm")
