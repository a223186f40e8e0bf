"""Bots that answer and do not trade, through the whole poller: connected, with what is wrong in words."""

from __future__ import annotations

import time

import asyncpg

from tests.factories import Factory
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.rows import bot_row, events, health_row, until_health, until_status
from tests.servers.freqtrade_server import FreqtradeServer

CREDENTIALS = {"username": "freqtrader", "password": "correct-horse"}


async def test_a_loop_that_stands_still_is_told_and_so_is_its_recovery(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        server.last_loop = int(time.time()) - 720
        row = await until_status(admin, bot, "connected", "loop_stalled")
        assert row["reason_detail"] == "It answers, but its trading loop has not turned for 12 minutes."
        assert (await health_row(admin, bot))["state"] == "unhealthy"
        server.last_loop = None
        await until_status(admin, bot, "connected")
        told = [(event["from_status"], event["to_status"], event["reason"]) for event in await events(admin, bot)]
        assert told == [
            ("inactive", "connected", None),
            ("connected", "connected", "loop_stalled"),
            ("connected", "connected", None),
        ]


async def test_a_bot_that_is_cut_from_its_exchange_is_told_and_is_not_down(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        server.prices_known = False
        await until_status(admin, bot, "connected", "exchange_unreachable")
        # Stopped by its owner, it needs no prices: that is a state and no illness.
        server.trading_state = "stopped"
        health = await until_health(admin, bot, lambda row: row["state"] == "healthy")
        assert (health["trading_state"], health["reason"]) == ("stopped", None)
        await until_status(admin, bot, "connected")


async def test_a_bot_that_stands_still_and_then_falls_silent_is_down(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        server.last_loop = int(time.time()) - 720
        await until_status(admin, bot, "connected", "loop_stalled")
        await server.close_port()
        await until_status(admin, bot, "error", "unreachable")
        await server.open_port()
        await until_status(admin, bot, "connected", "loop_stalled")
        assert (await bot_row(admin, bot))["reason_detail"].startswith("It answers")
