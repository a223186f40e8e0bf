"""PostgreSQL goes and comes back, with its connections refused or with every question left unanswered."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import asyncpg
import docker
import pytest

from control_plane.database.migrate import migrate
from control_plane.database.roles import LOGIN_ROLES
from tests.e2e.postgres import Server, running_server
from tests.e2e.processes import descendants
from tests.factories import Factory, Urls
from tests.faults.invariants import hold
from tests.faults.recovery import Recovery
from tests.faults.stage import Stage, stage_on
from tests.waiting import until

pytestmark = pytest.mark.engine

OUTAGE_S, BRIEF_OUTAGE_S = 60.0, 6.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this file's own, over TCP as in production."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
async def whole_stage(
    server: Server,
    engine: docker.DockerClient,
    engine_url: str,
    paper_bot_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stage]:
    """The stage of `conftest`, on that server."""
    admin = await asyncpg.connect(server.url())
    await admin.execute("create database tradewise")
    await admin.close()
    await migrate(server.url("tradewise"))
    admin = await asyncpg.connect(server.url("tradewise"))
    for role in LOGIN_ROLES.values():
        await admin.execute(f"alter role {role} password '{server.password}'")
    await admin.close()
    roles = {kind: server.url("tradewise", role) for kind, role in LOGIN_ROLES.items()}
    folder = tmp_path_factory.mktemp("stage")
    urls = Urls(admin=server.url("tradewise"), roles=roles)
    async with stage_on(urls, engine, engine_url, paper_bot_image, folder) as stage:
        await stage.run(folder)
        yield stage


def _running(stage: Stage, bot: UUID | None = None) -> set[str]:
    return {item["Id"] for item in stage.containers(bot) if item["State"] == "running"}


async def _outlast(stage: Stage, seconds: float, crashed: UUID) -> None:
    """Wait for the end of an outage; until then nothing else that runs may end, and nothing new begin."""
    stage.kill_copy(crashed)
    await until(lambda: not _running(stage, crashed), what="the crash, as the engine tells it")
    before = _running(stage)
    until_s = asyncio.get_running_loop().time() + seconds

    def over() -> bool:
        assert _running(stage) == before
        return asyncio.get_running_loop().time() > until_s

    await until(over, deadline_s=seconds + 30, every_s=0.25)


async def _back(stage: Stage) -> None:
    """A connection anew, where the old one ended with the server."""
    await stage.admin.close()
    stage.admin = await asyncpg.connect(stage.urls.admin)
    stage.factory = Factory(stage.admin, stage.vault)


async def test_stopped(stage: Stage, server: Server, recovery: Recovery, in_full: bool) -> None:
    """While it is away one bot crashes, and another was just asked to start."""
    [crashed] = await stage.running(1)
    asked = await stage.bot(desired="stopped")
    await hold(stage)
    others = await stage.others([crashed])
    length = OUTAGE_S if in_full else BRIEF_OUTAGE_S
    then = "bots trade on; agents wait and look again; what crashed or was asked for meanwhile is seen to then"
    with recovery(f"PostgreSQL stopped {length:.0f} s", then) as row:
        # Frozen, so that it cannot have begun before the database goes.
        stage.launcher_process.send(signal.SIGSTOP)
        try:
            await stage.want(asked, "running")
            server.stop()
        finally:
            stage.launcher_process.send(signal.SIGCONT)
        await _outlast(stage, length, crashed)
        server.start()
        row.again()
        await _back(stage)
        await stage.well(others)


async def test_frozen(stage: Stage, server: Server, recovery: Recovery, in_full: bool) -> None:
    """Its connections stand, and nothing is answered: nobody may wait for ever."""
    [crashed] = await stage.running(1)
    others = await stage.others([crashed])
    length = OUTAGE_S if in_full else BRIEF_OUTAGE_S
    with recovery(f"PostgreSQL frozen {length:.0f} s", "the same, with questions that get no answer") as row:
        processes = [server.pid, *descendants(server.pid)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            await _outlast(stage, length, crashed)
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)
        row.again()
        await stage.well(others)
