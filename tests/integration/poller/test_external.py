"""Bots that run elsewhere: what their rows say after real calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import pytest

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
    until_status,
)
from tests.servers.bot_server import BotServer
from tests.servers.loopback import Reply

TOKEN = "bot-token-0123456789"
CREDENTIALS = {"token": TOKEN}


async def test_a_bot_becomes_connected_and_its_figures_are_kept(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
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


async def test_a_deposit_is_not_a_profit(factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_equity(admin, bot, server.equity)
        server.capital_base += 50_000
        kept = await until_equity(admin, bot, server.equity)
        assert {row["unit_value"] for row in kept} == {Decimal(1)}
        server.open_profit = None
        kept = await until_equity(admin, bot, None)
        assert (kept[-1]["unit_value"], kept[-1]["open_profit"], kept[-1]["realized_profit"]) == (
            None,
            None,
            server.realized_profit,
        )


async def test_nothing_is_written_to_the_wide_row_while_nothing_changes(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.2)
        await until_status(admin, bot, "connected")
        before = await admin.fetchrow("select xmin, * from bots where id = $1", bot)
        await until_checked(admin, bot, times=3)
        assert await admin.fetchrow("select xmin, * from bots where id = $1", bot) == before
        assert len(await events(admin, bot)) == 1


async def test_a_wrong_token_is_an_error_at_once(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        wrong = {"token": "not-this-token-0123456789"}
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=wrong)
        await poller_with(poll_interval=60.0)
        row = await until_status(admin, bot, "error", "auth")
        assert row["reason_detail"] == "The bot refuses the credentials."
        health = await health_row(admin, bot)
        assert (health["state"], health["credential_ok"], health["reason"]) == ("unhealthy", False, "auth")
        assert await snapshots(admin, bot) == []


async def test_new_credentials_are_tried_at_once(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        owner = await factory.owner()
        bot = await factory.bot(owner, api_url=server.url, credentials={"token": "not-this-token-0123456789"})
        await poller_with(poll_interval=60.0)
        await until_status(admin, bot, "error", "auth")
        async with admin.transaction():
            await admin.execute("delete from bot_secrets where bot_id = $1", bot)
            await factory.secret(owner, bot, "credentials", CREDENTIALS)
            await admin.execute("update bots set generation = 2 where id = $1", bot)
        row = await until_status(admin, bot, "connected", deadline_s=3.0)
        assert row["observed_generation"] == 2


async def test_a_token_that_is_withdrawn_is_an_error_at_once(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        server.token = "another-token-0123456789"
        await until_status(admin, bot, "error", "auth")
        assert (await health_row(admin, bot))["failures"] == 1
        server.token = TOKEN
        await until_status(admin, bot, "connected")
        assert [(e["from_status"], e["to_status"], e["reason"]) for e in await events(admin, bot)] == [
            ("inactive", "connected", None),
            ("connected", "error", "auth"),
            ("error", "connected", None),
        ]


async def test_one_missed_answer_is_no_error_and_a_lasting_silence_is(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        await server.close_port()
        health = await until_health(admin, bot, lambda row: row["failures"] > 0)
        assert (health["reason"], health["trading_state"], health["credential_ok"]) == ("unreachable", None, None)
        if health["failures"] == 1:
            assert (await bot_row(admin, bot))["status"] == "connected"
        row = await until_status(admin, bot, "error", "unreachable")
        assert row["reason_detail"] == "Nothing accepts connections at this address."
        assert (await health_row(admin, bot))["failures"] >= 3
        await server.open_port()
        await until_status(admin, bot, "connected")
        told = [e["to_status"] for e in await events(admin, bot)]
        assert told == ["connected", "error", "connected"]


async def test_a_bot_that_asks_for_fewer_calls_is_stale_and_left_alone_longer(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        server.overrides["state"] = Reply(429, b"{}")
        health = await until_health(admin, bot, lambda row: row["state"] == "stale")
        assert (health["reason"], health["failures"]) == ("rate_limited", 0)
        again = await until_checked(admin, bot)
        assert (again["observed_at"] - health["observed_at"]).total_seconds() >= 0.6
        assert (await bot_row(admin, bot))["status"] == "connected"
        assert len(await events(admin, bot)) == 1


async def test_a_private_address_without_leave_is_refused_in_words(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(allow="", poll_interval=60.0)
        row = await until_status(admin, bot, "error", "egress_refused")
        assert "ask the operator" in row["reason_detail"]
        assert server.connections == 0


async def test_nothing_listens_is_told_at_the_first_look(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    server = BotServer(token=TOKEN)
    await server.open_port()
    await server.close_port()
    bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
    await poller_with(poll_interval=60.0)
    await until_status(admin, bot, "error", "unreachable")


async def test_something_else_that_answers_is_not_a_bot(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        server.overrides["ping"] = Reply(200, b"<h1>Welcome</h1>", "text/html")
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=60.0)
        await until_status(admin, bot, "error", "bad_payload")


@pytest.mark.parametrize("broken", ["none", "moved", "other-engine"])
async def test_credentials_that_cannot_be_used_harm_only_their_own_bot(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, broken: str
) -> None:
    async with BotServer(token=TOKEN) as server, BotServer(token=TOKEN) as other:
        owner = await factory.owner()
        given = {"none": None, "moved": CREDENTIALS, "other-engine": {"username": "u", "password": "p"}}[broken]
        bot = await factory.bot(owner, api_url=server.url, credentials=given)
        if broken == "moved":
            stray = await factory.bot(
                owner, api_url="http://127.0.0.9:9999", credentials=CREDENTIALS, desired="stopped"
            )
            await admin.execute(
                "update bot_secrets s set sealed = o.sealed from bot_secrets o where s.bot_id = $1 and o.bot_id = $2",
                bot,
                stray,
            )
        well = await factory.bot(owner, api_url=other.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=60.0)
        row = await until_status(admin, bot, "error", "secret_unreadable")
        assert "enter them" in row["reason_detail"]
        assert server.requests == []
        # What does not open is told in the audit log as well.
        told = "select count(*) from audit_events where action = 'secret.open_failed' and resource_id = $1"
        assert await admin.fetchval(told, bot) == (1 if broken == "moved" else 0)
        await until_status(admin, well, "connected")


async def test_a_bot_that_is_switched_off_is_inactive_and_left_alone(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.2)
        await until_status(admin, bot, "connected")
        await admin.execute("update bots set desired = 'stopped', generation = 2 where id = $1", bot)
        row = await until_status(admin, bot, "inactive")
        assert row["observed_generation"] == 2
        health = await health_row(admin, bot)
        assert (health["state"], health["healthy_at"], health["trading_state"]) == ("unknown", None, None)
        asked = len(server.requests)
        await admin.execute("update bots set desired = 'running', generation = 3 where id = $1", bot)
        await until_status(admin, bot, "connected")
        # The three calls of one look: while it was off there was none.
        assert len(server.requests) == asked + 3


async def test_a_ping_is_answered_within_a_second(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=3600.0)
        await until_checked(admin, bot)
        for _ in range(3):
            asked = await admin.fetchval(
                "update bots set ping_requested_at = clock_timestamp() where id = $1 returning ping_requested_at", bot
            )
            began = time.monotonic()
            await until_health(admin, bot, _seen_since(asked), deadline_s=2.0)
            assert time.monotonic() - began < 1.0


def _seen_since(asked: datetime) -> Callable[[asyncpg.Record], bool]:
    return lambda row: row["observed_at"] >= asked


async def test_a_deleted_bot_is_not_called(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server, BotServer(token=TOKEN) as other:
        owner = await factory.owner()
        gone = datetime.now(UTC)
        bot = await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS, deleted_at=gone)
        well = await factory.bot(owner, api_url=other.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.2)
        await until_checked(admin, well, times=3)
        assert server.connections == 0
        assert (await bot_row(admin, bot))["status"] == "inactive"
