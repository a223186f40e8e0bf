"""Looking at what the poller wrote."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import asyncpg
from prometheus_client import REGISTRY

from tests.waiting import until


async def bot_row(admin: asyncpg.Connection, bot: object) -> asyncpg.Record:
    """The bot's own row."""
    return await admin.fetchrow("select * from bots where id = $1", bot)


async def health_row(admin: asyncpg.Connection, bot: object) -> asyncpg.Record:
    """The bot's health row."""
    return await admin.fetchrow("select * from bot_health where id = $1", bot)


async def events(admin: asyncpg.Connection, bot: object) -> list[asyncpg.Record]:
    """The bot's history, oldest first."""
    return list(await admin.fetch("select * from bot_events where bot_id = $1 order by id", bot))


async def snapshots(admin: asyncpg.Connection, bot: object) -> list[asyncpg.Record]:
    """The bot's snapshots, oldest first."""
    return list(await admin.fetch("select * from performance_snapshots where bot_id = $1 order by observed_at", bot))


def lost_rows(cause: str) -> float:
    """How many rows were lost so far by a cause."""
    return REGISTRY.get_sample_value("tradewise_poller_results_lost_total", {"cause": cause}) or 0.0


async def changes_of_health(admin: asyncpg.Connection, bot: object) -> list[tuple[object, ...]]:
    """State, reason and trading state of the bot's changes, oldest first."""
    rows = await admin.fetch(
        "select state, reason, trading_state from bot_health_changes where bot_id = $1 order by at", bot
    )
    return [tuple(row) for row in rows]


async def until_status(
    admin: asyncpg.Connection, bot: object, status: str, reason: str | None = None, *, deadline_s: float = 20.0
) -> asyncpg.Record:
    """Wait until the bot has this status for this reason; its row then."""

    async def there() -> asyncpg.Record | None:
        row = await bot_row(admin, bot)
        return row if (row["status"], row["reason"]) == (status, reason) else None

    return await until(there, what=f"status {status} ({reason})", deadline_s=deadline_s)


async def until_health(
    admin: asyncpg.Connection, bot: object, holds: Callable[[asyncpg.Record], bool], *, deadline_s: float = 20.0
) -> asyncpg.Record:
    """Wait until the bot's health row is as wanted; the row then."""

    async def there() -> asyncpg.Record | None:
        row = await health_row(admin, bot)
        return row if holds(row) else None

    return await until(there, what="the health wanted", deadline_s=deadline_s)


async def until_checked(admin: asyncpg.Connection, bot: object, *, times: int = 1) -> asyncpg.Record:
    """Wait until the bot has been looked at ``times`` more; its health row then."""
    row = await health_row(admin, bot)
    for _ in range(times):
        seen = row["observed_at"]

        async def again(seen: object = seen) -> asyncpg.Record | None:
            now = await health_row(admin, bot)
            return now if now["observed_at"] != seen else None

        row = await until(again, what="another look at the bot")
    return row


async def until_equity(admin: asyncpg.Connection, bot: object, equity: Decimal | None) -> list[asyncpg.Record]:
    """Wait until the newest snapshot tells this equity; every snapshot then, oldest first."""

    async def there() -> list[asyncpg.Record]:
        kept = await snapshots(admin, bot)
        return kept if kept and kept[-1]["equity"] == equity else []

    return await until(there, what=f"a snapshot with the equity {equity}")


async def until_snapshots(admin: asyncpg.Connection, bot: object, count: int) -> list[asyncpg.Record]:
    """Wait until there are so many snapshots; every one then, oldest first."""

    async def there() -> list[asyncpg.Record]:
        kept = await snapshots(admin, bot)
        return kept if len(kept) >= count else []

    return await until(there, what=f"{count} snapshots")
