"""Several pollers, killed pollers, hanging bots: the work is shared, and nobody waits for another's trouble."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from agents.egress import Limits
from agents.poller import statements
from agents.poller.check import Checker
from agents.poller.facts import Bot
from agents.poller.opening import Opened, Opener
from agents.poller.shards import BEAT_S, LEASE_S
from control_plane.database.away import DATABASE_AWAY
from control_plane.security.keyproviders import LocalKeyProvider
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.factories import Factory, Urls
from tests.integration.poller.bots import HangingBot
from tests.integration.poller.conftest import PollerMaker, at_work
from tests.integration.poller.rows import (
    bot_row,
    events,
    health_row,
    snapshots,
    until_checked,
    until_snapshots,
    until_status,
)
from tests.servers.bot_server import BotServer
from tests.servers.loopback import Reply, Request
from tests.waiting import until

TOKEN = "bot-token-0123456789"
CREDENTIALS = {"token": TOKEN}
_LEASE_S = 2.0
_PROGRAM = f"""
from agents.agent import run_forever
from agents.poller.agent import Poller
from control_plane.settings import load_settings
run_forever(lambda *parts: Poller(*parts, lease_s={_LEASE_S}, beat_s=0.5), "poller", load_settings())
"""


async def test_two_pollers_share_and_never_check_a_bot_twice_in_an_interval(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    owner = await factory.owner()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(BotServer(token=TOKEN)) for _ in range(20)]
        bots = [await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS) for server in servers]
        pollers = [await poller_with(poll_interval=0.5, beat_s=0.2) for _ in range(2)]
        await until(lambda: [len(poller._shards.held) for poller in pollers] == [128, 128], what="fair shares")
        for bot in bots:
            await until_snapshots(admin, bot, 5)
        for poller in pollers:
            poller.stopping.set()
        for bot, server in zip(bots, servers, strict=True):
            moments = [row["observed_at"] for row in await snapshots(admin, bot)]
            gaps = [later - earlier for earlier, later in pairwise(moments)]
            # An interval is spread by a tenth, and what a look came late by is no more of the next one.
            assert min(gaps) >= timedelta(seconds=0.4)
            looks = sum(request.path.endswith("/state") for request in server.requests)
            assert looks - len(moments) in {0, 1, 2}  # some may be under way, or not be written yet
        assert all(poller.detail["checks_begun"] > 0 for poller in pollers)


async def test_who_takes_over_goes_on_in_the_rhythm_of_looks_whose_time_was_not_written(
    factory: Factory, urls: Urls, vault: Vault
) -> None:
    """Short looks that say nothing new are not all written; a bot is asked no sooner for that by its next poller."""
    owner = await factory.owner()
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"}, poll_interval=1.0, reading_interval=60.0)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(TimedBot(token=TOKEN)) for _ in range(20)]
        for server in servers:
            await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)

        async def looked_at(times: int) -> None:
            before = [len(server.looks) for server in servers]
            await until(
                lambda: all(len(one.looks) >= was + times for one, was in zip(servers, before, strict=True)),
                what="looks at every bot",
            )

        async with AsyncExitStack() as second_stack:
            async with at_work(urls["agent_poller"], settings, vault, beat_s=0.2) as first:
                await looked_at(4)
                second = await second_stack.enter_async_context(
                    at_work(urls["agent_poller"], settings, vault, beat_s=0.2)
                )
                await until(lambda: len(first._shards.held) == len(second._shards.held) == 128, what="fair shares")
                await looked_at(2)
            await until(lambda: len(second._shards.held) == 256, what="the second one to hold everything")
            await looked_at(2)
        assert min(later - earlier for one in servers for earlier, later in pairwise(one.looks[1:])) >= 0.45


async def test_hanging_bots_hold_up_nobody_else(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    owner = await factory.owner()
    async with AsyncExitStack() as stack:
        hanging = [
            await stack.enter_async_context(HangingBot(token=TOKEN, host=f"127.0.1.{number}"))
            for number in range(1, 81)
        ]
        held = [await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS) for server in hanging]
        server = await stack.enter_async_context(BotServer(token=TOKEN))
        bot = await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        kept = await until_snapshots(admin, bot, 6)
        moments = [row["observed_at"] for row in kept]
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        # On a machine that is busy with other tests as well; a hanging call takes ten seconds.
        assert max(gaps) < timedelta(seconds=2)
        assert all(server.connections for server in hanging)
        assert {(await health_row(admin, one))["observed_at"] for one in held} == {None}
        for server in hanging:
            server.answering.set()
        for one in held:
            await until_status(admin, one, "connected")


@asynccontextmanager
async def _database_away(urls: Urls, admin: asyncpg.Connection) -> AsyncIterator[None]:
    """For the poller's role, and for as long as the block lasts."""
    name = await admin.fetchval("select current_database()")
    async with asyncpg.create_pool(urls.admin.replace(name, "postgres"), min_size=1, max_size=1) as elsewhere:
        await elsewhere.execute(f'alter database "{name}" with allow_connections false')
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and usename = 'tradewise_agent_poller'"
        )
        yield
        await elsewhere.execute(f'alter database "{name}" with allow_connections true')


async def test_while_the_database_is_away_bots_are_looked_at_and_nothing_is_lost(
    urls: Urls, admin: asyncpg.Connection, factory: Factory, poller_with: PollerMaker
) -> None:
    owner = await factory.owner()
    async with BotServer(token=TOKEN) as server, BotServer(token=TOKEN) as other:
        bot = await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)
        fails = await factory.bot(owner, api_url=other.url, credentials=CREDENTIALS)
        poller = await poller_with(poll_interval=0.3)
        for one in (bot, fails):
            await until_snapshots(admin, one, 2)
        async with _database_away(urls, admin):
            await until(lambda: poller.state == "waiting", what="the poller to notice")
            before, asked = await snapshots(admin, bot), len(server.requests)
            await other.close_port()
            await until(lambda: len(server.requests) >= asked + 3 * 6, what="more looks")
            assert len(await snapshots(admin, bot)) == len(before)
        # Told as it stands by now, once, with the row of the moment when it happened.
        await until_status(admin, fails, "error", "unreachable")
        kept = await until_snapshots(admin, bot, len(before) + 6)
        gaps = [later["observed_at"] - earlier["observed_at"] for earlier, later in pairwise(kept)]
        assert max(gaps) < timedelta(seconds=2)
        await until(lambda: poller.state == "working", what="the poller back at work")
        assert [event["to_status"] for event in await events(admin, fails)] == ["connected", "error"]
        assert [event["to_status"] for event in await events(admin, bot)] == ["connected"]


@pytest.fixture
def kek() -> bytes:
    """A key-encryption key that is handed to poller processes by their environment."""
    return os.urandom(32)


@pytest.fixture
def process_factory(admin: asyncpg.Connection, kek: bytes) -> Factory:
    """Makes bots whose credentials those processes can open."""
    return Factory(admin, Vault(LocalKeyProvider({"env": kek}, "env")))


@asynccontextmanager
async def _poller_process(
    urls: Urls, kek: bytes, folder: Path, *, interval_s: float = 0.3
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        "PATH": os.environ["PATH"],
        "TRADEWISE_AGENT_DATABASE_URL": urls["agent_poller"],
        "TRADEWISE_KEY_PROVIDER": "env",
        "TRADEWISE_KEK": base64.b64encode(kek).decode(),
        "TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8",
        "TRADEWISE_POLL_INTERVAL": str(interval_s),
        "TRADEWISE_READING_INTERVAL": str(interval_s),
        "TRADEWISE_DATA_DIR": str(folder),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


_SHARES = "select array_agg(n order by n) from (select count(*) as n from poll_shards group by holder) x"


class TimedBot(BotServer):
    """Notes when each look at it began."""

    def __init__(self, *, token: str) -> None:
        super().__init__(token=token)
        self.looks: list[float] = []

    async def handle(self, request: Request) -> Reply:
        if request.path.endswith("/state"):
            self.looks.append(time.monotonic())
        return await super().handle(request)


async def test_killed_pollers_cost_their_lease_and_nothing_else(
    urls: Urls, kek: bytes, process_factory: Factory, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    """Three at work, one killed, another one come: no bot twice in an interval, none longer than interval and lease."""
    owner = await process_factory.owner()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(TimedBot(token=TOKEN)) for _ in range(30)]
        bots = [await process_factory.bot(owner, api_url=server.url, credentials=CREDENTIALS) for server in servers]

        async def another(name: str) -> asyncio.subprocess.Process:
            return await stack.enter_async_context(_poller_process(urls, kek, tmp_path / name, interval_s=1.0))

        async def looked_at(times: int) -> None:
            before = [len(server.looks) for server in servers]
            await until(
                lambda: all(len(one.looks) >= was + times for one, was in zip(servers, before, strict=True)),
                what="looks at every bot",
            )

        fair = [[84, 86, 86], [85, 85, 86]]
        first, *_ = [await another(name) for name in ("a", "b", "c")]
        await until(lambda: _among(admin, _SHARES, fair), what="fair shares", deadline_s=30)
        await looked_at(2)
        first.kill()
        await until(lambda: _among(admin, _SHARES, [[128, 128]]), what="the takeover", deadline_s=30)
        await looked_at(1)
        await another("d")
        await until(lambda: _among(admin, _SHARES, fair), what="fair shares again", deadline_s=30)
        await looked_at(2)
        for bot, server in zip(bots, servers, strict=True):
            gaps = [later - earlier for earlier, later in pairwise(server.looks)]
            # A look may come a tenth of its interval early, and after one that a busy machine made late; a second in
            # the same interval would come at once. The first one, which a new bot is owed, is in no rhythm.
            assert min(gaps[1:]) >= 0.5
            # An interval and a lease, and what a busy machine takes besides.
            assert max(gaps) <= 1.1 + _LEASE_S + 5.0
            assert [event["to_status"] for event in await events(admin, bot)] == ["connected"]


async def test_a_poller_that_stood_still_asks_nobody_before_it_knows_what_it_holds(
    urls: Urls, kek: bytes, process_factory: Factory, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    owner = await process_factory.owner()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(TimedBot(token=TOKEN)) for _ in range(30)]
        for server in servers:
            await process_factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)
        frozen, _ = [
            await stack.enter_async_context(_poller_process(urls, kek, tmp_path / name, interval_s=1.0))
            for name in ("a", "b")
        ]
        await until(lambda: _among(admin, _SHARES, [[128, 128]]), what="fair shares", deadline_s=30)
        frozen.send_signal(signal.SIGSTOP)
        await until(lambda: _among(admin, _SHARES, [[256]]), what="the takeover", deadline_s=30)
        counts = [len(server.looks) for server in servers]
        await until(lambda: all(len(one.looks) > was + 1 for one, was in zip(servers, counts, strict=True)))
        frozen.send_signal(signal.SIGCONT)
        woken = [len(server.looks) for server in servers]
        await until(lambda: all(len(one.looks) > was + 1 for one, was in zip(servers, woken, strict=True)))
        for server, was in zip(servers, counts, strict=True):
            assert min(later - earlier for earlier, later in pairwise(server.looks[was:])) >= 0.45


async def test_a_poller_that_stands_still_in_the_middle_of_a_write_keeps_no_shard(
    pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    """Nobody takes a shard that is locked: a suspended machine would keep its own for as long as it is suspended."""
    holder = uuid7()
    await admin.execute("update poll_shards set holder = $1, lease_until = now() + interval '1 hour'", holder)
    async with pool.acquire() as frozen:
        await frozen.execute("begin")
        await frozen.execute(statements.LOCK_BRIEFLY)
        assert len((await frozen.fetchrow(statements.HELD, holder))["shards"]) == 256
        free = "select count(*) from (select 1 from poll_shards for no key update skip locked) free"
        assert await admin.fetchval(free) == 0
        began = time.monotonic()
        await until(lambda: _among(admin, free, [256]), what="every shard to be free to take")
        assert time.monotonic() - began < LEASE_S - BEAT_S
        with pytest.raises(DATABASE_AWAY):
            await frozen.execute("commit")


async def _among(admin: asyncpg.Connection, query: str, wanted: list[Any]) -> bool:
    return await admin.fetchval(query) in wanted


async def test_kills_at_any_moment_converge(
    urls: Urls, kek: bytes, process_factory: Factory, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    owner = await process_factory.owner()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(BotServer(token=TOKEN)) for _ in range(12)]
        bots = [await process_factory.bot(owner, api_url=server.url, credentials=CREDENTIALS) for server in servers]
        for calls in (1, 7, 20, 60):
            target = sum(len(server.requests) for server in servers) + calls
            async with _poller_process(urls, kek, tmp_path) as process:
                await until(
                    lambda target=target: sum(len(server.requests) for server in servers) >= target,  # type: ignore[misc]
                    what="work under way",
                )
                process.kill()
            # Time passes: the leases of the killed one end.
            await admin.execute("update poll_shards set lease_until = now() where lease_until is not null")
            await admin.execute("delete from agent_beats")
        async with _poller_process(urls, kek, tmp_path) as process:
            for bot in bots:
                await until_status(admin, bot, "connected")
                assert [event["to_status"] for event in await events(admin, bot)] == ["connected"]
                kept = await snapshots(admin, bot)
                assert {row["unit_value"] for row in kept} <= {1}


async def test_an_orderly_end_gives_back_what_was_held(
    urls: Urls, kek: bytes, process_factory: Factory, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    owner = await process_factory.owner()
    async with HangingBot(token=TOKEN, host="127.0.0.2") as slow, BotServer(token=TOKEN) as server:
        held = await process_factory.bot(owner, api_url=slow.url, credentials=CREDENTIALS)
        bot = await process_factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)
        async with _poller_process(urls, kek, tmp_path) as process:
            await until_status(admin, bot, "connected")
            await until(lambda: slow.requests, what="the call that hangs")
            assert await admin.fetchval("select count(*) from agent_beats where kind = 'poller'") == 1
            assert await admin.fetchval("select count(*) from poll_shards where holder is not null") == 256
            began = time.monotonic()
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 15) == 0
            assert time.monotonic() - began < 10
        assert await admin.fetchval("select count(*) from poll_shards where holder is not null") == 0
        assert await admin.fetchval("select count(*) from agent_beats") == 0
        assert (await bot_row(admin, held))["status"] == "inactive"
        newest = (await snapshots(admin, bot))[-1]["observed_at"]
        assert (await health_row(admin, bot))["observed_at"] == newest


async def test_changes_that_no_notification_told_of_are_followed(
    urls: Urls, factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server, BotServer(token=TOKEN) as other:
        owner = await factory.owner()
        bot = await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)
        await poller_with(poll_interval=0.3)
        await until_status(admin, bot, "connected")
        await admin.execute("set session_replication_role = replica")
        await admin.execute(
            "update bots set api_url = $2, generation = generation + 1, updated_at = now() where id = $1",
            bot,
            other.url,
        )
        await admin.execute("set session_replication_role = origin")
        # Whoever lost its connection may have missed a word.
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and application_name = 'tradewise-poller-listen'"
        )
        await until(lambda: other.requests, what="the bot at its new address", deadline_s=10.0)
        asked = len(server.requests)
        await until_checked(admin, bot, times=2)
        assert len(server.requests) == asked


async def test_shards_that_were_lost_and_are_ours_again_are_looked_after(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        poller = await poller_with(poll_interval=0.2, beat_s=0.2)
        await until_checked(admin, bot, times=2)
        before = dict(poller._shards.held)
        # Nothing that looks for changes is to find it.
        await admin.execute("set session_replication_role = replica")
        for table in ("tenants", "bots", "bot_secrets"):
            await admin.execute(f"update {table} set updated_at = now() - interval '1 hour'")
        await admin.execute("set session_replication_role = origin")
        # As if another had taken them while this process was suspended, and had ended since.
        await admin.execute("update poll_shards set holder = null, lease_until = null, epoch = epoch + 1")
        await until(
            lambda: len(poller._shards.held) == len(before) and not before.items() & poller._shards.held.items(),
            what="the shards to be taken again",
        )
        await until_checked(admin, bot, times=3)


async def test_a_suspended_tenants_bots_rest_and_go_on(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    async with BotServer(token=TOKEN) as server, BotServer(token=TOKEN) as other:
        owner, active = await factory.owner("Rests"), await factory.owner("Works")
        bot = await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)
        kept = await factory.bot(active, api_url=other.url, credentials=CREDENTIALS)
        poller = await poller_with(poll_interval=0.2)
        await until_status(admin, bot, "connected")
        await admin.execute("update tenants set status = 'suspended' where id = $1", owner.tenant_id)
        await until(lambda: poller._fleet.get(bot) is None, what="the poller to know")
        await until_checked(admin, kept, times=2)
        asked = len(server.requests)
        await until_checked(admin, kept, times=3)
        assert len(server.requests) == asked
        await admin.execute("update tenants set status = 'active' where id = $1", owner.tenant_id)
        await until(lambda: len(server.requests) > asked, what="the bot to be looked at again")


class CountingOpener(Opener):
    """Knows how often it was asked."""

    asked = 0

    async def open(self, bot: Bot) -> Opened:
        self.asked += 1
        return await super().open(bot)


async def test_an_opened_credential_costs_no_query_a_look(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker, vault: Vault
) -> None:
    async with BotServer(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        poller = await poller_with(poll_interval=0.2)
        await until_checked(admin, bot, times=2)
        opener = CountingOpener(poller.settings, poller.pool, vault, Limits())
        poller._rounds.checker.close()
        poller._rounds.checker = Checker(opener)
        watched = poller._fleet.get(bot)
        assert watched is not None
        watched.opened = None
        await until_checked(admin, bot, times=4)
        assert opener.asked == 1
