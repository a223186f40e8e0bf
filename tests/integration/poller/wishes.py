"""Wishes about trading, as they are made and answered, and bots to which they are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from agents.poller.facts import Bot
from agents.poller.opening import Opener
from agents.poller.steer import LIMITS, Steerer
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.factories import Factory, Owner
from tests.servers.bot_server import BotServer
from tests.servers.freqtrade_server import FreqtradeServer
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


@asynccontextmanager
async def steerer(
    pool: asyncpg.Pool,
    vault: Vault,
    looked: list[UUID] | None = None,
    opener: Callable[..., Opener] = Opener,
    **options: Any,
) -> AsyncIterator[Steerer]:
    again = [] if looked is None else looked
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"})
    made = Steerer(pool, opener(settings, pool, vault, LIMITS), again.append, **options)
    try:
        yield made
    finally:
        await made.close()


def as_claimed(owner: Owner, bot: UUID, url: str, **changes: Any) -> Bot:
    facts: dict[str, Any] = {"hosted": False, "engine": "freqtrade", "desired": "running", "status": "connected"}
    facts |= {"reason": None, "generation": 1, "told_generation": 1, "api_url": url, **changes}
    return Bot(id=bot, tenant_id=owner.tenant_id, **facts)


async def moved(factory: Factory, owner: Owner, bot: UUID, url: str, credentials: dict[str, str]) -> None:
    """What the API writes when a bot's owner gives it another address and another credential, in one transaction."""
    async with factory.admin.transaction():
        await factory.admin.execute("update bots set api_url = $2, generation = generation + 1 where id = $1", bot, url)
        await factory.admin.execute("delete from bot_secrets where bot_id = $1", bot)
        await factory.secret(owner, bot, "credentials", credentials)
