"""The launcher dies, freezes or is cut off at any moment: the next one comes to one copy a bot and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.faults.invariants import CopyWatch
from tests.faults.launcher_process import AgentProcess
from tests.faults.recovery import Recovery
from tests.faults.stage import Stage
from tests.integration.launcher.rig import TOKEN
from tests.servers.database_proxy import DatabaseProxy
from tests.waiting import until

pytestmark = pytest.mark.engine

#: Moments of what is done to the bots of `$1`, each as what the database shows of it; `engine` as what the engine does.
_LAUNCH = {
    "the status is written": "select count(*) from bots where id = any($1) and status = 'starting'",
    "the place is claimed": "select count(*) from bot_instances where bot_id = any($1)",
    "the container is known": "select count(*) from bot_instances where bot_id = any($1) and container_id is not null",
    "the container runs": "engine running",
    "the copy runs": "select count(*) from bot_instances where bot_id = any($1) and state = 'running'",
}
_STOP = {
    "the status is written": "select count(*) from bots where id = any($1) and status = 'stopping'",
    "the container has ended": "engine exited",
    "its end is kept": "select count(*) from bot_instances where bot_id = any($1) and state in ('exited', 'removed')",
    "its place is free": "select count(*) from bot_instances where bot_id = any($1) and released_at is not null",
}
#: What comes before is as in a stop.
_REPLACE = {
    "its place is free": _STOP["its place is free"],
    "the next place is claimed": "select count(*) from bot_instances where bot_id = any($1) and generation = 3",
    "the next copy runs":
        "select count(*) from bot_instances where bot_id = any($1) and generation = 3 and state = 'running'",
}  # fmt: skip


async def _moment(stage: Stage, bots: list[UUID], moment: str) -> None:
    """Wait until what is under way has come so far."""

    async def there() -> Any:
        if not moment.startswith("engine"):
            return await stage.admin.fetchval(moment, bots)
        return any(item["State"] == moment.split()[1] for bot in bots for item in stage.containers(bot))

    await until(there, what=moment, every_s=0.001, deadline_s=60.0)


async def _killed_at(stage: Stage, recovery: Recovery, verb: str, wish: str, moment: str, bots: list[UUID]) -> None:
    others = await stage.others(bots)
    then = "the next launcher goes on from there: one copy a bot"
    with recovery(f"kill -9 of the launcher at each step of a {verb}", then) as row:
        for bot in bots:
            await stage.want(bot, wish)
        await _moment(stage, bots, moment)
        stage.launcher_process.kill()
        row.again()
        stage.launcher_process.start()
        await stage.well(others)
    assert await stage.admin.fetchval("select max(attempt) from bots where id = any($1)", bots) == 0


@pytest.mark.parametrize("moment", _LAUNCH)
async def test_killed_at_a_moment_of_a_launch(stage: Stage, recovery: Recovery, moment: str) -> None:
    bots = [await stage.bot(desired="stopped") for _ in range(2)]
    await _killed_at(stage, recovery, "launch", "running", _LAUNCH[moment], bots)


@pytest.mark.parametrize("moment", _STOP)
async def test_killed_at_a_moment_of_a_stop(stage: Stage, recovery: Recovery, moment: str) -> None:
    await _killed_at(stage, recovery, "stop", "stopped", _STOP[moment], await stage.running(2))


@pytest.mark.parametrize("moment", _REPLACE)
async def test_killed_at_a_moment_of_a_replacement(stage: Stage, recovery: Recovery, moment: str) -> None:
    bots = await stage.running(2)
    for bot in bots:
        await stage.want(bot, "running")
    await stage.well({})
    await _killed_at(stage, recovery, "replacement", "running", _REPLACE[moment], bots)


async def test_killed_again_and_again_at_any_moment(stage: Stage, recovery: Recovery) -> None:
    """Restarts, stops, crashes and kills in random order; the order is told when the test fails."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    bots = await stage.running(4)
    others = await stage.others(bots)
    with CopyWatch(stage.settings.docker_host or "", stage.installation) as watch:
        for _ in range(5):
            for _ in range(chance.randrange(1, 4)):
                bot = chance.choice(bots)
                if chance.random() < 0.7:
                    await stage.want(bot, chance.choice(["running", "stopped"]))
                else:
                    stage.kill_copy(bot)
            steps = chance.randrange(1, 12)
            count = await stage.admin.fetchval("select count(*) from bot_events")
            # Where it comes to rest before that many events, it is killed at rest.
            with contextlib.suppress(AssertionError):
                await until(partial(_events, stage, count + steps), deadline_s=1.0 + 2 * chance.random())
            stage.launcher_process.kill()
            stage.launcher_process.start()
        for bot in bots:
            await stage.want(bot, "running")
        with recovery("kill -9 of the launcher at random, again and again", "never a second copy; all run in the end"):
            await stage.well(others)
    assert watch.most <= 1


async def _events(stage: Stage, at_least: int) -> Any:
    return await stage.admin.fetchval("select count(*) >= $1 from bot_events", at_least)


async def test_what_runs_goes_on_while_no_launcher_does_and_is_adopted(stage: Stage, recovery: Recovery) -> None:
    bot, crashed = await stage.running(2)
    others = await stage.others([crashed])
    with recovery("no launcher for a while", "bots trade on and are adopted; what ended meanwhile is started again"):
        stage.launcher_process.kill()
        stage.kill_copy(crashed)
        live = await stage.live(bot)
        assert live is not None
        assert (await stage.ask(live["host_port"], "state"))["trading_state"] == "running"
        stage.launcher_process.start()
        await stage.until_status(crashed, "starting", "restarting")
        await stage.well(others)


async def test_a_launcher_that_is_asked_to_end_ends_and_says_no_secret(stage: Stage) -> None:
    broken = await stage.bot(config={"strategy": {"type": "planted-config-secret"}})
    await stage.until_status(broken, "error", "config_rejected")
    assert stage.launcher_process.end() == 0
    said = stage.launcher_process.log.read_text()
    assert "bot_status" in said
    rows = str(await stage.admin.fetch("select * from bot_instances")) + str(await stage.admin.fetch("table bots"))
    for planted in (TOKEN, "planted-config-secret"):
        assert planted not in said
        assert planted not in rows


@pytest.fixture
async def second(stage: Stage, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """Another launcher, not started yet. The first one is the one that acts."""
    made = AgentProcess("launcher", stage, tmp_path)
    yield made
    with contextlib.suppress(ProcessLookupError):
        made.end()
    print("the second:", made.log.read_text() if made.log.exists() else "")


async def _stands_by(stage: Stage) -> None:
    query = (
        "select count(*) > 0 from agent_beats where detail->>'role' = 'standby' and beat_at > now() - interval '6 s'"
    )
    await until(partial(stage.admin.fetchval, query), what="a launcher that stands by")


async def _acts(process: AgentProcess, times: int) -> None:
    """Wait until a launcher has taken over, for the nth time."""
    await until(
        lambda: process.log.exists() and process.log.read_text().count('"event": "acting"') >= times,
        what="a launcher takes over",
        deadline_s=60.0,
    )


async def test_two_launchers_one_is_killed(stage: Stage, second: AgentProcess, recovery: Recovery) -> None:
    [bot] = await stage.running(1)
    others = await stage.others([bot])
    second.start()
    await _stands_by(stage)
    with recovery("two launchers, the acting one is killed", "the other one takes over within a second") as row:
        stage.launcher_process.kill()
        await stage.want(bot, "running")
        await _acts(second, 1)
        row.noticed()
        await stage.well(others)


async def test_two_launchers_one_is_frozen(stage: Stage, second: AgentProcess, recovery: Recovery) -> None:
    """It freezes amid a launch. When it goes on, another one has acted, and it must not finish what it had begun."""
    [bot] = await stage.running(1)
    others = await stage.others([bot])
    second.start()
    await _stands_by(stage)
    then = "the other one ends its connection after 20 s without a sign of life; thawed, it stands by"
    with CopyWatch(stage.settings.docker_host or "", stage.installation) as watch:
        with recovery("two launchers, the acting one freezes and thaws", then) as row:
            await stage.want(bot, "running")
            await _moment(stage, [bot], _REPLACE["the next place is claimed"].replace("= 3", "= 2"))
            stage.launcher_process.send(signal.SIGSTOP)
            row.again()
            await _acts(second, 1)
            row.noticed()
            await stage.well(others)
        mended = await stage.others()
        stage.launcher_process.send(signal.SIGCONT)
        await _stands_by(stage)
        await stage.well(mended)
    assert watch.most <= 1


async def test_two_launchers_one_loses_its_database(
    stage: Stage, second: AgentProcess, recovery: Recovery, tmp_path: Path
) -> None:
    """It still has the engine, and must leave it alone."""
    [bot] = await stage.running(1)
    others = await stage.others([bot])
    stage.launcher_process.end()
    async with DatabaseProxy(stage.urls["agent_launcher"]) as cable:
        cut_off = AgentProcess("launcher", stage, tmp_path / "cut-off", url=cable.url)
        cut_off.start()
        try:
            await _acts(cut_off, 1)
            second.start()
            await _stands_by(stage)
            then = "the other one takes over; the first one does nothing until it has its database again"
            with (
                CopyWatch(stage.settings.docker_host or "", stage.installation) as watch,
                recovery("two launchers, the acting one loses its database", then) as row,
            ):
                await stage.want(bot, "running")
                await cable.cut()
                row.again()
                await _acts(second, 1)
                row.noticed()
                await stage.well(others)
                mended = await stage.others()
                await cable.mend()
                await _stands_by(stage)
                await stage.well(mended)
            assert watch.most <= 1
        finally:
            # In a thread: its way to the database goes through this loop.
            await asyncio.to_thread(cut_off.end)


async def test_the_database_turns_read_only(stage: Stage, recovery: Recovery) -> None:
    """As it does where a standby server is promoted, or a disk is full."""
    others = await stage.others()
    name = await stage.admin.fetchval("select current_database()")
    role = "tradewise_agent_launcher"
    end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 and datname = current_database()"
    failed = stage.launcher_process.log.read_text().count("pass_failed")
    with recovery("the launcher may only read", "it waits; afterwards what was asked for meanwhile is done") as row:
        await stage.admin.execute(f'alter role {role} in database "{name}" set default_transaction_read_only = on')
        try:
            await stage.admin.execute(end, role)
            await stage.bot()
            said = stage.launcher_process.log
            await until(lambda: "ReadOnly" in said.read_text() or said.read_text().count("pass_failed") > failed,
                what="a step that failed")  # fmt: skip
        finally:
            await stage.admin.execute(f'alter role {role} in database "{name}" reset default_transaction_read_only')
            await stage.admin.execute(end, role)
        row.again()
        await stage.well(others)
