"""What steering costs others, and for how long at most: turns, rests, endless engines, wishes left behind."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import asyncpg
import pytest

from agents.egress import MeansExhausted
from agents.engines.base import Reading
from agents.engines.freqtrade import FreqtradeEngine
from agents.poller.facts import Bot
from agents.poller.opening import Opener
from agents.poller.steer import LIMITS, Steerer
from control_plane.dashboard.reasons import remedy_of
from control_plane.security.vault import Vault
from tests.factories import Factory, Owner
from tests.integration.poller.bots import launched
from tests.integration.poller.rows import events
from tests.integration.poller.wishes import OURS, THEIRS, TOKEN, answered, as_claimed, freqtrade, steerer, wished
from tests.servers.bot_server import BotServer
from tests.servers.freqtrade_server import FreqtradeServer
from tests.servers.hummingbot_server import HummingbotServer, performance
from tests.servers.loopback import Reply, Request, json_reply
from tests.waiting import until


async def test_a_wish_ends_with_its_bot_and_with_the_patience_of_anybody(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    """Of bots that no poller looks after any more, so that nobody comes by to see to it."""
    owner = await factory.owner()
    young, old, removed, off = [await factory.bot(owner) for _ in range(4)]
    for bot, age in ((young, "9 minutes"), (old, "11 minutes"), (removed, "1 second"), (off, "1 second")):
        await wished(admin, owner, bot, "stopped", age=age)
    await admin.execute(
        "update bots set desired = 'stopped', generation = 2, deleted_at = case when id = $1 then now() end"
        " where id = any($2)",
        removed,
        [removed, off],
    )
    other = as_claimed(owner, await factory.bot(owner), "http://127.0.0.1:1")
    async with steerer(pool, vault) as one:
        one.due(other, wished=False)
        for bot, problem, told in (
            (old, "not_confirmed", "Nobody has answered for it"),
            (removed, "superseded", "removed"),
            (off, "superseded", "stopped"),
        ):
            row = await answered(admin, bot)
            assert row["problem"] == problem
            assert told in row["problem_detail"]
            [event] = await events(admin, bot)
            assert (event["kind"], event["reason"], event["cause"]) == ("trading_not_confirmed", problem, "person")
    assert await admin.fetchval("select problem from bot_trading where bot_id = $1", young) is None


async def test_what_is_pending_for_long_hides_no_wish_that_was_just_made(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with FreqtradeServer() as server, steerer(pool, vault, most_pending=2) as one:
        owner = await factory.owner()
        for _ in range(3):
            await wished(admin, owner, await factory.bot(owner), "stopped", age="5 minutes")
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")

        async def taken_up() -> bool:
            one.due(as_claimed(owner, bot, server.url), wished=False)
            return server.trading_state == "stopped"

        await until(taken_up, what="the wish to be found", deadline_s=5.0)


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize("hosted", [False, True], ids=["external", "hosted"])
async def test_bots_of_one_tenant_that_hang_keep_no_other_tenant_waiting(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault, hosted: bool
) -> None:
    theirs, ours = await factory.owner("Eve"), await factory.owner("Ada")

    async def bot_at(owner: Owner, number: int, port: int) -> Bot:
        """Each at a host of its own, or at a port of its own of ours."""
        if hosted:
            bot = await factory.bot(owner, bot_type="platform", status="running", credentials=OURS)
            await launched(admin, owner, bot, port=port, generation=1)
        else:
            bot = await factory.bot(owner, api_url=f"http://127.0.1.{number}:{port}", credentials=OURS)
        await wished(admin, owner, bot, "stopped")
        return as_claimed(owner, bot, "", engine="tradewise")

    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(steerer(pool, vault))
        server = BotServer(token=TOKEN)
        server.host = "127.0.0.1" if hosted else "127.0.1.100"
        await stack.enter_async_context(server)
        hanging = []
        for number in range(1, LIMITS.concurrency + 9):
            silent = await asyncio.start_server(_hang, "0.0.0.0")
            stack.callback(silent.close)
            hanging.append(await bot_at(theirs, number, silent.sockets[0].getsockname()[1]))
        well = await bot_at(ours, 100, server.port)
        for bot in hanging:
            one.due(bot, wished=True)
        await until(lambda: len(_held(one)) >= 16, what="calls that hang")
        one.due(well, wished=True)
        assert (await answered(admin, well.id, deadline_s=4.0))["confirmed_at"] is not None
        # The rest is there for others.
        assert len(_held(one)) <= LIMITS.concurrency // 2


def _held(one: Steerer) -> list[Any]:
    """The turns that are taken of either client."""
    clients = (one._opener._tenants, one._opener._hosted)
    return [key for client in clients for key, count in client._shared.turns._hosts.taken.items() for _ in range(count)]


class Resting(FreqtradeServer):
    """Asks once for fewer calls, in answer to the method given."""

    def __init__(self, method: str, seconds: int) -> None:
        super().__init__()
        self.method = method
        self.seconds = seconds
        self.came: list[float] = []

    async def handle(self, request: Request) -> Reply:
        if request.method != self.method or len(self.came) > 1:
            return await super().handle(request)
        self.came.append(time.monotonic())
        if len(self.came) == 1:
            return json_reply({"detail": "Too Many Requests"}, 429, Retry_After=str(self.seconds))
        return await super().handle(request)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_bot_that_asks_for_rest_gets_it(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault, method: str
) -> None:
    async with Resting(method, 1) as server, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        await until(lambda: server.came, what="a call")
        before = len(server.requests)
        # Nobody calls it meanwhile, in whatever way.
        await until(lambda: len(server.requests) > before, what="the call after the rest")
        assert time.monotonic() - server.came[0] >= 1.0


@pytest.mark.parametrize(("method", "attempts"), [("GET", 0), ("POST", 1)])
async def test_a_bot_that_wants_to_rest_for_longer_than_a_wish_stands_is_left_alone(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault, method: str, attempts: int
) -> None:
    async with Resting(method, 3600) as server, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        row = await answered(admin, bot, deadline_s=5.0)
        assert (row["problem"], row["attempts"], len(server.came)) == ("rate_limited", attempts, 1)
        assert "to be left alone" in row["problem_detail"]
        assert remedy_of(row["problem"]) is not None


class Endless(FreqtradeEngine):
    """A plug-in, say: what it is asked it does not come back from."""

    def __init__(self, *hanging: str) -> None:
        super().__init__()
        self.hanging = hanging

    async def check(self, *arguments: Any, **options: Any) -> Reading:
        if "fault" in self.hanging:
            raise ZeroDivisionError(THEIRS)
        if "check" in self.hanging:
            await asyncio.Event().wait()
        return await super().check(*arguments, **options)

    async def control(self, *arguments: Any, **options: Any) -> None:
        if "command" in self.hanging:
            raise MeansExhausted
        if "control" in self.hanging:
            await asyncio.Event().wait()
        await super().control(*arguments, **options)


@pytest.mark.parametrize(
    ("hanging", "attempts", "told"),
    [
        ("check", 0, "It was never asked, because it could not be looked at. The bot answered too slowly."),
        (
            "fault",
            0,
            "It was never asked, because it could not be looked at. Looking at it failed by a fault of ours.",
        ),
        (
            "command",
            1,
            "It was asked once, and its trading was running 60 seconds after the wish. "
            "Asking it failed by a fault of ours.",
        ),
        (
            "control",
            1,
            "It was asked once, and its trading was running 60 seconds after the wish. The bot answered too slowly.",
        ),
    ],
)
async def test_an_engine_that_does_not_come_back_holds_a_wish_up_for_no_longer_than_a_bot_that_hangs(
    factory: Factory,
    admin: asyncpg.Connection,
    pool: asyncpg.Pool,
    vault: Vault,
    hanging: str,
    attempts: int,
    told: str,
) -> None:
    endless = Endless(hanging)
    opener = partial(Opener, engines=lambda _: endless)
    async with FreqtradeServer() as server, steerer(pool, vault, opener=opener, budget_s=0.2) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped", age="59 seconds")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        row = await answered(admin, bot)
        assert (row["problem"], row["attempts"], row["problem_detail"]) == ("not_confirmed", attempts, told)
        await until(lambda: one.due(as_claimed(owner, bot, server.url), wished=False), what="nothing under way")


async def test_what_many_bots_share_confirms_nothing_that_was_wished_after_it(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with HummingbotServer() as server, steerer(pool, vault) as one:
        server.bots["alpha"] = {"main": performance()}
        owner = await factory.owner()
        credentials = {"username": server.username, "password": server.password}
        config = json.dumps({"bot_name": "alpha"})
        bot = await factory.bot(
            owner, engine="hummingbot", api_url=server.url, credentials=credentials, engine_config=config
        )
        held = as_claimed(owner, bot, server.url, engine="hummingbot")
        attempts = []
        for _ in range(2):
            await wished(admin, owner, bot, "running")
            one.due(held, wished=True)
            attempts.append((await answered(admin, bot))["attempts"])
            # Stopped by somebody else, a moment after it was looked at.
            server.bots["alpha"], server.runs["alpha"] = {}, "STOPPED"
        assert attempts == [0, 1]
