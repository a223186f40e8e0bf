"""Partitions come and go, what people hold is worth what it was, and listings are sorted by what is so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec
import pytest

from agents.scheduler.history import refresh_scores, retire_history
from agents.scheduler.rollups import Rollups
from control_plane.settings import Settings, load_settings
from tests.api import Api
from tests.factories import Factory, Owner, Urls
from tests.integration.history.rows import days, hours, readings
from tests.world import published, shared, snapshot, subscribe

MONTH = timedelta(days=31)
KEPT = load_settings({}, snapshot_retention_months=1, hourly_retention_months=2, daily_retention_years=1)


async def partitions(admin: asyncpg.Connection, parent: str) -> list[str]:
    rows = await admin.fetch(
        "select c.relname::text as name from pg_inherits h join pg_class c on c.oid = h.inhrelid"
        " where h.inhparent = $1::text::regclass order by 1",
        parent,
    )
    return [row["name"] for row in rows]


async def older(admin: asyncpg.Connection, months: int) -> datetime:
    """The begin of a month long ago, with a place for its readings."""
    at: datetime = await admin.fetchval(
        "select date_trunc('month', now(), 'UTC') - make_interval(months => $1::integer)", months
    )
    await admin.execute("select ensure_partition('performance_snapshots', 'month', $1)", at)
    await admin.execute("select ensure_partitions(0)")
    return at


@pytest.fixture
async def bot(factory: Factory, owner: Owner) -> UUID:
    return await factory.bot(owner)


async def test_single_readings_go_first_and_days_stay(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, pool: asyncpg.Pool
) -> None:
    long_ago, lately = await older(admin, 5), await older(admin, 2)
    await readings(admin, owner, bot, [(long_ago, "1"), (lately, "2"), (datetime.now(UTC), "3")])
    # Nothing goes that is not rolled up yet, whatever the settings say.
    assert await retire_history(pool, KEPT) == 0
    assert len(await partitions(admin, "performance_hourly")) >= 6
    await rollups.catch_up()
    await admin.execute("update rollup_progress set ready_until = now() - interval '100 days'")
    await retire_history(pool, KEPT)
    assert await admin.fetchval("select count(*) from performance_snapshots") == 2
    await rollups.catch_up()
    await retire_history(pool, KEPT)
    assert await admin.fetchval("select array_agg(unit_value) from performance_snapshots") == [3]
    assert [row["unit_last"] for row in await hours(admin, bot)] == [2, 3]
    assert [row["unit_last"] for row in await days(admin, bot)] == [1, 2, 3]
    assert [row["peak_so_far"] for row in await days(admin, bot)] == [1, 2, 3]
    assert await retire_history(pool, KEPT) == 0


async def test_who_holds_a_table_is_not_waited_for(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, pool: asyncpg.Pool, urls: Urls
) -> None:
    await readings(admin, owner, bot, [(await older(admin, 5), "1")])
    await rollups.catch_up()
    reader = await asyncpg.connect(urls.admin)
    try:
        async with reader.transaction():
            await reader.fetch("select * from performance_snapshots")
            assert await retire_history(pool, KEPT) == 0
    finally:
        await reader.close()
    assert await retire_history(pool, KEPT) > 0


async def test_a_tenant_that_goes_takes_its_history_along(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups
) -> None:
    await readings(admin, owner, bot, [(datetime.now(UTC), "1")])
    await rollups.catch_up(steps=2)
    await admin.execute("delete from tenants where id = $1", owner.tenant_id)
    for table in ("performance_snapshots", "performance_hourly", "performance_daily", "rollup_pending"):
        assert await admin.fetchval(f"select count(*) from {table}") == 0


async def test_the_scheduler_brings_listings_into_order(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    plain = str(await published(ada, name="Plain"))
    listed = {}
    for name, value in (("Poor", "0.9"), ("Good", "1.4"), ("Fair", "1.1")):
        template, bot = await shared(ada, admin, name=name)
        await snapshot(admin, ada.tenant_id, bot, unit_value=Decimal(value))
        listed[name] = str(template)
    await api.scheduler.roll_up()

    async def by_return() -> list[str]:
        page = await bob.call("GET", "/marketplace", params={"sort": "return"}, status=200)
        return [item["id"] for item in page["items"]]

    assert await by_return() == [listed["Good"], listed["Fair"], listed["Poor"], plain]
    # Nothing changed, so nothing is written.
    assert await refresh_scores(api.scheduler.pool) == 0
    # What is shown is of this moment, and order follows with the next pass.
    await snapshot(admin, ada.tenant_id, bot, unit_value=Decimal(3), at=datetime.now(UTC) + timedelta(seconds=1))
    page = await bob.call("GET", f"/marketplace/{listed['Fair']}", status=200)
    assert Decimal(page["performance"]["return"]) == 2
    assert await refresh_scores(api.scheduler.pool) == 1
    assert (await by_return())[0] == listed["Fair"]


async def test_what_is_held_keeps_its_worth_when_readings_are_gone(
    api: Api, admin: asyncpg.Connection, settings: Settings
) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    own = await subscribe(bob, await published(ada))
    template, bot = await shared(ada, admin, name="Shared")
    followed = await subscribe(bob, template)
    now = datetime.now(UTC)
    await snapshot(admin, bob.tenant_id, UUID(own["bot_id"]), unit_value=Decimal("1.2"), equity=Decimal(1200), at=now)
    await snapshot(admin, ada.tenant_id, bot, unit_value=Decimal("1.5"), at=now)
    await Rollups(api.scheduler.pool, lag=timedelta(0), at_once=True).catch_up()

    async def worth() -> list[str]:
        found = [await bob.call("GET", f"/subscriptions/{one['id']}", status=200) for one in (own, followed)]
        shown = await bob.call("GET", f"/marketplace/{template}", status=200)
        return [*(one["equity"] for one in found), shown["performance"]["return"]]

    before = await worth()
    # Years later, that is: everything is in days, and nothing else is left.
    await admin.execute("truncate performance_snapshots, performance_hourly")
    await admin.execute(
        "update rollup_progress set seen_until = now() + interval '2 days', ready_until = now() + '2 d'"
    )
    assert await worth() == before
    assert before[0] == "1200.00000000"
    assert msgspec.convert(before[2], Decimal) == Decimal("0.5")
