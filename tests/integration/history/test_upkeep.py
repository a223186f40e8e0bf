"""Partitions come and go, what people hold is worth what it was, and listings are sorted by what is so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from agents.scheduler.history import refresh_scores, retire_history
from agents.scheduler.rollups import Rollups
from control_plane.database.migrate import downgrade, migrate
from control_plane.settings import Settings, load_settings
from tests.api import Api
from tests.factories import Owner, Urls
from tests.integration.history.rows import day, days, hour, hours, readings
from tests.waiting import until
from tests.world import published, shared, snapshot, subscribe

HOUR = timedelta(hours=1)
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
            before = await partitions(admin, "performance_snapshots")
            await retire_history(pool, KEPT)
            assert await partitions(admin, "performance_snapshots") == before
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


async def turned(admin: asyncpg.Connection, owner: UUID, bot: UUID, told: list[tuple[datetime, str, bool]]) -> None:
    """Readings of a bot of which some were simulated."""
    await admin.executemany(
        "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, simulated, equity, capital_base,"
        " unit_value) values ($1, $2, $3, 'USDT', $4, 1000, 1000, $5)",
        [(owner, bot, at, simulated, Decimal(value)) for at, value, simulated in told],
    )


@pytest.mark.parametrize("live", [True, False])
async def test_what_was_simulated_is_not_shown_as_live(api: Api, admin: asyncpg.Connection, live: bool) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template, bot = await shared(ada, admin, name="Turned")
    steady, other = await shared(ada, admin, name="Steady")
    for table in ("performance_snapshots", "performance_hourly", "performance_daily"):
        await admin.execute(f"delete from {table}")
    builder = Rollups(api.scheduler.pool, lag=timedelta(0), at_once=True)
    await turned(admin, ada.tenant_id, other, [(day(5), "1", False), (hour(30), "1.5", False)])
    # Simulated it made four of one and lost half of that; then one day at noon it went live, and this is what it did.
    before = [
        (day(5), "8", live),
        (day(4), "4", live),
        (day(3) + 11 * HOUR, "2", live),
        (day(3) + 12 * HOUR, "4", live),
    ]
    after = [(60, "4"), (70, "5"), (80, "4.5"), (200, "5"), (1440, "4.4"), (2000, "4.8")]
    await turned(admin, ada.tenant_id, bot, before)
    await turned(
        admin,
        ada.tenant_id,
        bot,
        [(day(3) + 12 * HOUR + n * timedelta(minutes=1), value, not live) for n, value in after],
    )

    async def shown() -> tuple[Any, ...]:
        view = (await bob.call("GET", f"/marketplace/{template}", status=200))["performance"]
        return view["simulated"], Decimal(view["return"]), Decimal(view["max_drawdown"]), view["since"]

    since = (day(3) + 13 * HOUR).isoformat().replace("+00:00", "Z")
    for _ in range(2):
        assert await shown() == (not live, Decimal("0.2"), Decimal("0.12"), since)
        await refresh_scores(api.scheduler.pool)
        page = await bob.call("GET", "/marketplace", params={"sort": "return"}, status=200)
        assert [item["id"] for item in page["items"]] == [str(steady), str(template)]
        await builder.catch_up()
    # Where readings and hours are gone, it begins with the first whole day.
    await admin.execute("delete from performance_snapshots where observed_at < $1", day(2))
    assert (await shown())[:3] == (not live, Decimal("0.2"), Decimal("0.12"))
    await admin.execute("delete from performance_hourly where bucket < $1", day(2))
    assert (await shown())[1] == round(Decimal("4.8") / Decimal("4.4") - 1, 12)
    # And back: what was shown is not shown any more, from the first reading on.
    await turned(admin, ada.tenant_id, bot, [(datetime.now(UTC) - timedelta(minutes=2), "4.8", live)])
    assert (await shown())[:3] == (live, 0, 0)
    assert (await bob.call("GET", f"/marketplace/{steady}", status=200))["performance"]["return"] == "0.500000000000"


async def test_what_somebody_holds_keeps_nothing_else_and_nobody_waiting(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, pool: asyncpg.Pool, urls: Urls
) -> None:
    await readings(admin, owner, bot, [(await older(admin, 5), "1")])
    await rollups.catch_up()
    before = {parent: await partitions(admin, parent) for parent in ("performance_snapshots", "performance_hourly")}
    reader = await asyncpg.connect(urls.admin)
    try:
        async with reader.transaction():
            await reader.fetch("select * from performance_hourly")
            assert await retire_history(pool, KEPT) > 0
            assert await partitions(admin, "performance_hourly") == before["performance_hourly"]
            assert len(await partitions(admin, "performance_snapshots")) < len(before["performance_snapshots"])
    finally:
        await reader.close()
    # One in a transaction, because what it has taken it holds until the end, and a poller writes meanwhile.
    assert await pool.fetchval("select retire_history(1, 2, 1)") == 1
    assert len(await partitions(admin, "performance_hourly")) == len(before["performance_hourly"]) - 1
    assert await retire_history(pool, KEPT) > 0
    assert await retire_history(pool, KEPT) == 0


async def test_two_schedulers_make_partitions_at_once(
    admin: asyncpg.Connection, pool: asyncpg.Pool, urls: Urls
) -> None:
    first = await asyncpg.connect(urls.admin)
    try:
        held = first.transaction()
        await held.start()
        assert await first.fetchval("select ensure_partitions(7)") > 0
        second = asyncio.create_task(pool.fetchval("select ensure_partitions(7)"))
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        await until(lambda: admin.fetchval(waiting), what="the second waits for the first")
        await held.commit()
        assert await second == 0
    finally:
        await first.close()


async def test_what_was_there_before_is_told_apart_after_an_upgrade(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, urls: Urls
) -> None:
    told = [(day(5), "1", True), (day(4), "2", False), (day(3), "3", True), (day(2), "4", True)]
    await turned(admin, owner.tenant_id, bot, told)
    await rollups.catch_up()
    found = [(row["simulated_at"], row["live_at"]) for row in await days(admin, bot)]
    assert found == [(day(5), None), (day(5), day(4)), (day(3), day(4)), (day(2), day(4))]
    await downgrade(urls.admin, revision="0023")
    await migrate(urls.admin)
    assert [(row["simulated_at"], row["live_at"]) for row in await days(admin, bot)] == found
