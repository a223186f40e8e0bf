"""What runs is what was allowed: a tag that was moved to another image is noticed, whoever moved it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import tarfile
from collections.abc import Iterator

import docker
import msgspec
import pytest
from docker.errors import ImageNotFound
from uuid_utils.compat import uuid4

from agents.launcher.image_rules import refusal
from agents.launcher.runtimes.base import Spec
from agents.launcher.runtimes.docker import DockerRuntime
from tests.integration.launcher.rig import Rig
from tests.servers.registry import Registry

pytestmark = pytest.mark.engine


@pytest.fixture
def tag(engine: docker.DockerClient, paper_bot_image: str) -> Iterator[str]:
    """A name of a foreign image, which has the paper bot in it to begin with."""
    name = f"foreign-{uuid4().hex[:8]}:stable"
    engine.images.get(paper_bot_image).tag(*name.split(":"))
    yield name
    with contextlib.suppress(ImageNotFound):
        engine.images.remove(name, force=True)


def _move(engine: docker.DockerClient, tag: str, base: str) -> str:
    """Put another image under the same tag; its id."""
    packed = io.BytesIO()
    text = f"FROM {base}\nLABEL moved={uuid4().hex}\n".encode()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    packed.seek(0)
    for step in engine.api.build(
        fileobj=packed, custom_context=True, tag=tag, network_mode="none", rm=True, decode=True
    ):
        assert "error" not in step, step
    return str(engine.images.get(tag).id)


def _id(rig: Rig, name: str) -> str:
    return str(rig.engine.images.get(name).id)


async def test_an_image_that_is_allowed_by_digest_runs_until_its_tag_is_moved(rig: Rig, tag: str) -> None:
    bot = await rig.bot(image=tag)
    allowed = (f"{tag}@{_id(rig, tag)}",)
    async with rig.launcher(allowed_images=allowed, image_digests="required") as _:
        instance = await rig.until_launched(bot)
        assert instance["image_id"] == _id(rig, tag)
        moved = _move(rig.engine, tag, rig.settings.paper_bot_image)
        assert moved != instance["image_id"]
        # What runs goes on running as what it is; what starts anew is looked at.
        seen = rig.engine.api.inspect_container(instance["container_id"])
        assert (seen["State"]["Running"], seen["Image"]) == (True, instance["image_id"])
        await rig.want(bot, "running")
        row = await rig.until_status(bot, "error", "image_not_allowed")
        assert tag in row["reason_detail"]
        assert "digest" in row["reason_detail"]
        assert row["reason_detail"].endswith("then start the bot again.")
        await rig.until_gone(bot)
    async with rig.launcher(allowed_images=(f"{tag}@{moved}",)):
        await rig.want(bot, "running")
        assert (await rig.until_launched(bot))["image_id"] == moved


async def test_a_name_alone_is_not_enough_where_digests_are_required(rig: Rig, tag: str) -> None:
    bot = await rig.bot(image=tag)
    async with rig.launcher(allowed_images=("foreign-*",), image_digests="required"):
        row = await rig.until_status(bot, "error", "image_not_allowed")
        assert "TRADEWISE_IMAGE_DIGESTS" in row["reason_detail"]
    assert not rig.containers(bot)


async def test_a_tag_that_moves_while_a_bot_is_launched_changes_nothing(rig: Rig, tag: str) -> None:
    looked_at, moved = _id(rig, tag), list[str]()

    class Meanwhile(DockerRuntime):
        async def ensure(self, spec: Spec) -> str:
            # Between the look at the image and the container that is made of it.
            moved.append(await asyncio.to_thread(_move, rig.engine, tag, rig.settings.paper_bot_image))
            return await super().ensure(spec)

    bot = await rig.bot(image=tag)
    async with rig.launcher(kind=Meanwhile, allowed_images=("foreign-*",)):
        instance = await rig.until_launched(bot)
    assert rig.engine.api.inspect_container(instance["container_id"])["Image"] == looked_at == instance["image_id"]
    assert moved == [_id(rig, tag)]
    assert moved != [looked_at]


async def test_an_image_is_known_by_the_digest_that_it_was_pulled_by(rig: Rig) -> None:
    with Registry() as registry:
        name = f"{registry.name}:1"
        first = registry.digest
        allowed = (f"{name}@{first}",)
        settings = msgspec.structs.replace(rig.settings, allowed_images=allowed, image_digests="required")
        async with rig.launcher(allowed_images=allowed, image_digests="required", image_pull="missing") as launcher:
            try:
                pulled = await launcher._runtime.pull(name)
                assert first in pulled.digests
                assert first != pulled.id
                assert refusal(name, pulled, settings) is None
                assert await launcher._runtime.find_image(f"{registry.name}@{first}") == pulled
                # Somebody pushes another image under the tag: what is fetched now is another one.
                second = registry.put("second")
                rig.engine.images.remove(name, force=True)
                bot = await rig.bot(image=name)
                row = await rig.until_status(bot, "error", "image_not_allowed")
                assert "digest" in row["reason_detail"]
                assert second in (await launcher._runtime.find_image(name) or pulled).digests
                assert not rig.containers(bot)
            finally:
                for image in rig.engine.images.list(registry.name):
                    rig.engine.images.remove(str(image.id), force=True)
