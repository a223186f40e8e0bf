"""What cannot be kept is counted, costs nothing else, and is told as unknown."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec

from agents.engines.base import Reading, Reason
from tests.factories import Factory
from tests.integration.poller.parts import READING, bots_at, holding, reading_with, recorder_of, result_of, watched_bots
from tests.integration.poller.rows import changes_of_health, health_row, lost_rows, snapshots


async def test_what_does_not_fit_is_lost_oldest_first_and_counted(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, lost = recorder_of(pool, shards, limit=5), lost_rows("overflow")
    watched = (await watched_bots(pool))[bot]
    results = [result_of(watched, shards, after=timedelta(seconds=15 * step)) for step in range(10)]
    for result in results:
        recorder.put(result)
    assert recorder.waiting == 5
    assert lost_rows("overflow") == lost + 6  # ten snapshots and one change of health, which goes last
    await recorder.flush()
    kept = [row["observed_at"] for row in await snapshots(admin, bot)]
    assert kept == [result.decision.health.observed_at for result in results[6:]]
    assert await changes_of_health(admin, bot) == [("healthy", None, None)]
    assert (await health_row(admin, bot))["observed_at"] == kept[-1]


REFUSES_US = Reading(reachable=True, credential_ok=False, full=False, reason=Reason.AUTH)


async def test_a_change_that_was_lost_is_told_as_unknown_and_what_is_after_it_as_it_is(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    first, second = await bots_at(factory, await factory.owner(), 2, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched, lost = recorder_of(pool, shards, limit=1), await watched_bots(pool), lost_rows("overflow")
    for bot in (first, second):
        recorder.put(result_of(watched[bot], shards, msgspec.structs.replace(READING, full=False)))
        await recorder.flush()
    # The database is away: both begin to refuse us, and there is room for one change.
    looks = [
        result_of(watched[bot], shards, REFUSES_US, after=timedelta(seconds=after), reason="auth")
        for after, bot in ((15, first), (16, second), (30, first))
    ]
    for look in looks:
        recorder.put(look)
    assert lost_rows("overflow") == lost + 1
    await recorder.flush()
    rows = await admin.fetch("select at, state from bot_health_changes where bot_id = $1 order by at", first)
    assert [tuple(row) for row in rows[1:]] == [
        (looks[0].decision.health.observed_at, "unknown"),
        (looks[2].decision.health.observed_at, "unhealthy"),
    ]
    assert await changes_of_health(admin, second) == [("healthy", None, None), ("unhealthy", "auth", None)]
    # That is all: what comes after it is nothing new.
    recorder.put(result_of(watched[first], shards, REFUSES_US, after=timedelta(seconds=45), reason="auth"))
    await recorder.flush()
    assert len(await changes_of_health(admin, first)) == 3


async def test_a_row_that_is_refused_costs_no_other_of_its_bot_and_a_change_is_made_good(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    await admin.execute("alter table bot_health_changes add constraint picky check (trading_state <> 'paused')")
    shards = await holding(pool)
    recorder, watched, lost = recorder_of(pool, shards), (await watched_bots(pool))[bot], lost_rows("refused")
    looks = [
        result_of(watched, shards, reading_with(trading_state=state), after=timedelta(seconds=15 * step))
        for step, state in enumerate(("running", "paused", "stopped", "paused", "paused"))
    ]
    for look in looks[:4]:
        recorder.put(look)
    await recorder.flush()
    assert len(await snapshots(admin, bot)) == 4
    assert await changes_of_health(admin, bot) == [("healthy", None, "running"), ("healthy", None, "stopped")]
    assert (await health_row(admin, bot))["trading_state"] == "paused"
    assert lost_rows("refused") == lost + 2
    await admin.execute("alter table bot_health_changes drop constraint picky")
    recorder.put(looks[4])
    await recorder.flush()
    rows = await admin.fetch(
        "select at, state, trading_state from bot_health_changes where bot_id = $1 order by at", bot
    )
    assert [tuple(row)[1:] for row in rows] == [
        ("healthy", "running"),
        ("unknown", None),
        ("healthy", "stopped"),
        ("healthy", "paused"),
    ]
    assert rows[1]["at"] == looks[1].decision.health.observed_at
    assert lost_rows("refused") == lost + 2


async def test_figures_that_cannot_even_be_compared_cost_no_others_of_their_bot(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched, lost = recorder_of(pool, shards), (await watched_bots(pool))[bot], lost_rows("refused")
    odd: Any = 10.5
    for step, equity in enumerate((Decimal(1000), odd, Decimal(1100))):
        recorder.put(result_of(watched, shards, reading_with(equity=equity), after=timedelta(seconds=15 * step)))
    await recorder.flush()
    assert [row["unit_value"] for row in await snapshots(admin, bot)] == [1, Decimal("1.1")]
    assert await changes_of_health(admin, bot) == [("healthy", None, None)]
    assert lost_rows("refused") == lost + 1


async def test_a_bot_that_rested_for_longer_than_its_history_reaches_is_recorded(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await bots_at(factory, await factory.owner(), 2, status="connected", observed_generation=1)
    await admin.execute("select ensure_partition('bot_health_changes', 'month', now() - interval '3 months')")
    begin = await admin.fetchval("select date_trunc('month', now() - interval '3 months', 'UTC')")
    seen = "update bot_health set state = 'healthy', observed_generation = 1, observed_at = $2 where id = $1"
    for bot, before in zip(bots, (begin - timedelta(days=9), begin + timedelta(days=9)), strict=True):
        await admin.execute(seen, bot, before)
    shards = await holding(pool)
    recorder, lost = recorder_of(pool, shards), lost_rows("refused")
    for watched in (await watched_bots(pool)).values():
        recorder.put(result_of(watched, shards, REFUSES_US, reason="auth"))
    await recorder.flush()
    assert lost_rows("refused") == lost
    told = "select at from bot_health_changes where bot_id = $1 and state = 'unknown'"
    assert await admin.fetchval(told, bots[0]) == begin
    assert begin + timedelta(days=9) < await admin.fetchval(told, bots[1]) < begin + timedelta(days=10)
    for bot in bots:
        assert await changes_of_health(admin, bot) == [("unknown", None, None), ("unhealthy", "auth", None)]


async def test_what_an_ending_process_takes_with_it_is_counted_by_rows(factory: Factory, pool: asyncpg.Pool) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, lost, overflown = recorder_of(pool, shards, limit=5), lost_rows("shutdown"), lost_rows("overflow")
    watched = (await watched_bots(pool))[bot]
    for step in range(7):
        recorder.put(result_of(watched, shards, after=timedelta(seconds=15 * step)))
    recorder.give_up()
    # Seven snapshots and one change of health, of which five had room.
    assert (lost_rows("shutdown") - lost, lost_rows("overflow") - overflown) == (5, 3)
