"""Wishes about trading, through the whole poller and real calls: confirmed by the bot's own state or told as not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from agents.engines.base import Reading
from agents.engines.freqtrade import FreqtradeEngine
from agents.poller import opening, wish_rows
from agents.poller.decide import Bot
from agents.poller.opening import Opener
from agents.poller.steer import LIMITS, Steerer
from control_plane.dashboard.reasons import remedy_of
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.factories import Factory, Owner
from tests.integration.poller.bots import launched
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.rows import events, until_health, until_status
from tests.servers.bot_server import BotServer
from tests.servers.freqtrade_server import FreqtradeServer
from tests.servers.hummingbot_server import HummingbotServer, performance
from tests.servers.loopback import Reply, Request, json_reply
from tests.waiting import until

TOKEN = "bot-token-0123456789"
OURS = {"token": TOKEN}
THEIRS = {"username": "freqtrader", "password": "correct-horse"}


async def wished(admin: asyncpg.Connection, owner: Owner, bot: UUID, wanted: str, *, age: str = "0 seconds") -> None:
    """What the API writes of a wish of the bot's owner, in one transaction."""
    async with admin.transaction():
        await admin.execute("select set_config('app.actor', $1, true)", f"user:{owner.user_id}")
        await admin.execute(
            "insert into bot_trading (id, tenant_id, bot_id, wanted) values ($1, $2, $3, $4)"
            " on conflict (tenant_id, bot_id) do update set wanted = excluded.wanted, asked = bot_trading.asked + 1",
            uuid7(),
            owner.tenant_id,
            bot,
            wanted,
        )
        await admin.execute(
            "update bot_trading set requested_at = requested_at - $2::text::interval where bot_id = $1", bot, age
        )
        await admin.execute("update bots set ping_requested_at = clock_timestamp() where id = $1", bot)


async def answered(admin: asyncpg.Connection, bot: UUID, *, deadline_s: float = 10.0) -> asyncpg.Record:
    """The wish's row, once it is confirmed or given up."""

    async def there() -> asyncpg.Record | None:
        row = await admin.fetchrow("select * from bot_trading where bot_id = $1", bot)
        return row if row["confirmed_at"] is not None or row["problem"] is not None else None

    return await until(there, what="an answer to the wish", deadline_s=deadline_s)


def asked(server: FreqtradeServer | BotServer) -> list[str]:
    """The commands that a bot was given."""
    return [request.path.rpartition("/")[2] for request in server.requests if request.method == "POST"]


async def freqtrade(factory: Factory, server: FreqtradeServer, owner: Owner) -> UUID:
    return await factory.bot(owner, engine="freqtrade", api_url=server.url, credentials=THEIRS)


class Deaf(FreqtradeServer):
    """Takes every command with a 200 and goes on as before."""

    def _command(self, route: str) -> Reply:
        return json_reply({"status": f"{route} ..."})


class Slow(FreqtradeServer):
    """Does what it is told in the order in which it was told, when it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def _command(self, route: str) -> Reply:
        self.told.append(route)
        return json_reply({"status": f"{route} ..."})

    def go_on(self) -> None:
        """Do all that it was told."""
        for route in self.told:
            super()._command(route)
        self.told.clear()


class Held(FreqtradeServer):
    """Answers nothing until ``answering`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = asyncio.Event()

    async def handle(self, request: Request) -> Reply:
        await self.answering.wait()
        return await super().handle(request)


class Unwilling(BotServer):
    """An older bot that has no such routes."""

    async def handle(self, request: Request) -> Reply:
        if request.method == "POST":
            return json_reply({"detail": "Not Found"}, 404)
        return await super().handle(request)


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


@asynccontextmanager
async def steerer(
    pool: asyncpg.Pool, vault: Vault, looked: list[UUID] | None = None, **options: Any
) -> AsyncIterator[Steerer]:
    again = [] if looked is None else looked
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"})
    made = Steerer(pool, Opener(settings, pool, vault, LIMITS), again.append, **options)
    try:
        yield made
    finally:
        await made.close()


def as_claimed(owner: Owner, bot: UUID, url: str, **changes: Any) -> Bot:
    facts: dict[str, Any] = {"hosted": False, "engine": "freqtrade", "desired": "running", "status": "connected"}
    facts |= {"reason": None, "generation": 1, "told_generation": 1, "api_url": url, **changes}
    return Bot(id=bot, tenant_id=owner.tenant_id, **facts)


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
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wish_rows, "MOST_PENDING", 2)
    async with FreqtradeServer() as server, steerer(pool, vault) as one:
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
        ("control", 1, "It was asked once, and its trading was running 60 seconds after the wish."),
    ],
)
async def test_an_engine_that_does_not_come_back_holds_a_wish_up_for_no_longer_than_a_bot_that_hangs(
    factory: Factory,
    admin: asyncpg.Connection,
    pool: asyncpg.Pool,
    vault: Vault,
    monkeypatch: pytest.MonkeyPatch,
    hanging: str,
    attempts: int,
    told: str,
) -> None:
    monkeypatch.setattr(opening, "engine_for", lambda _: Endless(hanging))
    async with FreqtradeServer() as server, steerer(pool, vault, budget_s=0.2) as one:
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


async def moved(factory: Factory, owner: Owner, bot: UUID, url: str, credentials: dict[str, str]) -> None:
    """What the API writes when a bot's owner gives it another address and another credential, in one transaction."""
    async with factory.admin.transaction():
        await factory.admin.execute("update bots set api_url = $2, generation = generation + 1 where id = $1", bot, url)
        await factory.admin.execute("delete from bot_secrets where bot_id = $1", bot)
        await factory.secret(owner, bot, "credentials", credentials)


async def test_a_bot_that_moves_while_it_is_steered_is_not_asked_any_more_with_what_was_or_with_what_is(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Deaf() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, before.url), wished=True)
        await until(lambda: asked(before), what="a first command")
        known = {request.headers.get("authorization") for request in before.requests}
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        row = await answered(admin, bot)
        assert (row["problem"], row["attempts"]) == ("superseded", 1)
        assert "changed" in row["problem_detail"]
        assert {request.headers.get("authorization") for request in before.requests} == known
        assert after.requests == []


async def test_a_bot_that_is_switched_off_while_it_is_steered_is_not_asked_again(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Deaf() as server, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        await until(lambda: asked(server), what="a first command")
        await admin.execute("update bots set desired = 'stopped', generation = 2 where id = $1", bot)
        assert (await answered(admin, bot))["problem"] == "superseded"
        assert asked(server) == ["stop"]


async def test_what_the_old_address_says_after_a_change_confirms_nothing(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Held() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await wished(admin, owner, bot, "running")
        one.due(as_claimed(owner, bot, before.url), wished=True)
        await until(lambda: before.requests, what="a look that is under way")
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        before.answering.set()
        assert (await answered(admin, bot))["problem"] == "superseded"


async def test_a_wish_of_before_a_change_is_superseded_for_a_poller_that_knows_only_what_came_after(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with FreqtradeServer() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await wished(admin, owner, bot, "stopped")
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        one.due(as_claimed(owner, bot, after.url, generation=2), wished=True)
        assert (await answered(admin, bot))["problem"] == "superseded"
        assert before.requests == after.requests == []


async def test_a_wish_of_after_a_change_is_for_the_bot_as_it_is_now_whatever_is_held_in_memory(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with FreqtradeServer() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, before.url), wished=True)
        assert (await answered(admin, bot))["confirmed_at"] is not None
        assert (before.requests, asked(after)) == ([], ["stop"])


async def test_a_wish_that_meets_the_opposite_command_on_its_way_is_asked_and_not_only_looked_for(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Slow() as server, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        await until(lambda: server.told == ["stop"], what="the first command")
        # Its state is what is wanted now, and would not stay so.
        await wished(admin, owner, bot, "running")
        assert (await answered(admin, bot))["confirmed_at"] is not None
        assert asked(server) == ["stop", "start"]
        server.go_on()
        assert server.trading_state == "running"
        # What has shown itself is settled: a wish that is so already is not asked for.
        await wished(admin, owner, bot, "running")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        assert (await answered(admin, bot))["attempts"] == 0


async def test_the_command_of_before_is_known_to_the_next_poller_too(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Slow() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        held = as_claimed(owner, bot, server.url)
        async with steerer(pool, vault) as first:
            await wished(admin, owner, bot, "stopped")
            first.due(held, wished=True)
            await until(lambda: server.told == ["stop"], what="the first command")
        await wished(admin, owner, bot, "running")
        # Another one counted an attempt, and was killed before it made it.
        await admin.execute(
            "update bot_trading set attempts = 1, tried_at = now() - interval '10 s' where bot_id = $1", bot
        )
        async with steerer(pool, vault) as other:
            other.due(held, wished=True)
            assert (await answered(admin, bot))["attempts"] == 2
        server.go_on()
        assert (server.trading_state, asked(server)) == ("running", ["stop", "start"])
