"""Freqtrade bots, with their oddities, through the whole poller."""

from __future__ import annotations

from decimal import Decimal

import asyncpg

from tests.factories import Factory
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.rows import (
    bot_row,
    events,
    health_row,
    snapshots,
    until_checked,
    until_equity,
    until_health,
    until_snapshots,
    until_status,
)
from tests.servers.freqtrade_server import FreqtradeServer
from tests.servers.loopback import Reply

CREDENTIALS = {"username": "freqtrader", "password": "correct-horse"}


async def test_connected_with_its_trading_state_beside_it(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        health = await health_row(admin, bot)
        assert (health["state"], health["trading_state"], health["version"]) == ("healthy", "running", "2026.9")
        assert health["identity"] == f"freqtrade:freqtrade@{server.first_start}"
        [first, *_] = await until_snapshots(admin, bot, 1)
        assert (first["equity"], first["capital_base"]) == (Decimal("9728.73"), Decimal(9900))
        assert (first["realized_profit"], first["open_profit"]) == (Decimal("-175.44"), Decimal("-2.74"))
        assert (first["closed_trades"], first["open_positions"], first["unit_value"]) == (37, 5, Decimal(1))
        # While it is stopped /count is HTTP 502, which is the bot's own word and no gateway's.
        server.trading_state = "stopped"
        health = await until_health(admin, bot, lambda row: row["trading_state"] == "stopped")
        assert (health["state"], health["failures"]) == ("healthy", 0)
        assert (await bot_row(admin, bot))["status"] == "connected"
        assert len(await events(admin, bot)) == 1


async def test_wrong_credentials_are_an_error_though_it_pings(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        wrong = {"username": "freqtrader", "password": "wrong"}
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=wrong)
        await poller_with(poll_interval=60.0)
        await until_status(admin, bot, "error", "auth")
        health = await health_row(admin, bot)
        assert (health["state"], health["credential_ok"], health["trading_state"]) == ("unhealthy", False, None)
        assert health["latency_ms"] is not None


async def test_unknown_figures_stay_unknown(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_equity(admin, bot, Decimal("9728.73"))
        server.prices_known = False
        last = (await until_equity(admin, bot, None))[-1]
        assert (last["open_profit"], last["unit_value"]) == (None, None)
        assert last["realized_profit"] == Decimal("-175.44")
        assert (await bot_row(admin, bot))["status"] == "connected"
        server.prices_known = True
        server.total_bot += 97.2873
        server.profit_open += 97.2873
        last = (await until_equity(admin, bot, Decimal("9826.0173")))[-1]
        # The chain goes on from the last figure that was known.
        assert last["unit_value"] == Decimal("1.01")


async def test_its_state_is_told_before_figures_that_are_slow_to_come(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        server.exchange_answers.clear()
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=600.0, reading_interval=600.0)
        await until_status(admin, bot, "connected")
        assert (await health_row(admin, bot))["trading_state"] == "running"
        assert await snapshots(admin, bot) == []
        server.exchange_answers.set()
        await until_equity(admin, bot, Decimal("9728.73"))
        assert [request.path for request in server.requests].count("/api/v1/balance") == 1


async def test_what_figures_came_are_kept_and_looks_go_on_as_they_should(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        server.refused = {"balance"}
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3, reading_interval=600.0)
        await until_status(admin, bot, "connected")
        await until_checked(admin, bot, times=3)
        [kept] = await snapshots(admin, bot)
        assert (kept["realized_profit"], kept["open_positions"], kept["equity"]) == (Decimal("-175.44"), 5, None)
        assert [request.path for request in server.requests].count("/api/v1/profit") == 1
        health = await health_row(admin, bot)
        assert (health["state"], health["detail"]) == ("healthy", "It did not tell just now, and so unknown: balance.")


async def test_a_bot_that_began_anew_has_lost_nothing(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_equity(admin, bot, Decimal("9728.73"))
        server.winning_trades = server.losing_trades = server.open_trades = 0
        server.profit_closed = server.profit_open = 0.0
        server.total_bot = 9900.0
        last = (await until_equity(admin, bot, Decimal(9900)))[-1]
        assert (last["unit_value"], last["closed_trades"], last["win_rate"]) == (Decimal(1), 0, None)


async def test_a_gateway_in_its_stead_is_one_failure(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    class Behind(FreqtradeServer):
        down = False

        async def handle(self, request: object) -> Reply:
            return Reply(502, b"<h1>Bad Gateway</h1>", "text/html") if self.down else await super().handle(request)  # type: ignore[arg-type]

    async with Behind() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        server.down = True
        await until_status(admin, bot, "error", "http_error")


async def test_a_reload_changes_no_status(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with FreqtradeServer() as server:
        bot = await factory.bot(await factory.owner(), engine="freqtrade", api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=1.0)
        await until_status(admin, bot, "connected")
        await server.close_port()
        health = await until_health(admin, bot, lambda row: row["failures"] == 1)
        assert (health["state"], health["reason"]) == ("healthy", "unreachable")
        await server.open_port()
        health = await until_checked(admin, bot)
        assert (health["state"], health["reason"], health["failures"]) == ("healthy", None, 0)
        assert [event["to_status"] for event in await events(admin, bot)] == ["connected"]
