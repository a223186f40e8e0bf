"""The health of one bot over time, as it is asked for: its cost grows with the screen and not with its history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.performance import latency
from control_plane.performance.reads import changes_kept, extent, finest_kept
from control_plane.performance.schemas import BucketView, CurveInterval, LatencyView, SpanView, TimelineView, UptimeView
from control_plane.performance.series import checked_span
from control_plane.performance.steps import SECONDS, ceiled, floored, sources
from control_plane.performance.timeline import Change, Day, Span, Spent, by_step, days_spent, last_seen, spans

#: At most so many spans and buckets.
MOST_SPANS: Final = 500
#: Spans as short as this are read whole, change by change.
_IN_DETAIL: Final = timedelta(days=8)
_MOST_CHANGES: Final = 20_000
_DAY: Final = timedelta(days=1)
_DEFAULT_SPAN: Final = timedelta(days=1)
_LONGEST_SPAN: Final = MOST_SPANS * timedelta(days=30)

_BEFORE = text("""
    select * from (
        (select at, state, reason, trading_state from bot_health_changes
        where bot_id = :bot and at < :at order by at desc limit 1)
        union all
        (select bucket, last_state, last_reason, last_trading_state from bot_health_daily
        where bot_id = :bot and bucket <= cast(:at as timestamptz) - interval '24 hours' order by bucket desc limit 1)
    ) b order by at desc limit 1
""")
_CHANGES = text("""
    select at, state, reason, trading_state from bot_health_changes
    where bot_id = :bot and at >= :since and at < :until order by at desc limit :limit
""")
_DAYS = text("""
    select bucket, healthy_s, unhealthy_s, stale_s, last_state from bot_health_daily
    where bot_id = :bot and bucket >= :since and bucket < :until order by bucket
""")
_LATENCIES = text("""
    select bucket as at, latency_count, latency_bins, latency_counts from performance_daily
    where bot_id = :bot and bucket >= :day and bucket < :day_end and latency_count > 0
    union all
    select bucket, latency_count, latency_bins, latency_counts from performance_hourly
    where bot_id = :bot and bucket >= :hour and bucket < :hour_end and latency_count > 0
    union all
    select h.at, sum(h.count)::integer, array_agg(h.bin), array_agg(h.count) from (
        select date_bin(make_interval(secs => :seconds), observed_at, timestamptz '2000-01-01 00:00:00+00') as at,
            count(*)::integer as count,
            greatest(0, least(:highest, ceil(:steps * ln(greatest(latency_ms, 0.001)) / ln(2))))::smallint as bin
        from performance_snapshots
        where bot_id = :bot and observed_at >= :since and observed_at <= :until and latency_ms is not null
        group by 1, 3
    ) h group by h.at
""")


async def bot_timeline(
    session: AsyncSession,
    bot_id: UUID,
    since: datetime | None,
    until: datetime | None,
    *,
    seen_until: datetime | None,
    words: Callable[[str], str],
    points: int = 100,
) -> TimelineView:
    """Health of one bot of the bound tenant, a day up to now by default, in at most ``points`` buckets.

    ``seen_until`` is how long the last look at the bot is good for; ``words`` says a reason in words. Of more than a
    week, buckets are whole days or more, and the time shown begins with a whole one. Where changes or single readings
    are no longer kept, buckets are hours or days, as what is, and the
    time shown ends with a whole one.
    """
    now = datetime.now(UTC)
    begin, end = checked_span(since, until or now, _DEFAULT_SPAN)
    end = min(end, now)
    begin = max(min(begin, end), end - _LONGEST_SPAN)
    known = await extent(session, bot_id)
    kept: CurveInterval = await finest_kept(session, bot_id, known, begin)
    if not await changes_kept(session, bot_id, begin):
        kept = "1d"
    if kept != "raw":
        end = min(ceiled(end, timedelta(seconds=SECONDS[kept])), now)
    step = _step(end - begin, points, SECONDS[kept])
    if step >= _DAY:
        begin = floored(begin, step)
    starts = _starts(begin, end, step)
    read = _Reader(session, bot_id, end, seen_until)
    found, complete = await read.newest(begin)
    spent = await (
        read.by_day(begin, starts, step, known.ready) if step >= _DAY else read.in_detail(begin, starts, step)
    )
    total = Spent()
    for one in spent:
        total.take(one)
    told = await _latencies(session, bot_id, begin, end, known.ready, step)
    histograms = [latency.added(told.get(at, ())) for at in starts]
    every = latency.added((list(one), list(one.values())) for one in histograms)
    return TimelineView(
        from_=begin,
        to=end,
        interval=next((name for name, seconds in SECONDS.items() if seconds == step.total_seconds()), f"{step.days}d"),
        uptime=_uptime(total),
        latency=_latency(every),
        spans=[_span(span, words) for span in found],
        complete=complete,
        buckets=[
            BucketView(at=max(at, begin), uptime=_uptime(one), latency=_latency(histogram))
            for at, one, histogram in zip(starts, spent, histograms, strict=True)
        ],
    )


def _step(span: timedelta, points: int, kept_s: int) -> timedelta:
    least = max(kept_s, 900 if span <= _IN_DETAIL else SECONDS["1d"])
    fitting = (length for length in SECONDS.values() if length >= least and span.total_seconds() / length <= points - 1)
    seconds = next(fitting, None)
    if seconds is None:
        months = -(-span // timedelta(seconds=SECONDS["30d"] * (points - 1)))
        seconds = months * SECONDS["30d"]
    return timedelta(seconds=seconds)


def _starts(begin: datetime, end: datetime, step: timedelta) -> list[datetime]:
    if begin >= end:
        return []
    first = floored(begin, step)
    return [first + number * step for number in range(max(0, -(-(end - first) // step)))]


class _Reader(msgspec.Struct):
    """Reads of one bot's health up to ``end``."""

    session: AsyncSession
    bot_id: UUID
    end: datetime
    seen_until: datetime | None

    async def _before(self, at: datetime) -> Change | None:
        row = (await self.session.execute(_BEFORE, {"bot": self.bot_id, "at": at})).one_or_none()
        return None if row is None else Change(*row)

    async def _spans(self, begin: datetime, end: datetime, most: int) -> tuple[list[Span], bool]:
        values = {"bot": self.bot_id, "since": begin, "until": end, "limit": most + 1}
        rows = (await self.session.execute(_CHANGES, values)).all()
        changes = [Change(*row) for row in reversed(rows)]
        complete = len(rows) <= most
        before = await self._before(begin) if complete else changes.pop(0)
        if end == self.end and (silent := last_seen(changes, before, self.seen_until)) is not None:
            changes.append(silent)
        return spans(before, changes, begin if complete else changes[0].at, end), complete

    async def newest(self, begin: datetime) -> tuple[list[Span], bool]:
        """The newest spans, oldest first, and whether these are all."""
        found, complete = await self._spans(begin, self.end, MOST_SPANS)
        return found[-MOST_SPANS:], complete

    async def in_detail(self, begin: datetime, starts: Sequence[datetime], step: timedelta) -> list[Spent]:
        """From each change."""
        found, _ = await self._spans(begin, self.end, _MOST_CHANGES)
        return by_step(found, starts, step)

    async def by_day(
        self, begin: datetime, starts: Sequence[datetime], step: timedelta, ready: datetime
    ) -> list[Spent]:
        """From days as far as they are rolled up, and from each change since."""
        rolled = max(begin, floored(min(ready, self.end), _DAY))
        before = await self._before(begin)
        rows = await self.session.execute(_DAYS, {"bot": self.bot_id, "since": begin, "until": rolled})
        spent = [Spent() for _ in starts]
        days = [Day(*row) for row in rows]
        first = "unknown" if before is None else before.state
        for at, one in days_spent(first, days, begin, rolled, self.seen_until):
            spent[int((at - starts[0]) / step)].take(one)
        if rolled < self.end:
            for number, one in enumerate(await self.in_detail(rolled, starts, step)):
                spent[number].take(one)
        return spent


async def _latencies(
    session: AsyncSession, bot_id: UUID, begin: datetime, end: datetime, ready: datetime, step: timedelta
) -> dict[datetime, list[tuple[list[int], list[int]]]]:
    # The grain that is kept and fits into the step.
    grain: CurveInterval = "1d" if step >= _DAY else "1h" if step >= timedelta(hours=1) else "15m"
    where = sources(grain, begin, end, ready)
    values = {
        "bot": bot_id,
        "day": where.days[0],
        "day_end": where.days[1],
        "hour": where.hours[0],
        "hour_end": where.hours[1],
        "since": where.readings[0],
        "until": where.readings[1],
        "seconds": float(min(SECONDS[grain], 3600)),
        "highest": latency.HIGHEST,
        "steps": latency.STEPS,
    }
    told: dict[datetime, list[tuple[list[int], list[int]]]] = {}
    for row in await session.execute(_LATENCIES, values):
        told.setdefault(floored(max(row.at, begin), step), []).append((row.latency_bins, row.latency_counts))
    return told


def _latency(histogram: dict[int, int]) -> LatencyView:
    return LatencyView(
        readings=sum(histogram.values()),
        median_ms=latency.quantile(histogram, 0.5),
        p95_ms=latency.quantile(histogram, 0.95),
    )


def _uptime(spent: Spent) -> UptimeView:
    return UptimeView(
        ratio=spent.ratio,
        healthy_s=round(spent.healthy, 3),
        observed_s=round(spent.observed, 3),
        unobserved_s=round(spent.stale + spent.unknown, 3),
    )


def _span(span: Span, words: Callable[[str], str]) -> SpanView:
    reason = span.change.reason
    return SpanView(
        from_=span.begin,
        to=span.end,
        state=span.change.state,
        reason=reason,
        text=None if reason is None else words(reason),
        trading_state=span.change.trading_state,
    )
