"""Curves and timelines over the real tables: rollups change what a read costs, and nothing of what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec
import pytest

from agents.scheduler.rollups import Rollups
from control_plane.database.sessions import Database
from control_plane.performance.health import bot_timeline
from control_plane.performance.schemas import CurveInterval, PerformanceView, TimelineView
from control_plane.performance.series import bot_performance
from tests.factories import Factory, Owner
from tests.integration.history.rows import changes, day, hour, readings, session_of

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
SILENCE = timedelta(seconds=190)


async def curve(
    api_db: Database,
    owner: Owner,
    bot: UUID,
    since: datetime,
    interval: CurveInterval | None,
    points: int | None = None,
    until: datetime | None = None,
) -> PerformanceView:
    async with session_of(api_db, owner) as session:
        return await bot_performance(session, bot, since, until, interval, points, silence=SILENCE)


async def timeline(
    api_db: Database,
    owner: Owner,
    bot: UUID,
    since: datetime,
    seen: datetime | None,
    until: datetime | None = None,
) -> TimelineView:
    async with session_of(api_db, owner) as session:
        return await bot_timeline(session, bot, since, until, seen_until=seen, words=str.upper)


def waves(start: datetime, count: int) -> list[tuple[datetime, str | None]]:
    """Readings 20 minutes apart whose index goes up and down; some say nothing."""
    return [
        (start + n * 20 * MINUTE, None if n % 11 == 3 else str(Decimal(100 + (n * 37) % 61) / 100))
        for n in range(count)
    ]


@pytest.mark.parametrize("interval", ["15m", "1h", "6h", "1d", "7d"])
async def test_rolled_up_or_not_the_curve_is_the_same(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database, interval: CurveInterval
) -> None:
    # Weeks are counted from one day on, whatever day it is: all readings must be of an earlier one than this.
    begin = day(13) if interval == "7d" else day(6)
    await readings(admin, owner, bot, waves(begin, 300))
    before = await curve(api_db, owner, bot, begin, interval)
    await rollups.catch_up()
    after = await curve(api_db, owner, bot, begin, interval)
    # The last point marks that nothing has been read since, up to now.
    trimmed = [msgspec.structs.replace(view, points=view.points[:-1], gaps=view.gaps[:-1]) for view in (before, after)]
    assert len(trimmed[0].points) >= 1
    assert trimmed[0] == trimmed[1]
    assert before.drawdown.maximum is not None
    assert before.drawdown.maximum > Decimal("0.3")
    assert before.drawdown_since_start == before.drawdown


@pytest.mark.parametrize(("interval", "points"), [(None, 100), ("1h", None), ("1d", 20), ("15m", 900)])
async def test_a_span_that_ends_in_the_future_shows_what_there_is(
    admin: asyncpg.Connection,
    owner: Owner,
    bot: UUID,
    rollups: Rollups,
    api_db: Database,
    interval: CurveInterval | None,
    points: int | None,
) -> None:
    await readings(admin, owner, bot, waves(day(6), 300))
    await rollups.catch_up()
    async with session_of(api_db, owner) as session:
        begin, later = day(6), datetime.now(UTC) + timedelta(days=3650)
        until_now = await bot_performance(session, bot, begin, None, interval, points, silence=SILENCE)
        beyond = await bot_performance(session, bot, begin, later, interval, points, silence=SILENCE)
    assert len(beyond.points) > 5
    # The last one of each marks that nothing has been read since, up to now.
    assert beyond.points[:-1] == until_now.points[:-1]


async def test_a_fall_and_its_recovery_within_an_interval_is_in_the_drawdown(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database
) -> None:
    values = ["1", "0.4", "1.1"]
    await readings(admin, owner, bot, [(hour(3) + n * MINUTE, value) for n, value in enumerate(values)])
    for _ in range(2):
        intervals: tuple[CurveInterval, ...] = ("15m", "1h", "1d")
        for interval in intervals:
            view = await curve(api_db, owner, bot, hour(4), interval, until=hour(3) + 3 * MINUTE)
            assert view.points[0].return_ == Decimal("0.1")
            assert [view.drawdown.current, view.drawdown.maximum] == [0, Decimal("0.6")]
            # Up to now nothing has been read for hours.
            view = await curve(api_db, owner, bot, hour(4), interval)
            assert [view.drawdown.current, view.drawdown.maximum] == [None, Decimal("0.6")]
        await rollups.catch_up()


async def test_points_are_bounded_by_a_coarser_interval(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database
) -> None:
    await readings(admin, owner, bot, [(hour(40) + n * 10 * MINUTE, "1") for n in range(240)])
    await rollups.catch_up()
    cases: list[tuple[CurveInterval | None, int | None, CurveInterval]] = [
        ("raw", 50, "1h"),
        ("15m", 50, "1h"),
        (None, 10, "6h"),
        ("15m", None, "15m"),
    ]
    for interval, points, expected in cases:
        view = await curve(api_db, owner, bot, hour(41), interval, points)
        assert (view.interval, len(view.points) <= (points or 2000)) == (expected, True)
    assert len((await curve(api_db, owner, bot, hour(41), "raw")).points) >= 240


async def aged(admin: asyncpg.Connection, bot: UUID, rollups: Rollups, table: str, at: str, until: datetime) -> None:
    """What ``retire_history`` leaves of a table once it holds nothing older."""
    await rollups.catch_up()
    await admin.execute(f"delete from {table} where bot_id = $1 and {at} < $2", bot, until)


async def test_a_curve_that_is_cut_says_so(
    api_db: Database, admin: asyncpg.Connection, owner: Owner, bot: UUID
) -> None:
    start = day(2)
    await readings(admin, owner, bot, [(start + n * MINUTE, "1") for n in range(2100)])
    asked: list[tuple[CurveInterval | None, bool]] = [("raw", False), ("1m", False), ("5m", True), (None, True)]
    for interval, complete in asked:
        view = await curve(api_db, owner, bot, start, interval, until=start + 2100 * MINUTE)
        assert (len(view.points) <= 2000, view.complete) == (True, complete)
    assert (await curve(api_db, owner, bot, start, "raw", until=start + 1900 * MINUTE)).complete


async def test_times_of_other_zones_are_answered_in_utc(
    api_db: Database, admin: asyncpg.Connection, owner: Owner, bot: UUID
) -> None:
    await readings(admin, owner, bot, waves(day(2), 10))
    away = timezone(timedelta(hours=5, minutes=30))
    since, until = day(2), day(2) + 5 * 20 * MINUTE
    there = await curve(api_db, owner, bot, since.astimezone(away), None, until=until.astimezone(away))
    assert there == await curve(api_db, owner, bot, since, None, until=until)
    assert there.points
    view = await timeline(api_db, owner, bot, since.astimezone(away), None, until=until.astimezone(away))
    assert {at.tzinfo for at in (view.from_, view.to, view.buckets[0].at, view.spans[0].from_)} == {UTC}


async def test_the_future_has_no_health(api_db: Database, owner: Owner, bot: UUID) -> None:
    ahead = datetime.now(UTC) + DAY
    view = await timeline(api_db, owner, bot, ahead, None, until=ahead + DAY)
    assert (view.spans, view.buckets, view.uptime.ratio) == ([], [], None)


async def test_where_single_readings_are_gone_hours_tell(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database
) -> None:
    await readings(admin, owner, bot, waves(day(40), 360))
    await rollups.catch_up()
    whole = await curve(api_db, owner, bot, day(40), "1h")
    await aged(admin, bot, rollups, "performance_snapshots", "observed_at", day(36))
    view = await curve(api_db, owner, bot, day(40), "1m")
    assert view.interval == "1h"
    assert view.points[:100] == whole.points[:100]
    assert view.drawdown_since_start == whole.drawdown_since_start
    # A bot that was silent for long has nothing to be told in hours.
    assert (await curve(api_db, owner, bot, day(1), "1m")).interval == "1m"


async def test_a_short_span_of_long_ago_is_told_by_what_is_kept_of_it(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database
) -> None:
    begin = day(50)
    await readings(admin, owner, bot, [(begin + n * 5 * MINUTE, str(Decimal(100 + n % 9) / 100)) for n in range(864)])
    since, until = begin + DAY + 610 * MINUTE, begin + DAY + 625 * MINUTE  # within an hour
    assert (await curve(api_db, owner, bot, since, None, until=until)).interval == "raw"
    await aged(admin, bot, rollups, "performance_snapshots", "observed_at", day(40))
    view = await curve(api_db, owner, bot, since, None, until=until)
    assert (view.interval, [point.at for point in view.points]) == ("1h", [begin + DAY + 655 * MINUTE])
    await aged(admin, bot, rollups, "performance_hourly", "bucket", day(40))
    view = await curve(api_db, owner, bot, since, "5m", until=until)
    assert (view.interval, [point.at for point in view.points]) == ("1d", [begin + 2 * DAY - 5 * MINUTE])


async def test_health_of_a_day_long_ago_is_told_by_what_is_kept_of_it(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database
) -> None:
    begin = day(50)
    down, up = begin + DAY + 6 * 60 * MINUTE, begin + DAY + 12 * 60 * MINUTE
    await changes(admin, owner, bot, [(begin, "healthy"), (down, "unhealthy"), (up, "healthy"), (day(3), "unknown")])
    await readings(admin, owner, bot, [(begin + n * 5 * MINUTE, "1") for n in range(864)], latency_ms=20.0)
    since, until = begin + DAY + 90 * MINUTE, begin + 2 * DAY + 90 * MINUTE

    async def told() -> tuple[str, int, float | None, float]:
        view = await timeline(api_db, owner, bot, since, None, until)
        return view.interval, view.latency.readings, view.uptime.ratio, view.uptime.observed_s

    assert await told() == ("15m", 288, 0.75, 86400)
    await aged(admin, bot, rollups, "performance_snapshots", "observed_at", day(40))
    # Hours cannot be cut: the first and the last are whole.
    assert await told() == ("1h", 25 * 12, round(1 - 6 / 24.5, 6), 24.5 * 3600)
    await aged(admin, bot, rollups, "bot_health_changes", "at", day(40))
    assert await told() == ("1d", 2 * 288, 0.875, 2 * 86400)


async def test_the_index_of_a_bin_is_the_last_known(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database
) -> None:
    values = ["1", "0.4", "0.9", None]
    await readings(admin, owner, bot, [(hour(3) + n * MINUTE, value) for n, value in enumerate(values)])
    for _ in range(2):
        intervals: tuple[CurveInterval, ...] = ("15m", "1h")
        for interval in intervals:
            for until, current in ((hour(3) + 2 * MINUTE, "0.1"), (hour(3) + 3 * MINUTE, None)):
                view = await curve(api_db, owner, bot, hour(4), interval, until=until)
                assert view.points[0].return_ == Decimal("-0.1")
                # What the newest reading does not tell is known of a while ago, and not of now.
                known = None if current is None else Decimal(current)
                assert [view.drawdown.current, view.drawdown.maximum] == [known, Decimal("0.6")]
        await rollups.catch_up()


@pytest.mark.parametrize(
    ("ago_s", "values", "current"),
    [
        (60, ["1", "0.4", "0.9"], "0.1"),
        (60, ["1", "0.4", None], None),
        (3600, ["1", "0.4", "0.9"], None),
        (4 * 86400, ["1", "0.4", "0.9"], None),
    ],
)
async def test_drawdown_is_unknown_where_the_newest_reading_tells_none_or_is_old(
    admin: asyncpg.Connection,
    owner: Owner,
    bot: UUID,
    rollups: Rollups,
    api_db: Database,
    ago_s: int,
    values: list[str | None],
    current: str | None,
) -> None:
    newest = datetime.now(UTC) - timedelta(seconds=ago_s)
    await readings(admin, owner, bot, [(newest - n * MINUTE, value) for n, value in enumerate(reversed(values))])
    known = None if current is None else Decimal(current)
    intervals: tuple[CurveInterval, ...] = ("raw", "15m", "1h", "1d")
    for _ in range(2):
        for interval in intervals:
            view = await curve(api_db, owner, bot, day(6), interval)
            assert [view.drawdown.current, view.drawdown_since_start.current] == [known, known]
            assert [view.drawdown.maximum, view.drawdown_since_start.maximum] == [Decimal("0.6"), Decimal("0.6")]
        await rollups.catch_up()
    # A span of before has an end of its own; what is so since the start is so now.
    if ago_s == 3600:
        view = await curve(api_db, owner, bot, day(6), "raw", until=newest + MINUTE)
        assert [view.drawdown.current, view.drawdown_since_start.current] == [Decimal("0.1"), None]


async def test_another_tenant_sees_nothing(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, api_db: Database, factory: Factory
) -> None:
    await readings(admin, owner, bot, waves(day(3), 200))
    await changes(admin, owner, bot, [(day(3), "healthy")])
    await rollups.catch_up()
    other = await factory.owner("Bob")
    intervals: tuple[CurveInterval, ...] = ("raw", "15m", "1h", "1d")
    for interval in intervals:
        view = await curve(api_db, other, bot, day(4), interval)
        assert (view.points, view.drawdown_since_start.maximum) == ([], None)
    told = await timeline(api_db, other, bot, day(20), None)
    assert [span.state for span in told.spans] == ["unknown"]


async def test_a_day_of_health_in_spans(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, api_db: Database, rollups: Rollups
) -> None:
    begin = hour(20)
    told = [(begin, "healthy"), (begin + 60 * MINUTE, "unhealthy"), (begin + 90 * MINUTE, "healthy")]
    await changes(admin, owner, bot, told, "timeout")
    await readings(admin, owner, bot, [(begin + n * MINUTE, "1") for n in range(30)], latency_ms=20.0)
    for _ in range(2):
        view = await timeline(api_db, owner, bot, hour(21), begin + 120 * MINUTE)
        assert [(span.state, span.from_, span.text) for span in view.spans] == [
            ("unknown", hour(21), None),
            ("healthy", begin, None),
            ("unhealthy", begin + 60 * MINUTE, "TIMEOUT"),
            ("healthy", begin + 90 * MINUTE, None),
            # Nobody has looked since, whatever was said last.
            ("unknown", begin + 120 * MINUTE, None),
        ]
        assert (view.uptime.ratio, view.uptime.observed_s, view.complete) == (0.75, 7200, True)
        assert view.interval == "15m"
        assert 84 <= len(view.buckets) <= 88
        assert view.latency.readings == 30
        assert view.latency.median_ms == pytest.approx(20, rel=0.1)
        assert sum(bucket.uptime.healthy_s for bucket in view.buckets) == 5400
        await rollups.catch_up()


async def test_a_month_of_health_is_told_by_days_and_years_after_the_changes_are_gone(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, api_db: Database, rollups: Rollups
) -> None:
    start = day(29)
    told = [(start, "healthy"), (start + 10 * DAY, "unhealthy"), (start + 11 * DAY, "healthy"), (day(2), "unknown")]
    await changes(admin, owner, bot, told, "auth")
    before = await timeline(api_db, owner, bot, start, None)
    await rollups.catch_up()
    after = await timeline(api_db, owner, bot, start, None)
    assert (after.uptime.ratio, after.uptime.observed_s) == (round(26 / 27, 6), 27 * 86400)
    assert after.buckets[:28] == before.buckets[:28]
    assert (after.interval, after.buckets[10].uptime.ratio, after.buckets[28].uptime.ratio) == ("1d", 0, None)
    await admin.execute("delete from bot_health_changes where at < $1", day(20))
    later = await timeline(api_db, owner, bot, day(15), None)
    assert later.spans[0].state == "healthy"
    assert later.buckets[0].uptime.ratio == 1


async def test_a_flapping_bot_has_no_more_spans_than_a_screen_shows(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, api_db: Database
) -> None:
    now = datetime.now(UTC)
    told = [(now - n * MINUTE, "healthy" if n % 2 else "unhealthy") for n in range(1, 1201)]
    await changes(admin, owner, bot, told, "timeout")
    view = await timeline(api_db, owner, bot, now - DAY, now)
    assert (len(view.spans), view.complete) == (500, False)
    assert view.uptime.ratio == pytest.approx(0.5, abs=0.01)
    assert view.uptime.observed_s == pytest.approx(72000, abs=60)
