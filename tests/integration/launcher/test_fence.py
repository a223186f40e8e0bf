"""One live copy: what a launch may do, asked of the rows at each of its steps, whoever else believes to act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from agents.agent import make_pool
from agents.launcher import queries
from agents.launcher.launch import Starter
from agents.launcher.lifecycle import Policy
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


async def well(rig: Rig, bot: UUID) -> bool:
    """Whether the bot runs as it is wished by now; whatever copy runs is called healthy."""
    row = await rig.row(bot)
    if row["status"] == "running" and row["generation"] == row["observed_generation"]:
        return True
    await rig.healthy(bot)
    return False


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


async def test_two_launchers_that_both_believe_to_act_never_run_two_copies(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst case: both are told that they lead, as after a partition. They may disturb each other and no more."""

    async def always(_connection: object) -> bool:
        return True

    monkeypatch.setattr(queries, "lead", always)
    rig.policy = Policy(stop_grace=5.0, first_delay=0.1, longest_delay=0.2, restarts=1000)
    bots = [await rig.bot() for _ in range(4)]
    most = launches = 0

    async def launched(enough: int) -> bool:
        nonlocal most, launches
        most = max(most, *(running(rig, bot) for bot in bots))
        launches = await rig.admin.fetchval("select count(*) from bot_instances where container_id is not null")
        return bool(launches >= enough)

    async with rig.launcher(reconcile_interval=0.3):
        async with rig.launcher(reconcile_interval=0.3):
            for _ in range(4):
                await until(partial(launched, launches + len(bots)), what="launches, one beside the other")
                for bot in bots:
                    await rig.want(bot, "running")
        for bot in bots:
            await until(partial(well, rig, bot), what="it runs", deadline_s=60.0)
        await until(lambda: len(rig.containers()) == 4, what="nothing else is left", deadline_s=60.0)
    assert most == 1
