"""Rollups of what the poller wrote: hours and days of readings, days of health.

What a pass does is told by when rows *arrived*, not by when they are of: each row that came since the last pass marks
its bucket as pending, and a pending bucket is built anew from all of its rows. So a row that comes late, because a
poller held it or this job was away, is caught like any other; a bucket that is still open is built as far as it is and
again after the next pass; and doing anything twice changes nothing.

One process builds at a time: the one that holds the row of progress, for one transaction. The others find it held and
do nothing; where the holder dies, its transaction is gone with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from agents.scheduler import rollup_sql as sql

#: Rows are dated by the begin of their transaction, so they come to sight later than they are dated; no poller's may
#: last so long.
LAG = timedelta(minutes=5)
_WINDOW = timedelta(hours=1)
_LONGEST_WINDOW = timedelta(hours=6)
_BATCH = 2000

_Key = tuple[UUID, UUID, datetime]


class Rollups:
    """Keeps the rollups up to date."""

    def __init__(self, pool: asyncpg.Pool, *, lag: timedelta = LAG, batch: int = _BATCH, at_once: bool = False) -> None:
        self._pool = pool
        self._lag = lag
        self._batch = batch
        self._at_once = at_once
        self._window = _WINDOW

    async def catch_up(self, *, steps: int | None = None) -> bool:
        """Build until nothing is left or ``steps`` are done; whether something is left."""
        done = 0
        while steps is None or done < steps:
            if not await self.step():
                return False
            done += 1
        return True

    async def step(self) -> bool:
        """Build one batch of pending buckets, or mark those of the next hour's arrivals; whether there is more to do.

        An hour's arrivals are taken once the hour is over: that is when buckets close.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            progress = await connection.fetchrow(sql.HOLD, self._lag)
            if progress is None:
                return False
            pending = await connection.fetch(sql.TAKE, self._batch)
            if pending:
                await self._build(connection, pending)
                return True
            await connection.execute(sql.READY)
            seen, horizon = progress["seen_until"], progress["horizon"]
            if not (self._at_once or _hour_over(seen, horizon)):
                return False
            return await self._mark(connection, seen, horizon)

    async def _mark(self, connection: asyncpg.Connection, seen: datetime, horizon: datetime) -> bool:
        until = min(horizon, seen + self._window)
        told = [await connection.execute(mark, seen, until) for mark in (sql.MARK_READINGS, sql.MARK_HEALTH)]
        await connection.execute(sql.SEEN, until)
        if all(status.endswith(" 0") for status in told):
            await connection.execute(sql.READY)
            # Where nothing arrived for long, as before the first bot, the way to now is short.
            self._window = min(2 * self._window, _LONGEST_WINDOW)
            return until < horizon
        self._window = _WINDOW
        return True

    async def _build(self, connection: asyncpg.Connection, pending: Sequence[asyncpg.Record]) -> None:
        hours = [_key(row) for row in pending if row["kind"] == "performance"]
        if hours:
            await connection.execute(sql.HOURS, *_columns(hours))
            days = sorted({(tenant, bot, _day(bucket)) for tenant, bot, bucket in hours})
            await connection.execute(sql.DAYS, *_columns(days))
            first: dict[tuple[UUID, UUID], datetime] = {}
            for tenant, bot, day in days:
                first.setdefault((tenant, bot), day)
            await connection.execute(sql.SO_FAR, *_columns([(*whose, day) for whose, day in first.items()]))
        days = sorted({_key(row) for row in pending if row["kind"] == "health"})
        if days:
            # A day begins with what the one before ended with: the next that is told of is built as well.
            after = await connection.fetch(sql.NEXT_HEALTH_DAYS, *_columns(days))
            for key in sorted({*days, *map(_key, after)}):
                await connection.execute(sql.HEALTH_DAY, *key)


def _hour_over(seen: datetime, horizon: datetime) -> bool:
    """Whether an hour has ended since ``seen``."""
    return horizon.replace(minute=0, second=0, microsecond=0) > seen.replace(minute=0, second=0, microsecond=0)


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _key(row: asyncpg.Record) -> _Key:
    return row["tenant_id"], row["bot_id"], row["bucket"]


def _columns(keys: Sequence[_Key]) -> list[list[Any]]:
    return [[key[place] for key in keys] for place in range(3)]
