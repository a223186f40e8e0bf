"""What a bot uses: its history in at most 500 points, and a stream of the present figures."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar.response.sse import ServerSentEventMessage
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.database.connection import Binding
from control_plane.live.feeds import Feeds
from control_plane.live.schemas import FiguresView, StatsView
from control_plane.live.waiting import quiet_until
from control_plane.performance.schemas import Interval
from control_plane.performance.series import checked_span

StillGood = Callable[[], Awaitable[bool]]

MOST_POINTS: Final = 500
CHECK_EVERY_S = 15.0
_DEFAULT_SPAN: Final = timedelta(hours=24)
_STEPS: Final[tuple[Interval, ...]] = ("raw", "1m", "5m", "15m", "1h", "6h", "1d")
_SECONDS: Final[dict[str, float]] = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "1d": 86400}
#: The shortest interval that samples may be taken at.
_RAW_S: Final = 1.0

# Counters count from a copy's start, so a rate is the difference of two points of one copy. What came shortly before
# the span is read along for the first rate within it.
_POINTS = text("""
    with binned as (
        select instance_id, max(observed_at) as at, max(cpu_seconds) as cpu_seconds, max(memory_bytes) as memory_bytes,
            max(memory_limit_bytes) as memory_limit_bytes, max(received_bytes) as received_bytes,
            max(sent_bytes) as sent_bytes, max(processes) as processes
        from bot_stats
        where bot_id = :bot and observed_at >= cast(:since as timestamptz) - make_interval(secs => :before)
            and observed_at <= :until
        group by instance_id, case when :seconds = 0 then observed_at else date_bin(
            make_interval(secs => greatest(:seconds, 1)), observed_at, timestamptz '2000-01-01 00:00:00+00') end
    ), rated as (
        select b.*, cpu_seconds - lag(cpu_seconds) over w as cpu,
            received_bytes - lag(received_bytes) over w as received, sent_bytes - lag(sent_bytes) over w as sent,
            nullif(extract(epoch from at - lag(at) over w), 0)::float8 as seconds
        from binned b window w as (partition by instance_id order by at)
    )
    select at, instance_id, cpu / seconds as cpu_cores, memory_bytes, memory_limit_bytes,
        received / seconds as receive_rate, sent / seconds as send_rate, received_bytes, sent_bytes, processes
    from rated where at >= :since order by at desc limit :limit
""")
_RESTARTS = text("""
    select count(*) from bot_instances i
    where i.bot_id = :bot and i.started_at >= :since and i.started_at <= :until and exists (
        select from bot_instances e where e.tenant_id = i.tenant_id and e.bot_id = i.bot_id and e.id < i.id
            and e.started_at is not null)
""")


def checked_times(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """A span with its zone; a day up to now by default. Raises 422."""
    return checked_span(since, until, _DEFAULT_SPAN)


async def read_stats(
    session: AsyncSession, bot_id: UUID, since: datetime | None, until: datetime | None, interval: Interval | None
) -> StatsView:
    """A bot's figures over time. Where ``interval`` would make more than 500 points, the next coarser one is taken."""
    begin, end = checked_times(since, until)
    span = (end - begin).total_seconds()
    index = _STEPS.index(interval) if interval is not None else 0
    while True:
        chosen = _STEPS[index]
        seconds = _SECONDS.get(chosen, 0.0)
        last = index == len(_STEPS) - 1
        # What cannot fit is not even tried, except for single samples, of which nobody knows how many there are.
        if not last and seconds and span / seconds > MOST_POINTS:
            index += 1
            continue
        values = {
            "bot": bot_id,
            "since": begin,
            "until": end,
            "seconds": seconds,
            "before": max(2 * seconds, 120.0),
            "limit": MOST_POINTS + 1,
        }
        if chosen == "raw" and span / _RAW_S > 7 * 86400:
            index += 1
            continue
        rows = (await session.execute(_POINTS, values)).all()
        if len(rows) <= MOST_POINTS or last:
            break
        index += 1
    restarts: int = await session.scalar(_RESTARTS, {"bot": bot_id, "since": begin, "until": end}) or 0
    return StatsView(interval=chosen, restarts=restarts, points=[_view(row) for row in reversed(rows[:MOST_POINTS])])


def _view(row: Row[Any]) -> FiguresView:
    return FiguresView(
        at=row.at,
        instance_id=row.instance_id,
        cpu_cores=_rounded(row.cpu_cores),
        memory_bytes=row.memory_bytes,
        memory_limit_bytes=row.memory_limit_bytes,
        receive_rate=_rounded(row.receive_rate),
        send_rate=_rounded(row.send_rate),
        received_bytes=row.received_bytes,
        sent_bytes=row.sent_bytes,
        processes=row.processes,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(max(0.0, value), 4)


class _Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the launcher wrote down."""

    at: datetime
    cpu_seconds: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    received_bytes: int | None
    sent_bytes: int | None
    processes: int | None


def present(samples: tuple[dict[str, Any], ...], instance_id: UUID) -> FiguresView:
    """The newest of two samples in a row, with the rates between them where they are of one copy."""
    now = msgspec.convert(samples[-1], _Sample)
    before = msgspec.convert(samples[0], _Sample) if len(samples) > 1 else None

    def rate(name: str) -> float | None:
        if before is None:
            return None
        new, old = getattr(now, name), getattr(before, name)
        seconds = (now.at - before.at).total_seconds()
        # A counter that is lower is another copy's.
        if new is None or old is None or new < old or not 0 < seconds < 60:
            return None
        return float(round((new - old) / seconds, 4))

    return FiguresView(
        at=now.at,
        instance_id=instance_id,
        cpu_cores=rate("cpu_seconds"),
        memory_bytes=now.memory_bytes,
        memory_limit_bytes=now.memory_limit_bytes,
        receive_rate=rate("received_bytes"),
        send_rate=rate("sent_bytes"),
        received_bytes=now.received_bytes,
        sent_bytes=now.sent_bytes,
        processes=now.processes,
    )


async def stats_messages(
    feeds: Feeds, binding: Binding, bot_id: UUID, *, still_good: StillGood
) -> AsyncIterator[ServerSentEventMessage]:
    """Server-sent events of a bot's present figures: ``stats`` every other second, ``waiting`` with why, ``end``."""
    assert binding.tenant_id is not None  # noqa: S101 - the caller has found the bot
    async with feeds.follow(binding.tenant_id, bot_id, "stats") as feed:
        yield ServerSentEventMessage(data=None, comment="following", retry=2000)
        checked = told = time.monotonic()
        seen: dict[str, Any] | None = None
        waits_for: str | None = None
        while not feed.ended:
            pulse, answer = feed.pulse, feed.answer
            sent = False
            fresh = answer is not None and answer.waits_for is None and answer.instance_id is not None
            if fresh and answer is not None and feed.samples and feed.samples[-1] is not seen:
                seen, waits_for, sent = feed.samples[-1], None, True
                figures = present(feed.samples, answer.instance_id or bot_id)
                yield _event("stats", msgspec.json.encode(figures).decode(), figures.at.isoformat())
            elif answer is not None and answer.waits_for not in {None, waits_for}:
                waits_for, sent = answer.waits_for, True
                yield _event("waiting", msgspec.json.encode({"reason": waits_for}).decode())
            told = time.monotonic() if sent else told
            if await quiet_until(pulse, told, sent=sent):
                told = time.monotonic()
                yield ServerSentEventMessage(data=None, comment="still here")
            if time.monotonic() - checked >= CHECK_EVERY_S:
                checked = time.monotonic()
                if not await still_good():
                    return
        yield _event("end", "{}")


def _event(kind: str, data: str, identity: str | None = None) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=data, event=kind, id=identity)
