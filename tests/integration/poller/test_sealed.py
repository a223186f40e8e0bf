"""Credentials for many looks at once: few statements, each look its own row, and nobody's end is another's."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg

from agents.poller.sealed import SealedRows
from tests.factories import Factory
from tests.integration.poller.parts import bots_at

TOKEN = {"token": "bot-token-0123456789"}


class Counting:
    """The pool, and how often it was asked."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.asked = 0

    async def fetch(self, *arguments: Any) -> list[asyncpg.Record]:
        self.asked += 1
        return list(await self.pool.fetch(*arguments))


async def test_many_that_ask_at_once_share_few_statements_and_get_their_own(
    factory: Factory, pool: asyncpg.Pool
) -> None:
    owners = [await factory.owner(), await factory.owner()]
    bots = [(owner.tenant_id, bot) for owner in owners for bot in await bots_at(factory, owner, 20, credentials=TOKEN)]
    counting = Counting(pool)
    sealed = SealedRows(counting)
    rows = await asyncio.gather(*(sealed.get(*bot) for bot in bots))
    assert [(row["tenant_id"], row["bot_id"]) for row in rows if row is not None] == bots
    assert counting.asked <= 2
    # Another tenant's bot is no bot of one's own, and one without credentials has none.
    assert await sealed.get(owners[0].tenant_id, bots[-1][1]) is None
    assert await sealed.get(owners[0].tenant_id, uuid4()) is None


async def test_what_was_changed_before_it_was_asked_is_what_is_read(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    [bot] = await bots_at(factory, owner, 1, credentials=TOKEN)
    sealed = SealedRows(pool)
    first = await sealed.get(owner.tenant_id, bot)
    await admin.execute("delete from bot_secrets where bot_id = $1", bot)
    await factory.secret(owner, bot, "credentials", {"token": "another-token-0123456789"})
    second = await sealed.get(owner.tenant_id, bot)
    assert first is not None
    assert second is not None
    assert first["id"] != second["id"]


async def test_one_that_is_cancelled_ends_nobody_else_and_a_failure_is_everybodys(
    factory: Factory, pool: asyncpg.Pool
) -> None:
    owner = await factory.owner()
    [bot] = await bots_at(factory, owner, 1, credentials=TOKEN)
    sealed = SealedRows(pool)
    one, other = (asyncio.create_task(sealed.get(owner.tenant_id, bot)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    row = await other
    assert row is not None
    assert row["bot_id"] == bot
    assert one.cancelled()
    await pool.close()
    asked = await asyncio.gather(*(sealed.get(owner.tenant_id, bot) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, asyncpg.InterfaceError) for answer in asked)
