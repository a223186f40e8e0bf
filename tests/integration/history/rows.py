"""Rows of history as the poller writes them, and looking at what was made of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from tests.factories import Owner

_COLUMNS = ("tenant_id", "bot_id", "observed_at", "currency", "simulated", "equity", "capital_base", "unit_value")


@asynccontextmanager
async def session_of(api_db: Database, owner: Owner) -> AsyncIterator[AsyncSession]:
    """A session of the API, as the owner has it."""
    async with api_db.transaction(Binding(tenant_id=owner.tenant_id, user_id=owner.user_id)) as session:
        yield session


def hour(ago: int = 0) -> datetime:
    """The begin of the present hour, or of one before it."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago)


def day(ago: int = 0) -> datetime:
    """The begin of the present day, or of one before it."""
    return hour().replace(hour=0) - timedelta(days=ago)


async def readings(
    admin: asyncpg.Connection,
    owner: Owner,
    bot: UUID,
    values: Iterable[tuple[datetime, Any]],
    *,
    currency: str | None = "USDT",
    **columns: Any,
) -> None:
    """Readings of a bot whose index, and whose equity in thousands, was so much; None is not known."""
    names = (*_COLUMNS, *columns)
    records = [
        (
            owner.tenant_id,
            bot,
            at,
            currency,
            True,
            None if value is None else 1000 * Decimal(value),
            Decimal(1000),
            None if value is None else Decimal(value),
            *columns.values(),
        )
        for at, value in values
    ]
    places = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    await admin.executemany(
        f"insert into performance_snapshots ({', '.join(names)}) values ({places})",
        records,
    )


async def changes(
    admin: asyncpg.Connection,
    owner: Owner,
    bot: UUID,
    values: Sequence[tuple[datetime, str]],
    reason: str | None = None,
) -> None:
    """Changes of a bot's health."""
    await admin.executemany(
        "insert into bot_health_changes (tenant_id, bot_id, at, state, reason) values ($1, $2, $3, $4, $5)",
        [(owner.tenant_id, bot, at, state, reason if state != "healthy" else None) for at, state in values],
    )


async def hours(admin: asyncpg.Connection, bot: UUID) -> list[asyncpg.Record]:
    """The hours of a bot, oldest first."""
    return list(await admin.fetch("select * from performance_hourly where bot_id = $1 order by bucket", bot))


async def days(admin: asyncpg.Connection, bot: UUID) -> list[asyncpg.Record]:
    """The days of a bot, oldest first."""
    return list(await admin.fetch("select * from performance_daily where bot_id = $1 order by bucket", bot))


async def healthy_days(admin: asyncpg.Connection, bot: UUID) -> list[asyncpg.Record]:
    """The days of a bot's health, oldest first."""
    return list(await admin.fetch("select * from bot_health_daily where bot_id = $1 order by bucket", bot))
