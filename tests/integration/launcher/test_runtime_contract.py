"""What the launcher counts on of any runtime, told without a word of Docker's: a further runtime joins `RUNTIMES`.

A *copy* is made, started with its document, seen, stopped, examined and removed; its storage stays until it is dropped.
Where runtimes may differ, they say so in their capabilities (docs/decisions/0026).
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid4, uuid7

from agents.launcher.runtimes.base import Exit, Observed, Runtime, RuntimeFault, Spec
from agents.launcher.runtimes.docker import DockerRuntime
from tests.integration.launcher.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.engine

#: How each runtime is made for an installation of its own on the engine of the test.
RUNTIMES: Mapping[str, Callable[[str, UUID], Runtime]] = {"docker": DockerRuntime}
SECRET = "planted-config-secret"


class Bench:
    """One runtime, and copies of one bot."""

    def __init__(self, runtime: Runtime, image: str) -> None:
        self.runtime = runtime
        self.image = image
        self.bot_id = UUID(str(uuid7()))
        self.tenant_id = UUID(str(uuid7()))

    def spec(self) -> Spec:
        """A further copy of the bot."""
        port = None
        if self.runtime.capabilities.host_ports:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
        return Spec(
            tenant_id=self.tenant_id,
            bot_id=self.bot_id,
            instance_id=UUID(str(uuid7())),
            generation=1,
            image=self.image,
            publish_address="127.0.0.1",
            host_port=port,
        )

    async def started(self, behaviour: str) -> str:
        """The reference of a copy that was started and told how to behave."""
        ref = await self.runtime.ensure(self.spec())
        await self.runtime.start(ref, document(behaviour))
        return ref

    async def only(self) -> Observed:
        """The one copy that is listed."""
        [seen] = await self.runtime.observe()
        return seen

    async def ended(self, ref: str) -> Exit:
        """How a copy ended, once it has."""

        async def there() -> Exit | None:
            found = await self.runtime.examine(ref)
            assert found is not None
            return found if isinstance(found, Exit) else None

        found = await until(there, what="the copy's end")
        assert isinstance(found, Exit)
        return found

    async def count(self) -> str:
        """Run a copy that counts its bot's starts in its storage, to its end; what it said."""
        ref = await self.started("count")
        said = (await self.ended(ref)).lines[-1]
        await self.runtime.remove(ref)
        return said


def document(behaviour: str, **more: str) -> bytes:
    """A hand-over for the program that does as it is told."""
    config = {"behaviour": behaviour, "secret": SECRET}
    return json.dumps({"token": "planted-token-0123456789", "config": config, **more}).encode() + b"\n"


@pytest.fixture(params=sorted(RUNTIMES))
async def bench(request: pytest.FixtureRequest, rig: Rig, rogue_image: str) -> AsyncIterator[Bench]:
    """A runtime under test; what it leaves is cleaned away by the rig, whose installation it is."""
    assert rig.settings.docker_host is not None
    made = RUNTIMES[request.param](rig.settings.docker_host, rig.installation)
    yield Bench(made, rogue_image)
    await asyncio.to_thread(made.close)


async def test_it_says_what_it_is_and_which_images_it_has(bench: Bench) -> None:
    info = await bench.runtime.info()
    assert info.name
    assert info.version
    assert await bench.runtime.find_image(bench.image)
    assert await bench.runtime.find_image("tradewise/nowhere:1") is None


async def test_a_copy_is_made_first_and_started_later(bench: Bench) -> None:
    spec = bench.spec()
    ref = await bench.runtime.ensure(spec)
    seen = await bench.only()
    assert (seen.ref, seen.state) == (ref, "created")
    assert (seen.bot_id, seen.instance_id) == (spec.bot_id, spec.instance_id)
    await bench.runtime.start(ref, document("sleep"))
    assert (await bench.only()).state == "running"
    found = await bench.runtime.examine(ref)
    assert isinstance(found, Observed)
    assert (found.ref, found.state, found.instance_id) == (ref, "running", spec.instance_id)


async def test_a_copy_that_never_started_is_removed_as_any_other(bench: Bench) -> None:
    ref = await bench.runtime.ensure(bench.spec())
    await bench.runtime.remove(ref)
    assert await bench.runtime.observe() == []
    assert await bench.runtime.examine(ref) is None


async def test_the_program_gets_its_whole_document(bench: Bench) -> None:
    ref = await bench.runtime.ensure(bench.spec())
    # More than any pipe or packet holds at once.
    await bench.runtime.start(ref, document("exit 7", padding="x" * 300_000))
    ended = await bench.ended(ref)
    assert (ended.code, ended.oom_killed) == (7, False)
    assert ended.lines[-1] == "last words"


async def test_a_copy_that_is_asked_ends_and_is_then_seen_as_ended(bench: Bench) -> None:
    ref = await bench.started("sleep")
    assert await bench.runtime.stop(ref, 20.0) > 0
    # It ends itself with 0; by the signal where it was asked before its first line.
    assert (await bench.ended(ref)).code in {0, 143}
    assert (await bench.only()).state == "exited"


async def test_a_copy_that_does_not_listen_is_ended_by_force_after_its_grace(bench: Bench) -> None:
    ref = await bench.started("deaf")

    async def stopped() -> bool:
        await bench.runtime.stop(ref, 0.5)
        return not isinstance(await bench.runtime.examine(ref), Observed)

    await until(stopped, what="an end by force", every_s=0.1)
    assert (await bench.ended(ref)).code in {137, 143}


async def test_a_running_copy_is_not_removed(bench: Bench) -> None:
    ref = await bench.started("sleep")
    with pytest.raises(RuntimeFault):
        await bench.runtime.remove(ref)
    assert (await bench.only()).state == "running"


async def test_what_is_gone_is_no_error_and_certainly_gone(bench: Bench) -> None:
    ref = await bench.started("exit 0")
    await bench.ended(ref)
    for _ in range(2):
        await bench.runtime.remove(ref)
    await bench.runtime.stop(ref, 1.0)
    assert await bench.runtime.examine(ref) is None
    assert await bench.runtime.observe() == []


async def test_storage_outlives_copies_until_it_is_dropped(bench: Bench) -> None:
    assert [await bench.count() for _ in range(3)] == [f"start number {number}" for number in (1, 2, 3)]
    for _ in range(2):
        await bench.runtime.drop_storage(bench.bot_id)
    assert await bench.count() == "start number 1"


async def test_the_end_of_a_copy_is_told_with_its_bot(bench: Bench) -> None:
    told: set[str | None] = set()
    lock = threading.Lock()

    def changed(bot_id: str | None) -> None:
        with lock:
            told.add(bot_id)

    bench.runtime.watch(changed)
    # The first word comes when the watch has begun: from then on nothing is missed.
    await until(lambda: None in told, what="a watch that has begun")
    await bench.ended(await bench.started("exit 0"))
    await until(lambda: str(bench.bot_id) in told, what="word of the end")


async def test_another_installations_copies_are_not_seen(bench: Bench, rig: Rig) -> None:
    await bench.runtime.ensure(bench.spec())
    other: Any = type(bench.runtime)(rig.settings.docker_host, UUID(str(uuid4())))  # type: ignore[call-arg]
    try:
        assert await other.observe() == []
    finally:
        await asyncio.to_thread(other.close)


async def test_no_secret_is_in_what_it_lists(bench: Bench) -> None:
    ref = await bench.started("sleep")
    assert "planted" not in str(await bench.runtime.observe())
    assert "planted" not in str(await bench.runtime.examine(ref))
