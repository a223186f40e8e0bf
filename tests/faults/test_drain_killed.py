"""kill -9 of the launcher while a bot winds down: the next one goes on with it, and the deadline stays what it was."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.faults.launcher_process import AgentProcess
from tests.integration.launcher.rig import Rig
from tests.waiting import until

pytestmark = pytest.mark.engine


@pytest.fixture
def vault(settings: Settings) -> Vault:
    """The vault that the launcher's process opens as well: its key is in a file."""
    create_kek_file(settings.effective_kek_file)
    return Vault(key_provider(settings))


@pytest.fixture
async def process(rig: Rig, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """The launcher's process; what it made is cleaned away by the rig."""
    made = AgentProcess("launcher", rig, tmp_path)
    yield made
    made.end()
    print(made.log.read_text())


async def _until_drain(rig: Rig, bot: UUID, *states: str) -> None:
    async def there() -> bool:
        live = await rig.live(bot)
        return live is not None and live["drain_state"] in states

    await until(there, what=f"a drain that is {' or '.join(states)}", every_s=0.002)


def _asked(rig: Rig, bot: UUID) -> int:
    """How often the bot was asked, by its own word."""
    [container] = rig.containers(bot)
    said: str = rig.engine.api.logs(container["Id"]).decode()
    return said.count("asked ")


@pytest.mark.parametrize("moment", ["asking", "asked"])
async def test_killed_while_a_bot_winds_down(rig: Rig, process: AgentProcess, rogue_image: str, moment: str) -> None:
    bot = await rig.rogue("drains in 4", rogue_image)
    process.start()
    copy = await rig.up(bot)
    await rig.want(bot, "stopped")
    await _until_drain(rig, bot, *(("asking", "asked") if moment == "asking" else ("asked",)))
    process.kill()
    begun = (await rig.live(bot) or {})["drain_started_at"]
    assert [container["State"] for container in rig.containers(bot)] == ["running"]
    process.start()
    await _until_drain(rig, bot, "drained")
    again = await rig.live(bot)
    assert again is not None
    # Neither asked for longer nor begun anew: what was written down was taken up.
    assert (again["id"], again["drain_started_at"]) == (copy["id"], begun)
    row = await rig.until_status(bot, "inactive")
    assert row["orders_unconfirmed"] is False
    await rig.until_gone(bot)


async def test_killed_again_and_again_a_stop_still_ends_and_says_what_is_so(
    rig: Rig, process: AgentProcess, rogue_image: str
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    bots = [await rig.rogue(f"drains in {chance.choice([0, 1, 3])}", rogue_image) for _ in range(3)]
    process.start()
    for bot in bots:
        await rig.up(bot)
    for bot in bots:
        await rig.want(bot, "stopped")
    for _ in range(4):
        try:
            await until(lambda: False, deadline_s=1.5 * chance.random())
        except AssertionError:
            process.kill()
        assert all(len(rig.containers(bot)) <= 1 for bot in bots)
        process.start()
    for bot in bots:
        row = await rig.until_status(bot, "inactive", deadline_s=60.0)
        assert row["orders_unconfirmed"] is False
        last = await rig.last(bot)
        assert (last["drain_state"], last["exit_code"]) == ("drained", 0)
        await rig.until_gone(bot)
    assert await rig.admin.fetchval("select count(*) from port_leases where state = 'leased'") == 0


async def test_a_bot_is_not_asked_again_by_every_launcher(rig: Rig, process: AgentProcess, rogue_image: str) -> None:
    bot = await rig.rogue("drains in 3600", rogue_image)
    process.start()
    await rig.up(bot)
    await rig.want(bot, "stopped")
    await _until_drain(rig, bot, "asked")
    for _ in range(2):
        process.kill()
        process.start()
        leads = "select count(*) > 0 from pg_locks where locktype = 'advisory' and granted"

        async def led(query: str = leads) -> bool:
            return bool(await rig.admin.fetchval(query))

        await until(led, what="a launcher that leads")
    assert _asked(rig, bot) == 1
    begun = time.monotonic()
    await rig.admin.execute(
        "update bots set generation = generation + 1, forced_generation = generation + 1 where id = $1", bot
    )
    await rig.until_status(bot, "inactive", "orders_unconfirmed")
    assert time.monotonic() - begun < 20.0
