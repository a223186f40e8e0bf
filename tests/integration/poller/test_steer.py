"""Wishes about trading, through the whole poller and real calls: confirmed by the bot's own state or told as not."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from control_plane.security.vault import Vault
from tests.factories import Factory
from tests.integration.poller.bots import launched
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.rows import events, until_health, until_status
from tests.integration.poller.wishes import (
    OURS,
    TOKEN,
    Deaf,
    Unwilling,
    answered,
    as_claimed,
    asked,
    freqtrade,
    steerer,
    wished,
)
from tests.servers.bot_server import BotServer
from tests.servers.freqtrade_server import FreqtradeServer
from tests.waiting import until


async def test_trading_is_stopped_paused_and_started_and_confirmed_by_the_bots_own_state(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        # No regular look comes to help.
        await poller_with(poll_interval=3600.0)
        await until_status(admin, bot, "connected")
        for wanted, command in (("stopped", "stop"), ("running", "start"), ("paused", "pause")):
            began = time.monotonic()
            await wished(admin, owner, bot, wanted)
            row = await answered(admin, bot)
            assert time.monotonic() - began < 2.0
            assert (row["problem"], row["attempts"]) == (None, 1)
            assert server.trading_state == wanted
            assert asked(server)[-1] == command
            told = (await events(admin, bot))[-1]
            assert (told["kind"], told["detail"]) == ("trading_confirmed", f"Its trading is {wanted}.")
            assert (told["cause"], told["actor"]) == ("person", f"user:{owner.user_id}")
        assert asked(server) == ["stop", "start", "pause"]
        # It was never down: its owner stopped its trading.
        assert [event["to_status"] for event in await events(admin, bot) if event["kind"] == "status"] == ["connected"]


async def test_what_is_so_already_is_not_asked_for(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await poller_with(poll_interval=3600.0)
        await until_status(admin, bot, "connected")
        await wished(admin, owner, bot, "running")
        assert (await answered(admin, bot))["confirmed_at"] is not None
        assert asked(server) == []


async def test_a_bot_that_we_run_is_steered_at_its_published_port(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        owner = await factory.owner()
        bot = await factory.bot(owner, bot_type="platform", status="running", credentials=OURS)
        await poller_with(poll_interval=3600.0, allow="")
        await launched(admin, owner, bot, port=server.port, generation=1)
        await until_health(admin, bot, lambda row: row["state"] == "healthy")
        await wished(admin, owner, bot, "paused")
        assert (await answered(admin, bot))["problem"] is None
        assert server.trading_state == "paused"


async def test_taken_with_200_and_not_done_is_told_as_not_confirmed(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with Deaf() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await poller_with(poll_interval=3600.0)
        await until_status(admin, bot, "connected")
        await wished(admin, owner, bot, "stopped", age="58 seconds")
        row = await answered(admin, bot)
        assert (row["problem"], row["confirmed_at"], row["attempts"]) == ("not_confirmed", None, 1)
        detail = "It was asked once, and its trading was running 60 seconds after the wish."
        assert row["problem_detail"] == detail
        told = (await events(admin, bot))[-1]
        assert (told["kind"], told["reason"], told["detail"]) == ("trading_not_confirmed", "not_confirmed", detail)
        assert (told["cause"], told["actor"]) == ("person", f"user:{owner.user_id}")


async def test_an_old_wish_is_given_up_without_being_asked(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped", age="61 seconds")
        await poller_with(poll_interval=3600.0)
        row = await answered(admin, bot)
        assert (row["problem"], row["attempts"], asked(server)) == ("not_confirmed", 0, [])


async def test_a_bot_that_has_no_such_command_refuses_at_once(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with Unwilling(token=TOKEN) as server:
        owner = await factory.owner()
        bot = await factory.bot(owner, api_url=server.url, credentials=OURS)
        await poller_with(poll_interval=3600.0)
        await until_status(admin, bot, "connected")
        await wished(admin, owner, bot, "stopped")
        row = await answered(admin, bot)
        assert (row["problem"], row["attempts"]) == ("control_refused", 1)
        assert "no way to stop" in row["problem_detail"]


async def test_credentials_that_are_refused_end_a_wish_at_once(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await poller_with(poll_interval=3600.0)
        await until_status(admin, bot, "connected")
        server.password = "another"
        await wished(admin, owner, bot, "stopped")
        row = await answered(admin, bot)
        assert (row["problem"], row["problem_detail"]) == ("auth", "The bot refuses the credentials.")
        assert asked(server) == []


async def test_a_bot_that_is_switched_off_meanwhile_is_not_asked(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await poller_with(poll_interval=3600.0)
        await until_status(admin, bot, "connected")
        async with admin.transaction():
            await admin.execute("update bots set desired = 'stopped', generation = 2 where id = $1", bot)
            await wished(admin, owner, bot, "stopped")
        assert (await answered(admin, bot))["problem"] == "superseded"
        assert asked(server) == []


async def test_two_pollers_at_once_ask_once(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    looked: list[UUID] = []
    async with FreqtradeServer() as server, steerer(pool, vault, looked) as one, steerer(pool, vault, looked) as other:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")
        held = as_claimed(owner, bot, server.url)
        for each in (one, other, one, other):
            each.due(held, wished=True)
        row = await answered(admin, bot)
        assert (row["attempts"], asked(server)) == (1, ["stop"])
        assert [event["kind"] for event in await events(admin, bot)] == ["trading_confirmed"]
        # Its health was seen before: whoever looks after it is to look again.
        await until(lambda: bot in looked, what="another look to be asked for")


async def test_what_a_poller_that_was_killed_left_behind_is_taken_up_by_the_next(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with FreqtradeServer() as server, steerer(pool, vault) as other:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        held = as_claimed(owner, bot, server.url)
        async with steerer(pool, vault) as first:
            await wished(admin, owner, bot, "stopped")
            first.due(held, wished=True)

        # A regular look: nobody says that somebody waits.
        async def taken_up() -> bool:
            other.due(held, wished=False)
            return (await admin.fetchval("select confirmed_at from bot_trading where bot_id = $1", bot)) is not None

        await until(taken_up, what="the wish to be taken up")
        assert server.trading_state == "stopped"
        assert len(asked(server)) <= 2


async def test_a_regular_look_without_a_wish_reads_nothing(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with FreqtradeServer() as server, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        for _ in range(1000):
            one.due(as_claimed(owner, bot, server.url), wished=False)
        # At most the one question for all that is pending.
        tasks = [task for task in asyncio.all_tasks() if "Steerer" in repr(task.get_coro())]
        assert len(tasks) == 1
        await asyncio.gather(*tasks)
        assert server.requests == []


@pytest.mark.parametrize(
    ("role", "column"),
    [("agent_launcher", "wanted"), ("agent_scheduler", "wanted"), ("agent_notifier", "requested_by")],
)
async def test_no_other_agent_touches_wishes(urls: Any, role: str, column: str) -> None:
    # The notifier sees what was wished, so that nobody is woken by it, and not by whom.
    connection = await asyncpg.connect(urls[role])
    try:
        for statement in (f"select {column} from bot_trading", "update bot_trading set confirmed_at = now()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
