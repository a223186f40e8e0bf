"""One live copy: what a launch may do, asked of the rows at each of its steps, whoever else believes to act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from agents.agent import make_pool
from agents.launcher import queries
from agents.launcher.launch import Starter
from agents.launcher.runtimes.base import Spec
from agents.launcher.runtimes.docker import DockerRuntime
from control_plane.security.vault import Vault
from tests.integration.launcher.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.engine


class Slow(DockerRuntime):
    """The real runtime, of which a test can hold up a launch: after its container was made, or after it was started."""

    made: Callable[[str], Awaitable[None]] | None = None
    started: Callable[[str], Awaitable[None]] | None = None

    async def ensure(self, spec: Spec) -> str:
        ref = await super().ensure(spec)
        if self.made is not None:
            await self.made(ref)
        return ref

    async def start(self, ref: str, handover: bytes) -> None:
        await super().start(ref, handover)
        if self.started is not None:
            await self.started(ref)


@pytest.fixture
async def pool(rig: Rig) -> AsyncIterator[asyncpg.Pool]:
    """A second launcher's connections."""
    made = await make_pool(rig.urls["agent_launcher"], "launcher")
    yield made
    await made.close()


@pytest.fixture
async def slow(rig: Rig) -> AsyncIterator[Slow]:
    """Its hands on the engine."""
    made = Slow(rig.settings.docker_host, rig.installation)
    yield made
    made.close()


async def launch(rig: Rig, pool: asyncpg.Pool, vault: Vault, runtime: DockerRuntime, bot: UUID) -> bool:
    """One launch of ``bot``, as a launcher does it that believes to act."""
    [work] = await queries.work(pool, [bot])
    return await Starter(rig.settings, pool, vault, runtime).launch(work)


async def ready(rig: Rig) -> UUID:
    return await rig.bot(status="starting", observed_generation=1)


def running(rig: Rig, bot: UUID) -> int:
    return sum(container["State"] == "running" for container in rig.containers(bot))


@pytest.mark.parametrize(
    "meanwhile",
    [
        # it took too long: somebody stopped the process for minutes, or the engine did not answer
        "update bot_instances set lease_until = now() where bot_id = $1",
        # somebody stopped the bot, wished another generation, or took it away
        "update bots set desired = 'stopped', generation = generation + 1 where id = $1",
        "update bots set generation = generation + 1 where id = $1",
        "update bots set deleted_at = now() where id = $1",
    ],
)
async def test_a_launch_that_lost_its_right_starts_nothing(
    rig: Rig, pool: asyncpg.Pool, vault: Vault, slow: Slow, meanwhile: str
) -> None:
    bot = await ready(rig)

    async def lose(_ref: str) -> None:
        await rig.admin.execute(meanwhile, bot)

    slow.made = lose
    assert await launch(rig, pool, vault, slow, bot) is False
    assert rig.containers(bot) == []
    await rig.admin.execute("update bots set desired = 'running', generation = generation + 1 where id = $1", bot)
    await rig.admin.execute("update bots set deleted_at = null where id = $1", bot)
    async with rig.launcher():
        await rig.up(bot)


async def test_a_copy_whose_place_was_given_away_while_it_started_ends_at_once(
    rig: Rig, pool: asyncpg.Pool, vault: Vault, slow: Slow
) -> None:
    bot = await ready(rig)

    async def take_over(_ref: str) -> None:
        await rig.admin.execute(
            "update bot_instances set state = 'removed', released_at = now() where bot_id = $1", bot
        )

    slow.started = take_over
    assert await launch(rig, pool, vault, slow, bot) is False
    await until(lambda: running(rig, bot) == 0, what="it is ended")


@pytest.mark.parametrize("moment", ["made", "started"])
async def test_a_launcher_that_was_cut_off_and_comes_back_makes_no_second_copy(
    rig: Rig, pool: asyncpg.Pool, vault: Vault, slow: Slow, moment: str
) -> None:
    """The first launcher hangs within a launch; another one takes over, launches, and then the first one goes on."""
    bot = await ready(rig)
    hangs, go_on = asyncio.Event(), asyncio.Event()

    async def hang(_ref: str) -> None:
        hangs.set()
        await go_on.wait()

    setattr(slow, moment, hang)
    first = asyncio.create_task(launch(rig, pool, vault, slow, bot))
    await hangs.wait()
    most = 0
    async with rig.launcher():

        async def launched() -> Any:
            nonlocal most
            most = max(most, running(rig, bot))
            live = await rig.live(bot)
            return live is not None and live["state"] == "running"

        await until(launched, what="the second launcher's copy")
        copy = await rig.live(bot)
        go_on.set()
        await asyncio.gather(first, return_exceptions=True)
        await rig.up(bot)
        await until(lambda: len(rig.containers(bot)) == 1, what="one container")
        assert copy is not None
        assert rig.containers(bot)[0]["Id"] == copy["container_id"]
        assert (await rig.live(bot) or {})["id"] == copy["id"]
    assert most == 1


async def test_two_launchers_that_both_believe_to_act_keep_to_one_copy(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst case: the lock tells both that they lead, as after a partition, while bots start, crash and stop."""

    async def always(_connection: object) -> bool:
        return True

    monkeypatch.setattr(queries, "lead", always)
    bots = [await rig.bot() for _ in range(4)]
    most = 0

    async def settled() -> Any:
        nonlocal most
        most = max(most, *(running(rig, bot) for bot in bots))
        for bot in bots:
            live, row = await rig.live(bot), await rig.row(bot)
            if row["desired"] == "stopped":
                if live is not None or row["status"] != "inactive":
                    return False
            elif live is None or (live["state"], live["generation"]) != ("running", row["generation"]):
                return False
        return True

    async with rig.launcher(reconcile_interval=0.3), rig.launcher(reconcile_interval=0.3):
        await until(settled, what="all run", deadline_s=60.0)
        rig.engine.api.kill(rig.containers(bots[0])[0]["Id"], "SIGKILL")
        await rig.want(bots[1], "running")
        await rig.want(bots[2], "stopped")
        await until(settled, what="all are as wanted", deadline_s=60.0)
        await until(lambda: len(rig.containers()) == 3, what="nothing else is left", deadline_s=60.0)
    assert most == 1
    counts = await rig.admin.fetch("select bot_id from bot_instances where released_at is null")
    assert len(counts) == 3
