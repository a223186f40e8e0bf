"""Several pollers, killed pollers, hanging bots: the work is shared, and nobody waits for another's trouble."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from agents.poller.due import claim
from control_plane.security.keyproviders import LocalKeyProvider
from control_plane.security.vault import Vault
from tests.factories import Factory, Urls
from tests.integration.poller.bots import HangingBot
from tests.integration.poller.conftest import PollerMaker
from tests.integration.poller.parts import ROOM, bots_at, result_of
from tests.integration.poller.rows import bot_row, events, health_row, snapshots, until_snapshots, until_status
from tests.servers.bot_server import BotServer
from tests.waiting import until

TOKEN = "bot-token-0123456789"
CREDENTIALS = {"token": TOKEN}
_PROGRAM = """
from agents.agent import run_forever
from agents.poller.agent import make_poller
from control_plane.settings import load_settings
run_forever(make_poller, "poller", load_settings())
"""


async def test_two_pollers_share_and_never_check_a_bot_twice_in_an_interval(
    factory: Factory, admin: asyncpg.Connection, poller_with: PollerMaker
) -> None:
    owner = await factory.owner()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(BotServer(token=TOKEN)) for _ in range(20)]
        bots = [await factory.bot(owner, api_url=server.url, credentials=CREDENTIALS) for server in servers]
        pollers = [await poller_with(poll_interval=0.5) for _ in range(2)]
        for bot in bots:
            await until_snapshots(admin, bot, 5)
        for poller in pollers:
            poller.stopping.set()
        for bot, server in zip(bots, servers, strict=True):
            moments = [row["observed_at"] for row in await snapshots(admin, bot)]
            gaps = [later - earlier for earlier, later in pairwise(moments)]
            assert min(gaps) >= timedelta(seconds=0.45)
            pings = sum(request.path.endswith("/ping") for request in server.requests)
            assert pings - len(moments) in {0, 1}  # one may be under way
        assert all(poller.detail["checks_begun"] > 0 for poller in pollers)


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


async def test_while_the_database_is_away_results_wait_and_are_kept(
    urls: Urls, admin: asyncpg.Connection, factory: Factory, poller_with: PollerMaker
) -> None:
    async with HangingBot(token=TOKEN) as server:
        bot = await factory.bot(await factory.owner(), api_url=server.url, credentials=CREDENTIALS)
        poller = await poller_with(poll_interval=60.0)
        await until(lambda: server.requests, what="the call that hangs")
        name = await admin.fetchval("select current_database()")
        async with asyncpg.create_pool(urls.admin.replace(name, "postgres"), min_size=1, max_size=1) as elsewhere:
            await elsewhere.execute(f'alter database "{name}" with allow_connections false')
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and usename = 'tradewise_agent_poller'"
            )
            server.answering.set()
            await until(lambda: poller.state == "waiting", what="the poller to notice")
            await until(lambda: len(server.requests) == 3, what="the check to end")
            assert (await health_row(admin, bot))["observed_at"] is None
            await elsewhere.execute(f'alter database "{name}" with allow_connections true')
        await until_status(admin, bot, "connected")
        assert len(await snapshots(admin, bot)) == 1
        assert len(server.requests) == 3
        await until(lambda: poller.state == "working", what="the poller back at work")


@pytest.fixture
def kek() -> bytes:
    """A key-encryption key that is handed to poller processes by their environment."""
    return os.urandom(32)


@pytest.fixture
def process_factory(admin: asyncpg.Connection, kek: bytes) -> Factory:
    """Makes bots whose credentials those processes can open."""
    return Factory(admin, Vault(LocalKeyProvider({"env": kek}, "env")))


@asynccontextmanager
async def _poller_process(urls: Urls, kek: bytes, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        "PATH": os.environ["PATH"],
        "TRADEWISE_AGENT_DATABASE_URL": urls["agent_poller"],
        "TRADEWISE_KEY_PROVIDER": "env",
        "TRADEWISE_KEK": base64.b64encode(kek).decode(),
        "TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8",
        "TRADEWISE_POLL_INTERVAL": "0.3",
        "TRADEWISE_DATA_DIR": str(folder),
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_killed_poller_costs_its_lease_and_nothing_else(
    urls: Urls, kek: bytes, process_factory: Factory, admin: asyncpg.Connection, tmp_path: Path
) -> None:
    owner = await process_factory.owner()
    async with HangingBot(token=TOKEN, host="127.0.0.2") as slow, BotServer(token=TOKEN) as server:
        held = await process_factory.bot(owner, api_url=slow.url, credentials=CREDENTIALS)
        bot = await process_factory.bot(owner, api_url=server.url, credentials=CREDENTIALS)
        async with _poller_process(urls, kek, tmp_path) as process:
            await until_status(admin, bot, "connected")
            await until(lambda: slow.requests, what="the call that hangs")
            process.kill()
        lease = await admin.fetchval("select lease_until - now() from bot_health where id = $1", held)
        assert timedelta(0) < lease <= timedelta(seconds=30)
        slow.answering.set()
        async with _poller_process(urls, kek, tmp_path):
            # Bots that no check was under way for go on at once; the others when the lease has ended.
            await until_snapshots(admin, bot, len(await snapshots(admin, bot)) + 2)
            assert (await health_row(admin, held))["observed_at"] is None
            await admin.execute(
                "update bot_health set lease_until = lease_until - interval '30 seconds' where id = $1", held
            )
            await until_status(admin, held, "connected")
        assert [event["to_status"] for event in await events(admin, bot)] == ["connected"]
        assert [event["to_status"] for event in await events(admin, held)] == ["connected"]


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
            await admin.execute("update bot_health set lease_until = now() where lease_until is not null")
        async with _poller_process(urls, kek, tmp_path) as process:
            for bot in bots:
                await until_status(admin, bot, "connected")
                assert [event["to_status"] for event in await events(admin, bot)] == ["connected"]
                kept = await snapshots(admin, bot)
                assert {row["unit_value"] for row in kept} <= {1}


async def test_an_orderly_end_gives_back_what_was_begun(
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
            began = time.monotonic()
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 15) == 0
            assert time.monotonic() - began < 10
        assert await admin.fetchval("select count(*) from bot_health where lease_until is not null") == 0
        assert await admin.fetchval("select count(*) from agent_beats") == 0
        assert (await bot_row(admin, held))["status"] == "inactive"


async def test_a_bot_that_was_claimed_anew_before_its_result_was_stored_ends_no_poller(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, poller_with: PollerMaker
) -> None:
    """On a machine that is overloaded a lease may end while its check is still under way."""
    await bots_at(factory, await factory.owner(), 1)
    [first] = (await claim(pool, ROOM)).claims
    await admin.execute("update bot_health set lease_until = null")
    [second] = (await claim(pool, ROOM)).claims
    poller = await poller_with(poll_interval=60.0)
    poller._held[str(second.bot.id)] = second
    poller._stored([result_of(first)])
    assert poller._held == {str(second.bot.id): second}
    poller._stored([result_of(second), result_of(first)])
    assert poller._held == {}
