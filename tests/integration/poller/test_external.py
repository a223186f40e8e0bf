"""Bots that run elsewhere: what their rows say after real calls."""

from __future__ import annotations

from decimal import Decimal

import asyncpg

from tests.factories import Factory
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.rows import events, health_row, until_equity, until_status
from tests.servers.bot_server import BotServer

TOKEN = "bot-token-0123456789"


async def test_a_bot_becomes_connected_and_its_figures_are_kept(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials={"token": TOKEN})
        await poller_with(poll_interval=0.3)
        row = await until_status(admin, bot, "connected")
        assert (row["reason"], row["reason_detail"], row["observed_generation"]) == (None, None, 1)
        health = await health_row(admin, bot)
        assert (health["state"], health["trading_state"], health["credential_ok"]) == ("healthy", "running", True)
        assert (health["failures"], health["simulated"], health["version"]) == (0, True, "1.4.0")
        assert health["healthy_at"] == health["observed_at"]
        assert health["latency_ms"] > 0
        assert [(e["from_status"], e["to_status"], e["cause"]) for e in await events(admin, bot)] == [
            ("inactive", "connected", "agent")
        ]
        server.realized_profit += 1010
        kept = await until_equity(admin, bot, server.equity)
        first, last = kept[0], kept[-1]
        assert (first["equity"], first["unit_value"]) == (Decimal("10105.25"), Decimal(1))
        assert last["unit_value"] == (Decimal("11115.25") / Decimal("10105.25")).quantize(Decimal("1e-12"))
        assert (last["currency"], last["closed_trades"], last["win_rate"]) == ("USDT", 8, Decimal("0.625"))
