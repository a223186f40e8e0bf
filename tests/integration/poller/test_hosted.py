"""Bots that we host: the real program, reached where the launcher published it."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from tests.factories import Factory
from tests.integration.poller.bots import launched, paper_bot
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.rows import bot_row, events, health_row, until_health, until_snapshots

TOKEN = "hosted-token-0123456789"


async def test_a_hosted_bot_is_healthy_and_its_launched_copy_is_named(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, tmp_path: Path
) -> None:
    owner = await factory.owner()
    # No leave for private addresses: what we host is reached by a way of its own.
    await poller_with(allow="", poll_interval=60.0)
    async with paper_bot(tmp_path, token=TOKEN) as process:
        bot = await factory.bot(
            owner, bot_type="platform", generation=5, status="starting", credentials={"token": TOKEN}
        )
        await launched(admin, owner, bot, port=process.port, generation=4)
        health = await until_health(admin, bot, lambda row: row["state"] == "healthy", deadline_s=5.0)
        assert (health["observed_generation"], health["trading_state"], health["simulated"]) == (4, "running", True)
        assert health["identity"] == "tradewise:paper-1"
        row = await bot_row(admin, bot)
        # Status is the launcher's to tell.
        assert (row["status"], row["observed_generation"]) == ("starting", -1)
        assert await events(admin, bot) == []
        kept = (await until_snapshots(admin, bot, 1))[0]
        assert kept["capital_base"] == 5000
        assert kept["equity"] == kept["capital_base"] + kept["realized_profit"] + kept["open_profit"]
        assert (kept["unit_value"], kept["currency"]) == (1, "USDT")


async def test_a_starting_bot_is_looked_at_until_it_answers(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, tmp_path: Path
) -> None:
    owner = await factory.owner()
    await poller_with(allow="", poll_interval=60.0)
    async with paper_bot(tmp_path, token=TOKEN) as process:
        port = process.port
        await process.kill()
    bot = await factory.bot(owner, bot_type="platform", status="starting", credentials={"token": TOKEN})
    await launched(admin, owner, bot, port=port, generation=1)
    health = await until_health(admin, bot, lambda row: row["failures"] >= 4, deadline_s=5.0)
    assert (health["state"], health["reason"]) == ("unknown", "unreachable")
    async with paper_bot(tmp_path, token=TOKEN, port=port):
        await until_health(admin, bot, lambda row: row["state"] == "healthy", deadline_s=5.0)


async def test_a_crash_shows_and_the_next_copy_is_seen_at_once(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, tmp_path: Path
) -> None:
    owner = await factory.owner()
    await poller_with(allow="", poll_interval=0.3)
    bot = await factory.bot(owner, bot_type="shared", status="running", credentials={"token": TOKEN})
    async with paper_bot(tmp_path, token=TOKEN) as process:
        instance = await launched(admin, owner, bot, port=process.port, generation=1)
        await until_health(admin, bot, lambda row: row["state"] == "healthy")
        await process.kill()
        health = await until_health(admin, bot, lambda row: row["state"] == "unhealthy")
        assert (health["reason"], health["observed_generation"]) == ("unreachable", 1)
        assert health["failures"] >= 3
        await admin.execute("update bot_instances set state = 'exited', released_at = now() where id = $1", instance)
    async with paper_bot(tmp_path, token=TOKEN) as process:
        await launched(admin, owner, bot, port=process.port, generation=2)
        await until_health(
            admin, bot, lambda row: (row["state"], row["observed_generation"]) == ("healthy", 2), deadline_s=5.0
        )
    assert (await bot_row(admin, bot))["status"] == "running"


async def test_another_program_on_the_port_does_not_pass_for_the_bot(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, tmp_path: Path
) -> None:
    owner = await factory.owner()
    await poller_with(allow="", poll_interval=60.0)
    async with paper_bot(tmp_path, token="another-token-0123456789") as process:
        bot = await factory.bot(owner, bot_type="platform", status="starting", credentials={"token": TOKEN})
        await launched(admin, owner, bot, port=process.port, generation=1)
        health = await until_health(admin, bot, lambda row: row["failures"] > 0)
        assert (health["state"], health["reason"], health["credential_ok"]) == ("unhealthy", "auth", False)


async def test_a_bot_without_a_container_is_not_looked_at(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, tmp_path: Path
) -> None:
    owner = await factory.owner()
    await poller_with(allow="", poll_interval=0.2)
    idle = await factory.bot(owner, bot_type="platform", status="starting", credentials={"token": TOKEN})
    async with paper_bot(tmp_path, token=TOKEN) as process:
        bot = await factory.bot(owner, bot_type="platform", status="starting", credentials={"token": TOKEN})
        await launched(admin, owner, bot, port=process.port, generation=1)
        await until_health(admin, bot, lambda row: row["state"] == "healthy")
    assert (await health_row(admin, idle))["observed_at"] is None
