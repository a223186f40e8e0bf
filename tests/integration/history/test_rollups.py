"""Rollups on a real database: whatever came, however late and however often it was looked at, is in them once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import pytest

from agents.scheduler.rollups import Rollups
from tests.factories import Owner
from tests.integration.history.rows import changes, day, days, healthy_days, hour, hours, readings

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture
def batch() -> int:
    return 2


async def test_an_hour_holds_what_was_read_in_it(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups
) -> None:
    start = hour(3)
    values = ["1", "1.5", None, "0.9", "1.2"]
    await readings(admin, owner, bot, [(start + n * MINUTE, value) for n, value in enumerate(values)], latency_ms=12.0)
    await readings(admin, owner, bot, [(start + 61 * MINUTE, None)])
    assert not await rollups.catch_up()
    first, second = await hours(admin, bot)
    assert (first["bucket"], first["readings"], first["first_at"], first["last_at"]) == (
        start, 5, start, start + 4 * MINUTE,
    )  # fmt: skip
    assert [first[f"equity_{name}"] for name in ("first", "last", "min", "max")] == [1000, 1200, 900, 1500]
    assert [first[f"unit_{name}"] for name in ("first", "last", "min", "max")] == [
        Decimal(x) for x in ("1", "1.2", "0.9", "1.5")
    ]
    assert (first["unit_drawdown"], first["unit_at"]) == (Decimal("0.4"), start + 4 * MINUTE)
    assert (first["currency"], first["simulated"], first["capital_base"]) == ("USDT", True, 1000)
    assert (first["latency_count"], first["latency_sum"], first["latency_max"]) == (5, 60, 12)
    assert (first["latency_bins"], first["latency_counts"]) == ([15], [5])
    # Of an hour in which nothing was known nothing is said, least of all zero.
    assert (second["readings"], second["equity_last"], second["unit_max"], second["unit_drawdown"]) == (
        1,
        None,
        None,
        None,
    )
    assert (second["latency_bins"], second["latency_max"]) == ([], None)


async def test_days_compose_and_carry_the_high_of_all_days_before(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups
) -> None:
    start = day(4)
    await readings(admin, owner, bot, [(start, "1"), (start + 5 * 60 * MINUTE, "2"), (start + 9 * 60 * MINUTE, "1.5")])
    await readings(admin, owner, bot, [(start + DAY, "1.8"), (start + DAY + 2 * MINUTE, "1.2")], latency_ms=3.0)
    await readings(admin, owner, bot, [(start + 3 * DAY, "4"), (start + 3 * DAY + 90 * MINUTE, "3.9")], latency_ms=3.0)
    await rollups.catch_up()
    found = await days(admin, bot)
    assert [row["bucket"] for row in found] == [start, start + DAY, start + 3 * DAY]
    assert [row["unit_drawdown"] for row in found] == [Decimal("0.25"), Decimal("0.33333333"), Decimal("0.025")]
    assert [row["peak_so_far"] for row in found] == [2, 2, 4]
    assert [row["drawdown_so_far"] for row in found] == [Decimal("0.25"), Decimal("0.4"), Decimal("0.4")]
    assert [row["readings"] for row in found] == [3, 2, 2]
    assert (found[2]["latency_bins"], found[2]["latency_counts"]) == ([7], [2])


async def test_a_late_reading_is_taken_up_and_all_days_after_it_know(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups
) -> None:
    start = day(3)
    await readings(admin, owner, bot, [(start + n * DAY, value) for n, value in enumerate(["1", "1.1", "1"])])
    await rollups.catch_up()
    assert [row["peak_so_far"] for row in await days(admin, bot)] == [1, Decimal("1.1"), Decimal("1.1")]
    await readings(admin, owner, bot, [(start + MINUTE, "2")])
    await rollups.catch_up()
    found = await days(admin, bot)
    assert [row["peak_so_far"] for row in found] == [2, 2, 2]
    assert [row["drawdown_so_far"] for row in found] == [0, Decimal("0.45"), Decimal("0.5")]
    assert found[0]["readings"] == 2


async def test_building_again_changes_nothing_and_a_builder_that_died_left_nothing_half_done(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups, pool: asyncpg.Pool
) -> None:
    await readings(admin, owner, bot, [(hour(9) + n * 20 * MINUTE, str(1 + n / 10)) for n in range(24)])
    assert await rollups.catch_up(steps=3)  # and then its process ends
    behind = await admin.fetchval("select ready_until from rollup_progress")
    await Rollups(pool, lag=timedelta(0), at_once=True).catch_up()
    assert await admin.fetchval("select ready_until > $1 from rollup_progress", behind)
    before = await hours(admin, bot), await days(admin, bot)
    assert sum(row["readings"] for row in before[0]) == 24
    await admin.execute("update rollup_progress set seen_until = '-infinity'")
    await rollups.catch_up()
    assert (await hours(admin, bot), await days(admin, bot)) == before
    assert await admin.fetchval("select count(*) from rollup_pending") == 0


async def test_two_builders_do_not_build_against_each_other(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, pool: asyncpg.Pool
) -> None:
    await readings(admin, owner, bot, [(day(2) + n * 10 * MINUTE, str(1 + n % 7)) for n in range(200)])
    builders = [Rollups(pool, lag=timedelta(0), batch=1, at_once=True) for _ in range(2)]
    await asyncio.gather(*(builder.catch_up() for builder in builders))
    await builders[0].catch_up()
    assert sum(row["readings"] for row in await hours(admin, bot)) == 200
    assert sum(row["readings"] for row in await days(admin, bot)) == 200


async def test_while_another_builds_there_is_nothing_to_do(admin: asyncpg.Connection, rollups: Rollups) -> None:
    async with admin.transaction():
        await admin.execute("select from rollup_progress for update")
        assert not await rollups.step()


async def test_an_hour_waits_until_it_is_over(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, pool: asyncpg.Pool
) -> None:
    await readings(admin, owner, bot, [(hour(1), "1")])
    builder = Rollups(pool, lag=timedelta(0))
    await builder.catch_up()
    seen = await admin.fetchval("select seen_until from rollup_progress")
    if seen >= hour():
        # What arrives within the hour is for the pass after it.
        await readings(admin, owner, bot, [(hour(2), "1")])
        assert not await builder.step()
        assert await admin.fetchval("select seen_until from rollup_progress") == seen


async def test_amounts_of_two_currencies_never_meet(
    admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups
) -> None:
    await readings(admin, owner, bot, [(hour(2), "90")], currency="BTC")
    await readings(admin, owner, bot, [(hour(2) + MINUTE, "1"), (hour(2) + 2 * MINUTE, "2")])
    await rollups.catch_up()
    for [row] in (await hours(admin, bot), await days(admin, bot)):
        assert (row["currency"], row["equity_first"], row["equity_max"]) == ("USDT", 1000, 2000)


async def test_a_day_of_health(admin: asyncpg.Connection, owner: Owner, bot: UUID, rollups: Rollups) -> None:
    start = day(5)
    at = [start + timedelta(hours=n) for n in (6, 12, 18)]
    await changes(admin, owner, bot, [(at[0], "healthy"), (at[1], "unhealthy"), (at[2], "healthy")], "timeout")
    await changes(admin, owner, bot, [(at[0] + 2 * DAY, "unhealthy")], "auth")
    await rollups.catch_up()
    first, second = await healthy_days(admin, bot)
    assert (first["bucket"], first["healthy_s"], first["unhealthy_s"], first["changes"]) == (start, 43200, 21600, 3)
    assert (first["last_state"], first["last_reason"]) == ("healthy", None)
    # It had been healthy from the evening on.
    assert (second["bucket"], second["healthy_s"], second["unhealthy_s"]) == (start + 2 * DAY, 21600, 64800)
    assert (second["last_state"], second["last_reason"]) == ("unhealthy", "auth")
    # Told later of a time before: nobody looked. The next day that is told of begins with it.
    await changes(admin, owner, bot, [(at[2] + MINUTE, "unknown")])
    await rollups.catch_up()
    first, second = await healthy_days(admin, bot)
    assert (first["healthy_s"], first["last_state"]) == (21660, "unknown")
    assert (second["healthy_s"], second["unhealthy_s"]) == (0, 64800)
