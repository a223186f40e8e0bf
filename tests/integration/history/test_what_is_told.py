"""What nobody saw is not told as if somebody had: silence, late rows, and what is no longer kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from agents.agent import make_pool
from agents.scheduler.rollups import Rollups
from control_plane.database.sessions import Database
from control_plane.database.visit import visiting
from control_plane.performance.health import bot_timeline
from control_plane.performance.reads import extent, since_start
from control_plane.performance.schemas import CurveInterval, PerformanceView, TimelineView
from control_plane.performance.series import bot_performance
from tests.factories import Owner, Urls
from tests.integration.history.rows import changes, day, days, healthy_days, hour, readings, session_of

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def timeline(
    api_db: Database, owner: Owner, bot: UUID, since: datetime, seen: datetime | None, points: int = 100
) -> TimelineView:
    async with session_of(api_db, owner) as session:
        return await bot_timeline(session, bot, since, None, seen_until=seen, words=str.upper, points=points)


async def test_a_bot_that_nobody_has_looked_at_is_not_up(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, api_db: Database, rollups: Rollups
) -> None:
    seen = day(10) + DAY / 2
    await changes(admin, owner, bot, [(day(12), "healthy")])
    for _ in range(2):
        now = datetime.now(UTC)
        for span in (DAY, 7 * DAY):
            view = await timeline(api_db, owner, bot, now - span, seen)
            assert [one.state for one in view.spans] == ["unknown"]
            assert (view.uptime.ratio, view.uptime.observed_s) == (None, 0)
        month = await timeline(api_db, owner, bot, day(30), seen)
        assert [(one.state, one.from_) for one in month.spans[1:]] == [("healthy", day(12)), ("unknown", seen)]
        assert (month.uptime.healthy_s, month.uptime.ratio) == (2.5 * 86400, 1)
        assert [one.uptime.healthy_s for one in month.buckets if one.uptime.observed_s] == [86400, 86400, 43200]
        await rollups.catch_up()


@pytest.fixture
async def in_berlin(admin: asyncpg.Connection) -> AsyncIterator[None]:
    """A database whose days are not all 24 hours long."""
    name = await admin.fetchval("select current_database()")
    await admin.execute(f"alter database \"{name}\" set timezone = 'Europe/Berlin'")
    yield
    await admin.execute(f'alter database "{name}" reset timezone')


async def test_every_connection_of_ours_is_in_utc(in_berlin: None, urls: Urls, owner: Owner) -> None:
    database, pool = Database(urls["api"]), await make_pool(urls["agent_scheduler"], "scheduler", size=1)
    try:
        async with session_of(database, owner) as session, visiting(urls["api"]) as visit:
            found = [(await one.execute(text("show timezone"))).scalar_one() for one in (session, visit)]
        assert [*found, await pool.fetchval("show timezone")] == ["UTC"] * 3
    finally:
        await database.close()
        await pool.close()


@pytest.mark.parametrize("start", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
async def test_a_day_has_24_hours_wherever_the_database_stands(
    admin: asyncpg.Connection, in_berlin: None, urls: Urls, owner: Owner, bot: UUID, start: datetime
) -> None:
    for table in ("performance_snapshots", "bot_health_changes"):
        await admin.execute("select ensure_partition($1, 'month', $2)", table, start)
    await admin.execute("select ensure_partitions(3)")
    await readings(admin, owner, bot, [(start + n * HOUR, "9" if n == 23 else "1") for n in range(48)])
    await changes(admin, owner, bot, [(start, "healthy"), (start + DAY, "unhealthy")])
    # As the database has it, whatever our own pools say.
    berlin = {"timezone": "Europe/Berlin"}
    async with asyncpg.create_pool(urls["agent_scheduler"], min_size=1, max_size=2, server_settings=berlin) as pool:
        await Rollups(pool, lag=timedelta(0), at_once=True).catch_up()
    assert [(row["bucket"], row["readings"], row["peak_so_far"]) for row in await days(admin, bot)] == [
        (start, 24, 9),
        (start + DAY, 24, 9),
    ]
    spent = [(row["bucket"], row["healthy_s"], row["unhealthy_s"]) for row in await healthy_days(admin, bot)]
    assert spent == [(start, 86400, 0), (start + DAY, 0, 86400)]


async def told(
    api_db: Database,
    owner: Owner,
    bot: UUID,
    interval: CurveInterval,
    since: datetime,
    *,
    silence: timedelta = 90 * DAY,
) -> PerformanceView:
    async with session_of(api_db, owner) as session:
        return await bot_performance(session, bot, since, None, interval, silence=silence)


async def test_a_bot_that_stands_low_stands_low_though_its_index_is_not_known_any_more(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, api_db: Database, rollups: Rollups
) -> None:
    await readings(admin, owner, bot, [(day(5), "1"), (day(5) + HOUR, "0.5")])
    await readings(admin, owner, bot, [(day(ago), None) for ago in (4, 3, 2)])
    for _ in range(2):
        view = await told(api_db, owner, bot, "1h", day(6))
        # What it is now nobody knows; what it was last is what later figures go on from.
        assert view.drawdown_since_start.current is None
        assert view.drawdown_since_start.maximum == Decimal("0.5")
        async with session_of(api_db, owner) as session:
            ever = await since_start(session, bot, (await extent(session, bot)).ready)
        assert ever.stretch is not None
        assert ever.stretch.current == Decimal("0.5")
        await rollups.catch_up()


async def test_what_comes_after_the_pass_is_told_before_the_next(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, api_db: Database, pool: asyncpg.Pool
) -> None:
    """The database was away over the end of an hour, and the poller held what it read."""
    start = hour(1)
    await readings(admin, owner, bot, [(start + n * MINUTE, "1") for n in range(20)])
    await admin.execute("update performance_snapshots set created_at = observed_at")
    await admin.execute("update rollup_progress set seen_until = $1, ready_until = $1", start - DAY)
    await Rollups(pool, lag=timedelta(0), at_once=True).catch_up()
    await readings(admin, owner, bot, [(start + n * MINUTE, "0.5") for n in range(20, 60)])
    intervals: tuple[CurveInterval, ...] = ("15m", "1h", "1d")
    for interval in intervals:
        view = await told(api_db, owner, bot, interval, day(1))
        assert [point.return_ for point in view.points if point.return_ is not None][-1] == Decimal("-0.5")
        assert view.drawdown_since_start.current == Decimal("0.5")
        view = await told(api_db, owner, bot, interval, day(1), silence=3 * MINUTE)
        assert [gap.from_ for gap in view.gaps if gap.from_ < start + 59 * MINUTE] == []
    newest = await admin.fetchval("select unit_value from newest_index($1, $2)", owner.tenant_id, bot)
    assert newest == Decimal("0.5")


@pytest.mark.parametrize("points", [2, 3, 10, 500])
@pytest.mark.parametrize("ago", [HOUR, 8 * DAY, 8 * DAY + MINUTE, 400 * DAY, 9000 * DAY])
async def test_buckets_are_as_many_as_asked_for_and_leave_nothing_out(
    owner: Owner, bot: UUID, api_db: Database, points: int, ago: timedelta
) -> None:
    since = datetime.now(UTC) - ago
    view = await timeline(api_db, owner, bot, since, None, points)
    assert 1 <= len(view.buckets) <= points
    assert view.from_ <= since
