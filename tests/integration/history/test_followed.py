"""What a subscription to a shared bot was worth: told over its whole time, and drawn where something is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from agents.scheduler.rollups import Rollups
from control_plane.bots.queries import gap_after
from control_plane.dashboard.curve import with_gaps
from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.settings import Settings, load_settings
from control_plane.subscriptions.queries import subscription_performance
from control_plane.subscriptions.schemas import WorthView
from tests.api import Api, Person
from tests.world import shared, subscribe

DAY = timedelta(days=1)
_MINUTES = """
    insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, simulated, equity, capital_base,
        unit_value)
    select $1, $2, t, 'USDT', true, 1000, 1000, 1
    from generate_series(now() - $3::interval, now() - interval '20 seconds', $4::interval) t
"""


class Followed(msgspec.Struct, frozen=True):
    """Somebody's subscription to somebody else's bot."""

    id: str
    person: Person
    creator: UUID
    bot: UUID


async def followed_for(api: Api, admin: asyncpg.Connection, days: int, apart: timedelta) -> Followed:
    """A subscription that is so many days old, to a bot whose index was told all the time."""
    ada, bob = await api.person("ada"), await api.person("bob")
    template, bot = await shared(ada, admin, name="Shared")
    own = await subscribe(bob, template)
    await admin.execute("alter table subscription_ledger disable trigger user")
    for table in ("subscriptions", "subscription_ledger"):
        await admin.execute(f"update {table} set created_at = now() - make_interval(days => $1)", days)
    await admin.execute("alter table subscription_ledger enable trigger user")
    await admin.execute("delete from performance_snapshots")
    for month in range(days // 28 + 2):
        await admin.execute(
            "select ensure_partition('performance_snapshots', 'month', now() - make_interval(days => $1))",
            28 * month,
        )
    await admin.execute("select ensure_partitions(0)")
    await admin.execute(_MINUTES, ada.tenant_id, bot, days * DAY, apart)
    return Followed(own["id"], bob, ada.tenant_id, bot)


async def worth(api_db: Database, followed: Followed, since: datetime, until: datetime | None = None) -> WorthView:
    async with api_db.transaction(Binding(tenant_id=followed.person.tenant_id)) as session:
        return await subscription_performance(session, load_settings({}), UUID(followed.id), since, until, None)


async def test_a_curve_is_no_row_of_holes(
    api: Api, api_db: Database, admin: asyncpg.Connection, pool: asyncpg.Pool, settings: Settings
) -> None:
    followed = await followed_for(api, admin, 20, timedelta(minutes=1))
    for _ in range(2):
        for days in (1, 7, 30):
            view = await worth(api_db, followed, datetime.now(UTC) - days * DAY)
            assert len(view.points) > 100
            drawn = with_gaps(view.points, view.interval_s, gap_after(settings))
            assert [at for at, value in drawn if value is None] == []
        await Rollups(pool, lag=timedelta(0), at_once=True).catch_up()


async def gone(admin: asyncpg.Connection, table: str, at: str, days: float) -> None:
    """What ``retire_history`` leaves of a table once it holds nothing older."""
    await admin.execute(f"delete from {table} where {at} < now() - make_interval(hours => $1)", int(24 * days))


async def test_a_curve_keeps_its_beginning_and_a_short_span_of_long_ago_is_told(
    api: Api, api_db: Database, admin: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    followed = await followed_for(api, admin, 130, timedelta(minutes=10))
    await Rollups(pool, lag=timedelta(0), at_once=True).catch_up()
    now = datetime.now(UTC)

    async def told(since: float, until: float = 0) -> tuple[Any, ...]:
        """How many points, how far apart, and how many days ago the first."""
        view = await worth(api_db, followed, now - since * DAY, now - until * DAY)
        assert {point.equity for point in view.points} == {1000}
        return len(view.points), view.interval_s, round((now - view.points[0].at) / DAY, 1)

    # What takes months is told by days, so that years cost no more.
    points, apart, first = await told(400)
    assert (130 <= points <= 132, apart, 128.9 < first <= 130) == (True, 86400, True)
    points, apart, first = await told(90)
    assert (380 < points <= 502, apart, 89 < first <= 90) == (True, pytest.approx(15552, abs=5), True)
    assert await told(62, 61) == (144, pytest.approx(172.8), 62)
    await gone(admin, "performance_snapshots", "observed_at", 50)
    points, apart, first = await told(62, 61)
    assert (24 <= points <= 25, apart, first) == (True, 3600, pytest.approx(62, abs=0.05))
    assert (await told(90))[2] > 89
    await gone(admin, "performance_hourly", "bucket", 30)
    points, apart, first = await told(62, 61)
    assert (1 <= points <= 2, apart) == (True, 86400)
    points, apart, first = await told(90)
    assert (90 <= points <= 92, apart, first > 88) == (True, 86400, True)
    # What is kept in full is told in full.
    assert (await told(20))[1] == 3600
