"""Reading figures back as series of a bounded number of points."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise, takewhile
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.errors import unacceptable
from control_plane.performance.drawdown import Stretch, fall, joined, rounded, whole
from control_plane.performance.reads import (
    Ever,
    Part,
    binned_readings,
    extent,
    finest_kept,
    newest_readings,
    parts,
    since_start,
)
from control_plane.performance.schemas import CurveInterval, DrawdownView, GapView, PerformanceView, PointView
from control_plane.performance.steps import SECONDS, ceiled, chosen_interval, coarsened, floored, sources

MOST_POINTS = 2000
WANTED_POINTS = 500
_DEFAULT_SPAN = timedelta(days=30)
_YEARS = (1970, 9000)  # far enough from the ends of the calendar that zones and spans may be added and taken away
_HOUR = timedelta(hours=1)
_LONGEST_USUAL = timedelta(minutes=20)


def checked_span(
    since: datetime | None, until: datetime | None, usual: timedelta = _DEFAULT_SPAN
) -> tuple[datetime, datetime]:
    """A span in UTC; as long as is ``usual`` and up to now by default. Raises 422."""
    for field, value in (("from", since), ("to", until)):
        if value is not None and value.tzinfo is None:
            raise unacceptable(field, "must carry its zone, such as 2026-01-31T00:00:00Z")
        if value is not None and not _YEARS[0] <= value.year <= _YEARS[1]:
            raise unacceptable(field, f"must lie in the years {_YEARS[0]} to {_YEARS[1]}")
    end = (until or datetime.now(UTC)).astimezone(UTC)
    begin = end - usual if since is None else since.astimezone(UTC)
    if begin >= end:
        raise unacceptable("from", "must be before `to`")
    return begin, end


async def bot_performance(
    session: AsyncSession,
    bot_id: UUID,
    since: datetime | None,
    until: datetime | None,
    interval: CurveInterval | None,
    points: int | None = None,
    *,
    silence: timedelta,
) -> PerformanceView:
    """The figures of one bot of the bound tenant, oldest first, in at most ``points`` points.

    ``silence`` is how long nothing may have been read of it before nothing is drawn.

    Where ``interval`` would give more, a coarser one is taken; without ``points``, the newest 2,000 of it. So is where
    nothing as fine is kept any more: single readings, then hours, are dropped in time, and days tell.
    """
    begin, end = checked_span(since, until)
    now = datetime.now(UTC)
    known = await extent(session, bot_id)
    first = max(begin, known.first or end)
    span = max(min(end, now) - first, timedelta(0))
    chosen = interval or chosen_interval(span, points or WANTED_POINTS)
    if points is not None:
        chosen = coarsened(chosen, span, points)
    kept = await finest_kept(session, bot_id, known, begin)
    if SECONDS[kept] > SECONDS[chosen]:
        # What is kept is told whole: it cannot be cut at the end of the span.
        chosen, end = kept, ceiled(end, timedelta(seconds=SECONDS[kept]))
    most = points or MOST_POINTS
    found = None
    if chosen == "raw":
        found = await newest_readings(session, bot_id, begin, end, most + 1)
        if len(found) > most and points is not None:
            chosen, found = coarsened("1m", span, points), None
    if found is None:
        found = await _binned(session, bot_id, chosen, begin, end, known.ready, most)
    ever = await since_start(session, bot_id, known.ready)
    view = shown(found[-most:], chosen, min(end, now), most, ever, silence)
    cut = len(found) > most or (chosen != "raw" and first < _earliest(end, chosen, most))
    return msgspec.structs.replace(view, complete=False) if cut else view


async def _binned(
    session: AsyncSession,
    bot_id: UUID,
    chosen: CurveInterval,
    begin: datetime,
    end: datetime,
    ready: datetime,
    most: int,
) -> list[Part]:
    step = timedelta(seconds=SECONDS[chosen])
    # What lies further back than there may be points is not even read.
    begin = max(begin, _earliest(end, chosen, most))
    if step < _HOUR:
        return await binned_readings(session, bot_id, begin, end, SECONDS[chosen], most)
    found = await parts(session, bot_id, sources(chosen, begin, end, ready))
    within = [part for part in found if begin <= part.last_at <= end]
    return [_one(list(group)) for _, group in groupby(within, lambda part: floored(part.first_at, step))]


def _earliest(end: datetime, chosen: CurveInterval, most: int) -> datetime:
    """From when on points may be, so that there are no more than may be. In the future there are none."""
    return min(end, datetime.now(UTC)) - (most + 1) * timedelta(seconds=SECONDS[chosen])


def _one(group: Sequence[Part]) -> Part:
    """Several parts of one interval as one: the last known of each figure."""
    if len(group) == 1:
        return group[0]
    currency, simulated = _newest(group, "currency"), _newest(group, "simulated")
    alike = _alike(group, currency=currency, simulated=simulated)
    return Part(
        first_at=group[0].first_at,
        last_at=group[-1].last_at,
        readings=sum(part.readings for part in group),
        currency=currency,
        simulated=simulated,
        equity=_newest(alike, "equity"),
        capital_base=_newest(alike, "capital_base"),
        realized_profit=_newest(alike, "realized_profit"),
        open_profit=_newest(alike, "open_profit"),
        index=_newest(group, "index"),
        index_at=_newest(group, "index_at"),
        stretch=whole(part.stretch for part in group),
    )


def _alike(group: Sequence[Part], *, currency: str | None, simulated: bool | None) -> list[Part]:
    """The newest of them, back to where the bot had another kind of money: amounts of two currencies, or simulated and
    real ones, are never one. Those that do not say are as those about them."""
    alike = takewhile(
        lambda part: part.currency in {currency, None} and part.simulated in {simulated, None}, reversed(group)
    )
    return list(alike)[::-1]


def _newest(group: Sequence[Part], name: str) -> Any:
    return next((value for part in reversed(group) if (value := getattr(part, name)) is not None), None)


def shown(
    found: Sequence[Part],
    interval: CurveInterval,
    end: datetime,
    most: int,
    ever: Ever,
    silence: timedelta,
) -> PerformanceView:
    """Parts, oldest first, as the answer: of the newest kind of money alone, with a null point in every gap."""
    currency, simulated = _newest(found, "currency"), _newest(found, "simulated")
    alike = _alike(found, currency=currency, simulated=simulated)
    longest = _longest(alike, silence)
    missing = gaps(alike, end, longest)
    step = timedelta(seconds=SECONDS[interval]) if interval != "raw" else timedelta(0)
    points: list[PointView] = []
    so_far: Stretch | None = None
    for part in alike:
        # A gap shorter than the interval lies between two neighbours, and nothing is drawn across it that was not so.
        if points and missing.get(points[-1].at, step) > step:
            points.append(_nothing(points[-1].at + missing[points[-1].at] / 2))
        so_far = joined(so_far, part.stretch)
        points.append(_point(part, so_far))
    if points and missing.get(points[-1].at, timedelta(0)) > step:
        points.append(_nothing(end))
    return PerformanceView(
        currency=currency,
        simulated=simulated,
        interval=interval,
        points=points[-most:],
        gaps=[GapView(at, at + length) for at, length in missing.items()],
        drawdown=_drawdown(so_far, known=alike != [] and alike[-1].ends_known and alike[-1].last_at not in missing),
        drawdown_since_start=_drawdown(ever.stretch, known=ever.told_ago is not None and ever.told_ago <= longest),
    )


def _point(part: Part, so_far: Stretch | None) -> PointView:
    return PointView(
        at=part.last_at,
        equity=part.equity,
        capital_base=part.capital_base,
        realized_profit=part.realized_profit,
        open_profit=part.open_profit,
        return_=part.index - 1 if part.index is not None else None,
        drawdown=rounded(fall(so_far.high, part.index)) if part.index is not None and so_far is not None else None,
    )


def _nothing(at: datetime) -> PointView:
    return PointView(at=at, equity=None, capital_base=None, realized_profit=None, open_profit=None, return_=None)


def _drawdown(stretch: Stretch | None, *, known: bool) -> DrawdownView:
    """``known``: whether the index is known at the end. What it was before says nothing of where it stands."""
    if stretch is None:
        return DrawdownView()
    return DrawdownView(current=rounded(stretch.current) if known else None, maximum=rounded(stretch.worst))


def _longest(found: Sequence[Part], silence: timedelta) -> timedelta:
    """How long nothing may have been read.

    That is ``silence``, which rests on how often the bot is meant to be read. Where it is read less often, its own
    readings tell: three times what lies between two of them when all is well.
    """
    return max(silence, 3 * min(_usual(found), _LONGEST_USUAL))


def gaps(found: Sequence[Part], end: datetime, longest: timedelta) -> dict[datetime, timedelta]:
    """Stretches without a reading, up to ``end``: after which reading each begins, and how long it lasts."""
    if not found:
        return {}
    ends = [part.first_at for part in found[1:]] + [end]
    silences = ((part.last_at, begins - part.last_at) for part, begins in zip(found, ends, strict=True))
    return {at: length for at, length in silences if length > longest}


def _usual(found: Sequence[Part]) -> timedelta:
    """What lies between two readings when all is well: the lower quartile, because a few gaps must not look usual."""
    inside = [(part.last_at - part.first_at) / (part.readings - 1) for part in found if part.readings > 1]
    between = inside or [later.first_at - earlier.last_at for earlier, later in pairwise(found)]
    return sorted(between)[len(between) // 4] if between else timedelta(0)
