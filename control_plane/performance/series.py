"""Reading figures back as series of a bounded number of points."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.errors import unacceptable
from control_plane.performance.schemas import Interval, PerformanceView, PointView

_SECONDS: dict[str, int] = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "1d": 86400}
_MAXIMUM_POINTS = 2000
_WANTED_POINTS = 500
_DEFAULT_SPAN = timedelta(days=30)
_YEARS = (1970, 9000)  # far enough from the ends of the calendar that zones and spans may be added and taken away

_FIRST = text("select min(observed_at) from performance_snapshots where bot_id = :bot and observed_at >= :since")
_RAW = text("""
    select observed_at, equity, capital_base, realized_profit, open_profit, unit_value, currency, simulated
    from performance_snapshots where bot_id = :bot and observed_at >= :since and observed_at <= :until
    order by observed_at desc limit :limit
""")
_BINNED = text("""
    select distinct on (bin) observed_at, equity, capital_base, realized_profit, open_profit, unit_value, currency,
        simulated
    from (
        select *, date_bin(make_interval(secs => :seconds), observed_at, timestamptz '2000-01-01 00:00:00+00') as bin
        from performance_snapshots where bot_id = :bot and observed_at >= :since and observed_at <= :until
    ) s
    order by bin desc, observed_at desc limit :limit
""")


def chosen_interval(span: timedelta) -> Interval:
    """The finest interval that shows ``span`` in about 500 points."""
    choices: tuple[Interval, ...] = ("raw", "1m", "5m", "15m", "1h", "6h", "1d")
    for choice in choices:
        seconds = _SECONDS.get(choice, 15)
        if span.total_seconds() / seconds <= _WANTED_POINTS:
            return choice
    return "1d"


def checked_span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """A span with its zone; thirty days up to now by default. Raises 422."""
    for field, value in (("from", since), ("to", until)):
        if value is not None and value.tzinfo is None:
            raise unacceptable(field, "must carry its zone, such as 2026-01-31T00:00:00Z")
        if value is not None and not _YEARS[0] <= value.year <= _YEARS[1]:
            raise unacceptable(field, f"must lie in the years {_YEARS[0]} to {_YEARS[1]}")
    end = until or datetime.now(UTC)
    begin = since or end - _DEFAULT_SPAN
    if begin >= end:
        raise unacceptable("from", "must be before `to`")
    return begin, end


async def bot_performance(
    session: AsyncSession, bot_id: UUID, since: datetime | None, until: datetime | None, interval: Interval | None
) -> PerformanceView:
    """The figures of one bot of the bound tenant, oldest first: the newest 2,000 points where there are more."""
    begin, end = checked_span(since, until)
    if interval is None:
        first: datetime | None = await session.scalar(_FIRST, {"bot": bot_id, "since": begin})
        interval = chosen_interval(end - (first or end))
    values = {"bot": bot_id, "since": begin, "until": end, "limit": _MAXIMUM_POINTS}
    if interval == "raw":
        rows = (await session.execute(_RAW, values)).all()
    else:
        rows = (await session.execute(_BINNED, {**values, "seconds": float(_SECONDS[interval])})).all()
    currency = next((row.currency for row in rows if row.currency is not None), None)
    simulated = next((row.simulated for row in rows if row.simulated is not None), None)
    points = [
        PointView(
            at=row.observed_at,
            equity=row.equity,
            capital_base=row.capital_base,
            realized_profit=row.realized_profit,
            open_profit=row.open_profit,
            return_=row.unit_value - 1 if row.unit_value is not None else None,
        )
        for row in reversed(rows)
        if row.currency in {currency, None}
    ]
    return PerformanceView(currency=currency, simulated=simulated, interval=interval, points=points)
