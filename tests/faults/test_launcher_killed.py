"""kill -9 of the launcher at any moment: started again, it comes to one container a bot and nothing else."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.faults.launcher_process import LauncherProcess
from tests.integration.launcher.rig import TOKEN, Rig
from tests.waiting import until

pytestmark = pytest.mark.engine


@pytest.fixture
def vault(settings: Settings) -> Vault:
    """The vault that the launcher's process opens as well: its key is in a file."""
    create_kek_file(settings.effective_kek_file)
    return Vault(key_provider(settings))


@pytest.fixture
async def process(rig: Rig, tmp_path: Path) -> AsyncIterator[LauncherProcess]:
    """The launcher's process; what it made is cleaned away by the rig."""
    made = LauncherProcess(rig, tmp_path)
    yield made
    made.end()
    print(made.log.read_text())


async def settled(rig: Rig, bots: list[UUID]) -> list[Any]:
    """Wait for one running copy of each bot, all healthy, and nothing else on the engine; the containers then."""

    async def one_each() -> Any:
        live = set()
        for bot in bots:
            row, copy = await rig.row(bot), await rig.live(bot)
            if copy is None or (copy["state"], copy["generation"]) != ("running", row["generation"]):
                return None
            if row["status"] != "running":
                await rig.healthy(bot)
                return None
            live.add(copy["container_id"])
        containers = rig.containers()
        return containers if sorted(item["Id"] for item in containers) == sorted(live) else None

    found: list[Any] = await until(one_each, what="one container a bot", deadline_s=60.0)
    assert {container["State"] for container in found} == {"running"}
    return found


async def _after(rig: Rig, query: str) -> None:
    """Wait until a launch has come so far as the query says."""

    async def there() -> Any:
        return await rig.admin.fetchval(query)

    await until(there, what=query, every_s=0.001)


#: Moments of a launch, each as what the database or the engine shows of it.
_MOMENTS = {
    "it leads": "select count(*) from pg_locks where locktype = 'advisory' and granted",
    "the status is written": "select count(*) from bots where status = 'starting'",
    "the place is claimed": "select count(*) from bot_instances",
    "the container is known": "select count(*) from bot_instances where container_id is not null",
    "the copy runs": "select count(*) from bot_instances where state = 'running'",
}


@pytest.mark.parametrize("moment", _MOMENTS)
async def test_killed_at_a_moment_of_a_launch(rig: Rig, process: LauncherProcess, moment: str) -> None:
    bots = [await rig.bot() for _ in range(2)]
    process.start()
    await _after(rig, _MOMENTS[moment])
    process.kill()
    process.start()
    await settled(rig, bots)
    for bot in bots:
        assert (await rig.row(bot))["attempt"] == 0


async def test_killed_again_and_again_at_any_moment(rig: Rig, process: LauncherProcess) -> None:
    """Restarts, stops, crashes and kills in random order; the order is told when the test fails."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    bots = [await rig.bot() for _ in range(4)]
    most = 0
    for _ in range(6):
        process.start()
        for _ in range(chance.randrange(1, 4)):
            bot = chance.choice(bots)
            if chance.random() < 0.7:
                await rig.want(bot, chance.choice(["running", "stopped"]))
            else:
                _crash(rig, bot)
        steps = chance.randrange(1, 12)
        count = await rig.admin.fetchval("select count(*) from bot_events")
        # Where it comes to rest before that many events, it is killed at rest.
        with contextlib.suppress(AssertionError):
            await until(partial(_events, rig, count + steps), deadline_s=1.0 + 2 * chance.random())
        most = max(most, _most_at_once(rig))
        process.kill()
        most = max(most, _most_at_once(rig))
    assert most <= 1
    for bot in bots:
        await rig.want(bot, "running")
    process.start()
    await settled(rig, bots)


async def test_killed_while_it_stops_a_bot(rig: Rig, process: LauncherProcess) -> None:
    bot = await rig.bot()
    process.start()
    await settled(rig, [bot])
    await rig.want(bot, "stopped")
    await _after(rig, "select count(*) from bots where status = 'stopping'")
    process.kill()
    process.start()
    await rig.until_status(bot, "inactive")
    await rig.until_gone(bot)


async def test_what_runs_goes_on_while_no_launcher_does_and_is_adopted(rig: Rig, process: LauncherProcess) -> None:
    bot, crashed = await rig.bot(), await rig.bot()
    process.start()
    [first, _] = sorted(await settled(rig, [bot, crashed]), key=lambda item: item["Labels"]["io.tradewise.bot"])
    process.kill()
    ended = await rig.live(crashed)
    assert ended is not None
    _crash(rig, crashed)
    live = await rig.live(bot)
    assert live is not None
    assert (await rig.ask(live["host_port"], "state"))["trading_state"] == "running"
    process.start()
    await rig.until_status(crashed, "starting", "restarting")
    await rig.until_launched(crashed, after=ended["id"])
    await settled(rig, [bot, crashed])
    assert first["Id"] in {container["Id"] for container in rig.containers(bot)}


async def test_a_launcher_that_is_asked_to_end_ends_and_says_no_secret(rig: Rig, process: LauncherProcess) -> None:
    bot = await rig.bot()
    broken = await rig.bot(config={"strategy": {"type": "planted-config-secret"}})
    process.start()
    await settled(rig, [bot])
    await rig.until_status(broken, "error", "config_rejected")
    assert process.end() == 0
    said = process.log.read_text()
    assert "bot_status" in said
    assert TOKEN not in said
    assert "planted-config-secret" not in said
    everything = str(await rig.admin.fetch("select * from bot_instances")) + str(await rig.admin.fetch("table bots"))
    assert TOKEN not in everything
    assert "planted-config-secret" not in everything


def _crash(rig: Rig, bot: UUID) -> None:
    for container in rig.containers(bot):
        if container["State"] == "running":
            rig.engine.api.kill(container["Id"], "SIGKILL")


def _most_at_once(rig: Rig) -> int:
    """The largest number of running containers of any one bot."""
    running = [item["Labels"]["io.tradewise.bot"] for item in rig.containers() if item["State"] == "running"]
    return max((running.count(bot) for bot in running), default=0)


async def _events(rig: Rig, at_least: int) -> Any:
    return await rig.admin.fetchval("select count(*) >= $1 from bot_events", at_least)


async def test_a_second_launcher_process_waits_for_the_first_to_die(
    rig: Rig, process: LauncherProcess, tmp_path: Path
) -> None:
    bot = await rig.bot()
    (tmp_path / "second").mkdir()
    second = LauncherProcess(rig, tmp_path / "second")
    process.start()
    first = await settled(rig, [bot])
    second.start()
    try:
        await _after(rig, "select count(*) > 0 from agent_beats where detail->>'role' = 'standby'")
        process.kill()
        await rig.want(bot, "running")
        later = await rig.until_launched(bot, after=UUID(first[0]["Labels"]["io.tradewise.instance"]))
        assert later["generation"] == 2
        assert len(rig.containers(bot)) == 1
    finally:
        second.end()


async def test_the_database_goes_away_and_comes_back(rig: Rig, process: LauncherProcess) -> None:
    bot = await rig.bot()
    process.start()
    [before] = await settled(rig, [bot])
    name = await rig.admin.fetchval("select current_database()")
    base, _, query = rig.urls.admin.partition("?")
    elsewhere = await asyncpg.connect(f"{base.rsplit('/', 1)[0]}/postgres" + (f"?{query}" if query else ""))
    try:
        role = "tradewise_agent_launcher"
        await elsewhere.execute(f'alter role {role} in database "{name}" set default_transaction_read_only = on')
        await rig.admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)
        other = await rig.bot()
        await until(lambda: "pass_failed" in process.log.read_text(), what="a pass that failed")
        await elsewhere.execute(f'alter role {role} in database "{name}" reset default_transaction_read_only')
        await rig.admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)
    finally:
        await elsewhere.close()
    containers = await settled(rig, [bot, other])
    assert before["Id"] in {container["Id"] for container in containers}
