"""What a subscription to a shared bot was worth: told over its whole time, and drawn where something is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from agents.scheduler.rollups import Rollups
from control_plane.bots.queries import gap_after
from control_plane.dashboard.curve import with_gaps
from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.settings import Settings
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
        return await subscription_performance(session, UUID(followed.id), since, until, None)


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
