"""Families that only run elsewhere, from their rows to what is recorded of them, through the whole poller."""

from __future__ import annotations

import json
from decimal import Decimal

import asyncpg

from tests.factories import Factory
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.rows import bot_row, health_row, until_health, until_snapshots, until_status
from tests.servers.hummingbot_server import HummingbotServer, performance, position
from tests.servers.json_server import JsonServer
from tests.servers.loopback import Reply

ADMIN = {"username": "admin", "password": "correct-horse"}


async def test_bots_of_one_api_are_told_apart_and_asked_for_together(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    owner = await factory.owner()
    async with HummingbotServer() as server:
        bots = {}
        for number in range(10):
            name = f"bot-{number}"
            server.bots[name] = {"maker": performance(number, 0, position("BTC-USDT"))}
            config = json.dumps({"bot_name": name, "capital": "1000", "currency": "USDT"})
            bots[number] = await factory.bot(
                owner,
                engine="hummingbot",
                api_url=server.url,
                credentials=ADMIN,
                engine_config=config,
                api_part=name,
            )
        await poller_with(poll_interval=0.5)
        for number, bot in bots.items():
            await until_status(admin, bot, "connected")
            [first, *_] = await until_snapshots(admin, bot, 1)
            assert (first["equity"], first["currency"]) == (Decimal(1000 + number), "USDT")
        # Ten bots over and over, and the list of them was fetched once or, if that took long, a few times.
        assert sum(request.path == "/bot-orchestration/status" for request in server.requests) < len(bots)


async def test_a_bot_whose_address_asked_for_rest_is_said_to_be_left_alone(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    owner = await factory.owner()
    fields = {"equity": {"path": "worth"}, "currency": {"value": "EUR"}}
    async with JsonServer(one={"worth": "12.5"}, two={"worth": "7"}) as server:
        bots = [
            await factory.bot(
                owner,
                engine="http",
                api_url=server.url,
                credentials={"token": "t0ken"},
                engine_config=json.dumps({"calls": {"state": f"/{part}"}, "auth": "bearer", "fields": fields}),
                api_part=part,
            )
            for part in ("one", "two")
        ]
        await poller_with(poll_interval=0.5)
        for bot in bots:
            await until_status(admin, bot, "connected")
        server.raw["/one"] = Reply(429, b"{}", headers={"Retry-After": "600"})
        told = [await until_health(admin, bot, lambda row: row["state"] == "stale") for bot in bots]
        assert [row["reason"] for row in told] == ["rate_limited"] * 2
        assert [row["detail"] for row in told] == ["The bot asks for fewer calls.", "Its address asks for fewer calls."]
        assert [(await bot_row(admin, bot))["status"] for bot in bots] == ["connected"] * 2


async def test_a_declared_bot_is_read_and_a_configuration_that_does_not_fit_is_told(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    owner = await factory.owner()
    async with JsonServer(state={"worth": "12.5", "active": True}) as server:
        server.wanted = ("x-api-key", "t0ken")
        config = {
            "calls": {"state": "/state"},
            "auth": "header",
            "header": "X-Api-Key",
            "fields": {
                "equity": {"path": "worth"},
                "currency": {"value": "EUR"},
                "trading_state": {"path": "active", "words": {"true": "running"}},
            },
        }
        declared = await factory.bot(
            owner, engine="http", api_url=server.url, credentials={"token": "t0ken"}, engine_config=json.dumps(config)
        )
        stale = await factory.bot(
            owner,
            engine="http",
            api_url=server.url,
            credentials={"token": "t0ken"},
            engine_config=json.dumps(config | {"auth": "oauth"}),
            api_part="stale",
        )
        await poller_with(poll_interval=0.3)
        await until_status(admin, declared, "connected")
        await until_status(admin, stale, "error", "config_invalid")
        assert (await health_row(admin, declared))["trading_state"] == "running"
        [first, *_] = await until_snapshots(admin, declared, 1)
        assert (first["equity"], first["currency"]) == (Decimal("12.5"), "EUR")
        told = await bot_row(admin, stale)
        assert told["reason_detail"].startswith("The bot's engine_config.auth does not fit")
