"""Readings of one bot as they are kept: days, hours, and what is too young for these, in one shape."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.performance.drawdown import Stretch, whole
from control_plane.performance.schemas import CurveInterval
from control_plane.performance.steps import Sources, floored, sources

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
#: Whatever the settings say, nothing is dropped sooner (``retire_history`` in policies/performance.sql).
_KEPT_BY_ALL: Final = timedelta(days=27)

_EXTENT = text("""
    select rolled_until() as ready,
        (select min(d.first_at) from (
            select first_at from performance_daily where bot_id = :bot order by bucket limit 1) d) as first_rolled,
        (select min(observed_at) from performance_snapshots where bot_id = :bot) as first_read
""")
_OLDEST_HOUR = text("select min(bucket) from performance_hourly where bot_id = :bot")
# Days outlive the changes that they were made of: where there are days before the oldest change, theirs are gone.
_CHANGES_GONE = text("""
    select max(bucket) + interval '24 hours' from bot_health_daily
    where bot_id = :bot and bucket < coalesce(
        (select date_trunc('day', min(at), 'UTC') from bot_health_changes where bot_id = :bot), 'infinity')
""")
_OF_ROLLUP = """
    select first_at, last_at, readings, currency, simulated, equity_last as equity, capital_base, realized_profit,
        open_profit, unit_max as high, unit_min as low, unit_last as last, unit_at as known_at,
        unit_drawdown as worst
"""
_AS_READ = """
    select observed_at as first_at, observed_at as last_at, 1 as readings, currency, simulated, equity, capital_base,
        realized_profit, open_profit, unit_value as high, unit_value as low, unit_value as last,
        observed_at as known_at, 0 as worst
"""
_PARTS = text(
    f"{_OF_ROLLUP} from performance_daily where bot_id = :bot and bucket >= :day and bucket < :day_end"
    f" union all {_OF_ROLLUP} from performance_hourly where bot_id = :bot and bucket >= :hour and bucket < :hour_end"
    f" union all {_AS_READ} from performance_snapshots"
    " where bot_id = :bot and observed_at >= :since and observed_at <= :until order by last_at"
)
_NEWEST = text(
    f"{_AS_READ} from performance_snapshots where bot_id = :bot and observed_at >= :since and observed_at <= :until"
    " order by observed_at desc limit :limit"
)
# What the last reading of a bin says, and of its index the extremes: a fall and its recovery within one bin are shown.
_BINNED = text("""
    select distinct on (bin) min(observed_at) over b as first_at, observed_at as last_at, count(*) over b as readings,
        currency, simulated, equity, capital_base, realized_profit, open_profit, max(unit_value) over b as high,
        min(unit_value) over b as low, first_value(unit_value) over known as last,
        first_value(observed_at) over known as known_at,
        max(1 - unit_value / nullif(so_far, 0)) over b as worst
    from (
        select s.*, max(unit_value) over (partition by bin order by observed_at) as so_far
        from (
            select *,
                date_bin(make_interval(secs => :seconds), observed_at, timestamptz '2000-01-01 00:00:00+00') as bin
            from performance_snapshots where bot_id = :bot and observed_at >= :since and observed_at <= :until
        ) s
    ) s
    window b as (partition by bin),
        known as (partition by bin order by unit_value is null, observed_at desc
            rows between unbounded preceding and unbounded following)
    order by bin desc, observed_at desc limit :limit
""")
# Where the newest day knew no index, the last one known; where none ever was, nobody looks for it.
_SO_FAR = text("""
    select peak_so_far, drawdown_so_far, coalesce(unit_last, case when peak_so_far is not null then (
            select unit_last from performance_daily
            where bot_id = :bot and bucket < :day and unit_last is not null order by bucket desc limit 1
        ) end) as unit_last, unit_at, last_at
    from performance_daily where bot_id = :bot and bucket < :day order by bucket desc limit 1
""")


class Extent(msgspec.Struct, frozen=True):
    """How far a bot's history reaches: rollups hold what arrived until ``ready``."""

    ready: datetime
    first: datetime | None
    first_read: datetime | None
    """The oldest single reading that is still kept."""


class Part(msgspec.Struct, frozen=True):
    """One reading, or several as one: what the last of them said. None is unknown."""

    first_at: datetime
    last_at: datetime
    readings: int
    currency: str | None
    simulated: bool | None
    equity: Decimal | None
    capital_base: Decimal | None
    realized_profit: Decimal | None
    open_profit: Decimal | None
    index: Decimal | None
    index_at: datetime | None
    """When that was read: by the last reading, or by one before it."""
    stretch: Stretch | None

    @property
    def ends_known(self) -> bool:
        """Whether the last reading told the index."""
        return self.index_at == self.last_at


class Ever(msgspec.Struct, frozen=True):
    """All that was ever known of a bot's index."""

    stretch: Stretch | None
    told_ago: timedelta | None
    """How long ago the newest reading was; None where it told no index."""


def _part(row: Row[Any]) -> Part:
    known = row.high is not None
    return Part(
        first_at=row.first_at,
        last_at=row.last_at,
        readings=row.readings,
        currency=row.currency,
        simulated=row.simulated,
        equity=row.equity,
        capital_base=row.capital_base,
        realized_profit=row.realized_profit,
        open_profit=row.open_profit,
        index=row.last,
        index_at=row.known_at if known else None,
        stretch=Stretch(row.high, row.low, row.last, Decimal(row.worst or 0)) if known else None,
    )


async def extent(session: AsyncSession, bot_id: UUID) -> Extent:
    """How far the history of one bot of the bound tenant reaches."""
    row = (await session.execute(_EXTENT, {"bot": bot_id})).one()
    found = [at for at in (row.first_rolled, row.first_read) if at is not None]
    # Minus infinity comes as the first day of the calendar: nothing is rolled up yet.
    ready = max(row.ready.replace(tzinfo=UTC) if row.ready.tzinfo is None else row.ready, _BEGINNING)
    return Extent(ready=ready, first=min(found, default=None), first_read=row.first_read)


async def finest_kept(session: AsyncSession, bot_id: UUID, known: Extent, begin: datetime) -> CurveInterval:
    """The finest interval in which figures of a bot are still kept from ``begin`` on: ``raw``, ``1h`` or ``1d``."""
    if known.first is None or begin > datetime.now(UTC) - _KEPT_BY_ALL:
        return "raw"
    begin = max(begin, known.first)
    if known.first_read is not None and known.first_read - begin <= _HOUR:
        return "raw"
    hour = (await session.execute(_OLDEST_HOUR, {"bot": bot_id})).scalar_one()
    return "1h" if hour is not None and hour - begin <= _DAY else "1d"


async def changes_kept(session: AsyncSession, bot_id: UUID, begin: datetime) -> bool:
    """Whether each change of a bot's health from ``begin`` on is still kept; else its days tell."""
    if begin > datetime.now(UTC) - _KEPT_BY_ALL:
        return True
    gone_until: datetime | None = (await session.execute(_CHANGES_GONE, {"bot": bot_id})).scalar_one()
    return gone_until is None or begin >= gone_until


async def parts(session: AsyncSession, bot_id: UUID, where: Sources) -> list[Part]:
    """Everything in ``where``, oldest first."""
    values = {
        "bot": bot_id,
        "day": where.days[0],
        "day_end": where.days[1],
        "hour": where.hours[0],
        "hour_end": where.hours[1],
        "since": where.readings[0],
        "until": where.readings[1],
    }
    return [_part(row) for row in await session.execute(_PARTS, values)]


async def newest_readings(session: AsyncSession, bot_id: UUID, begin: datetime, end: datetime, most: int) -> list[Part]:
    """The newest single readings of a span, oldest first."""
    values = {"bot": bot_id, "since": begin, "until": end, "limit": most}
    return [_part(row) for row in (await session.execute(_NEWEST, values)).all()[::-1]]


async def binned_readings(
    session: AsyncSession, bot_id: UUID, begin: datetime, end: datetime, seconds: int, most: int
) -> list[Part]:
    """Readings of a span in bins of less than an hour, oldest first; the newest bins where there are more."""
    values = {"bot": bot_id, "since": begin, "until": end, "seconds": float(seconds), "limit": most}
    return [_part(row) for row in (await session.execute(_BINNED, values)).all()[::-1]]


async def since_start(session: AsyncSession, bot_id: UUID, ready: datetime) -> Ever:
    """All that was ever known of a bot's index, from the sum of its days, the hours since, and what is younger."""
    day = floored(ready, timedelta(days=1))
    row = (await session.execute(_SO_FAR, {"bot": bot_id, "day": day})).one_or_none()
    before = None
    if row is not None and row.peak_so_far is not None:
        # The high may be of a day that is no longer kept.
        last = row.peak_so_far if row.unit_last is None else row.unit_last
        before = Stretch(row.peak_so_far, last, last, row.drawdown_so_far or Decimal(0))
    now = datetime.now(UTC)
    found = await parts(session, bot_id, sources("1h", day, now + _DAY, ready))
    newest = None
    if found:
        newest = found[-1].last_at if found[-1].ends_known else None
    elif row is not None:
        newest = row.last_at if row.unit_at == row.last_at else None
    return Ever(whole([before, *(part.stretch for part in found)]), None if newest is None else now - newest)
