"""Where a bot's index goes on, whatever its history is, and what is another story."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest

from agents.poller.intervals import Intervals
from agents.poller.marks import MARKS
from agents.poller.watched import Fleet, load_bots
from control_plane.settings import load_settings
from tests.factories import Factory, Urls
from tests.integration.poller.parts import bots_at, holding, reading_with, recorder_of, result_of, watched_bots
from tests.integration.poller.rows import events, snapshots


async def test_an_index_that_was_of_money_made_up_goes_on_with_real_money(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    read, of_days = bots = await bots_at(factory, owner, 2)
    await admin.execute(
        "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, simulated, equity, capital_base,"
        " unit_value) values ($1, $2, now() - interval '1 hour', 'USDT', true, 1500, 1000, 1.5)",
        owner.tenant_id,
        read,
    )
    await admin.execute(_DAYS_AGO, owner.tenant_id, of_days, 1, Decimal("1.5"))
    await admin.execute("update performance_daily set simulated = true")
    shards = await holding(pool)
    recorder = recorder_of(pool, shards)
    real = reading_with(equity=Decimal(200), capital_base=Decimal(200), simulated=False)
    for watched in (await watched_bots(pool)).values():
        recorder.put(result_of(watched, shards, real))
    await recorder.flush()
    assert [(await snapshots(admin, bot))[-1]["unit_value"] for bot in bots] == [Decimal("1.5")] * 2


async def test_a_bot_that_is_pointed_elsewhere_neither_gains_nor_loses(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), (await watched_bots(pool))[bot]
    rich = reading_with(equity=Decimal(1500), closed_trades=3, identity="x@1")
    recorder.put(result_of(watched, shards, rich))
    await recorder.flush()
    watched.bot = msgspec.structs.replace(watched.bot, generation=2, api_url="http://10.0.0.99:8080")
    other = reading_with(equity=Decimal(200), capital_base=Decimal(200), closed_trades=1, identity="x@2")
    recorder.put(result_of(watched, shards, other, after=timedelta(seconds=15)))
    await recorder.flush()
    assert [row["unit_value"] for row in await snapshots(admin, bot)] == [1, 1]
    assert {row["kind"] for row in await events(admin, bot)} <= {"status"}


@pytest.mark.parametrize(("address", "value"), [("http://10.0.0.99:8080", 1), ("http://10.0.0.1:8080", Decimal("0.5"))])
async def test_so_it_is_with_a_bot_that_was_switched_off_to_be_pointed_elsewhere(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, address: str, value: Decimal
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards, fleet = await holding(pool), Fleet(Intervals(load_settings({})))
    recorder = recorder_of(pool, shards)
    [watched], _ = fleet.learn(await load_bots(pool, [bot]))
    recorder.put(result_of(watched, shards))
    await recorder.flush()
    await admin.execute("update bots set desired = 'stopped', generation = 2")
    fleet.learn(await load_bots(pool, [bot]))
    fleet.forget(bot)
    await admin.execute("update bots set desired = 'running', generation = 4, api_url = $1", address)
    [watched], _ = fleet.learn(await load_bots(pool, [bot]))
    recorder.put(result_of(watched, shards, reading_with(equity=Decimal(500)), after=timedelta(seconds=15)))
    await recorder.flush()
    assert [row["unit_value"] for row in await snapshots(admin, bot)] == [1, value]


_DAYS_AGO = """
    insert into performance_daily (tenant_id, bot_id, bucket, readings, first_at, last_at, currency, equity_last,
        capital_base, closed_trades, unit_last, unit_at, peak_so_far, latency_count, latency_sum, latency_bins,
        latency_counts)
    select $1, $2, day, 9, day, day, 'USDT', 1200, 1000, 3, $4, day + interval '1 hour', $4, 0, 0, '{}', '{}'
    from (select date_trunc('day', now(), 'UTC') - make_interval(days => n) as day from generate_series(1, $3) as n) x
"""
#: A reading a minute, of a bot that tells of its trades and of no money.
_WITHOUT_INDEX = """
    insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, closed_trades)
    select $1, $2, t, 'USDT', 3
    from generate_series(now() - make_interval(days => $3), now() - interval '1 minute', interval '1 minute') as t
"""


async def test_an_index_goes_on_from_days_when_its_readings_are_gone(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    [bot] = await bots_at(factory, owner, 1)
    await admin.execute(_DAYS_AGO, owner.tenant_id, bot, 2, Decimal("1.2"))
    shards = await holding(pool)
    recorder = recorder_of(pool, shards)
    reading = reading_with(equity=Decimal(1320), capital_base=Decimal(1000), closed_trades=4)
    recorder.put(result_of((await watched_bots(pool))[bot], shards, reading))
    await recorder.flush()
    assert [row["unit_value"] for row in await snapshots(admin, bot)] == [Decimal("1.32")]


async def test_an_index_goes_on_from_the_reading_at_which_it_was_known(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    [bot] = await bots_at(factory, owner, 1)
    # The day tells 1,200 as the last equity, of a reading that did not tell what was paid in.
    await admin.execute(_DAYS_AGO, owner.tenant_id, bot, 1, Decimal("1.5"))
    await admin.execute("update rollup_progress set seen_until = now(), ready_until = now()")
    await admin.execute(
        "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, equity, capital_base, unit_value)"
        " select tenant_id, bot_id, unit_at, 'USDT', 1500, 1000, 1.5 from performance_daily"
    )
    shards = await holding(pool)
    recorder = recorder_of(pool, shards)
    recorder.put(result_of((await watched_bots(pool))[bot], shards, reading_with(equity=Decimal(1200))))
    await recorder.flush()
    assert (await snapshots(admin, bot))[-1]["unit_value"] == Decimal("1.2")


def _rows_read(plan: dict[str, Any]) -> int:
    here = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Relation Name" in plan else 0
    return int(here * plan["Actual Loops"]) + sum(map(_rows_read, plan.get("Plans", ())))


# A reading a minute; rollups are believed six hours after they were built.
@pytest.mark.parametrize(("ready", "most"), [("now()", 500), ("'-infinity'", 1500)], ids=["rolled up", "not yet"])
async def test_however_long_a_history_without_an_index_is_a_start_reads_little_of_it(
    urls: Urls, factory: Factory, admin: asyncpg.Connection, ready: str, most: int
) -> None:
    owner = await factory.owner()
    [bot] = await bots_at(factory, owner, 1)
    await admin.execute(_WITHOUT_INDEX, owner.tenant_id, bot, 10)
    await admin.execute(_DAYS_AGO, owner.tenant_id, bot, 300, None)
    await admin.execute(f"update rollup_progress set seen_until = {ready}, ready_until = {ready}")
    await admin.execute("analyze")
    connection = await asyncpg.connect(urls["agent_poller"])
    try:
        told = await connection.fetchval(
            f"explain (analyze, format json) {MARKS}", [owner.tenant_id], [bot], [datetime.now(UTC)]
        )
    finally:
        await connection.close()
    assert 0 < _rows_read(json.loads(told)[0]["Plan"]) <= most


class _Slow:
    """A pool whose server cannot tell of many bots within the time that a statement may take."""

    def __init__(self, pool: asyncpg.Pool, at_most: int) -> None:
        self._pool = pool
        self._at_most = at_most
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        if statement == MARKS:
            self.asked.append(len(values[0]))
            if len(values[0]) > self._at_most:
                raise TimeoutError
        return list(await self._pool.fetch(statement, *values))


async def test_a_slow_start_gets_on_with_fewer_bots_at_once(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await bots_at(factory, await factory.owner(), 7)
    shards = await holding(pool)
    slow = _Slow(pool, 2)
    recorder = recorder_of(slow, shards)
    for watched in (await watched_bots(pool)).values():
        recorder.put(result_of(watched, shards))
    await recorder.flush()
    assert not recorder.behind
    assert slow.asked == [7, 4, 2, 2, 2, 1]
    assert [len(await snapshots(admin, bot)) for bot in bots] == [1] * 7


async def test_a_reading_without_figures_is_kept_only_of_a_bot_that_told_some_before(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    bots = await bots_at(factory, owner, 4)
    none = reading_with(currency=None, equity=None, capital_base=None)
    # One told its trades a while ago, one is known by its days alone; the others never told anything.
    await admin.execute(
        "insert into performance_snapshots (tenant_id, bot_id, observed_at, closed_trades)"
        " values ($1, $2, now() - interval '1 hour', 3)",
        owner.tenant_id,
        bots[0],
    )
    await admin.execute(_DAYS_AGO, owner.tenant_id, bots[1], 1, None)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), await watched_bots(pool)
    for step in range(2):
        for bot in bots:
            recorder.put(result_of(watched[bot], shards, none, after=timedelta(seconds=15 * step)))
    await recorder.flush()
    assert [len(await snapshots(admin, bot)) for bot in bots] == [3, 2, 0, 0]
    # From the first figure on, that none is told is kept too, and be there no index.
    trades = msgspec.structs.replace(none, closed_trades=1)
    for step, reading in enumerate((trades, none), 2):
        recorder.put(result_of(watched[bots[2]], shards, reading, after=timedelta(seconds=15 * step)))
        await recorder.flush()
    assert [row["closed_trades"] for row in await snapshots(admin, bots[2])] == [1, None]
