"""What is written of a result, by whom, and what it may not hold up."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from prometheus_client import REGISTRY

from agents.engines.base import Reading, Reason
from agents.poller.intervals import Intervals
from agents.poller.marks import MARKS
from agents.poller.record import Recorder, Stored
from agents.poller.watched import Fleet, load_bots
from control_plane.settings import load_settings
from tests.factories import Factory, Urls
from tests.integration.poller.parts import (
    READING,
    bots_at,
    forgotten,
    holding,
    reading_with,
    recorder_of,
    result_of,
    watched_bots,
)
from tests.integration.poller.rows import bot_row, events, health_row, snapshots
from tests.waiting import until


def _lost(cause: str) -> float:
    return REGISTRY.get_sample_value("tradewise_poller_results_lost_total", {"cause": cause}) or 0.0


async def _changes(admin: asyncpg.Connection, bot: UUID) -> list[tuple[object, ...]]:
    rows = await admin.fetch(
        "select state, reason, trading_state from bot_health_changes where bot_id = $1 order by at", bot
    )
    return [tuple(row) for row in rows]


async def test_only_who_holds_the_shard_under_the_same_epoch_may_record(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    late = await holding(pool)
    watched = (await watched_bots(pool))[bot]
    result = result_of(watched, late)
    await admin.execute("update poll_shards set lease_until = now()")
    await admin.execute("delete from agent_beats")
    holder = await holding(pool)
    recorder, lost = recorder_of(pool, late), _lost("overtaken")
    recorder.put(result)
    await recorder.flush()
    # Its change of health, and its snapshot.
    assert _lost("overtaken") == lost + 2
    assert (await health_row(admin, bot))["observed_at"] is None
    assert (await bot_row(admin, bot))["status"] == "inactive"
    assert await snapshots(admin, bot) == []
    # The holder itself, were it to come back to what it saw under an earlier epoch.
    recorder = recorder_of(pool, holder)
    recorder.put(msgspec.structs.replace(result, epoch=result.epoch))
    await recorder.flush()
    assert _lost("overtaken") == lost + 4
    recorder.put(result_of((await watched_bots(pool))[bot], holder))
    await recorder.flush()
    assert (await bot_row(admin, bot))["status"] == "connected"
    assert len(await snapshots(admin, bot)) == len(await events(admin, bot)) == 1


async def test_no_shard_changes_hands_while_its_results_are_written(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    shards = await holding(pool)
    recorder = recorder_of(pool, shards)
    async with admin.transaction():
        # The write waits at the health row, with its fence up.
        await admin.execute("select from bot_health where id = $1 for update", bot)
        recorder.put(result_of((await watched_bots(pool))[bot], shards))
        writing = asyncio.create_task(recorder.flush())
        locks = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        await until(lambda: pool.fetchval(locks), what="the write to wait")
        assert await pool.fetch("select shard from poll_shards for no key update skip locked") == []
    await writing
    assert (await health_row(admin, bot))["observed_at"] is not None


@pytest.mark.parametrize("change", ["generation = 2", "desired = 'stopped'", "status = 'error'", "deleted_at = now()"])
async def test_a_verdict_on_what_has_changed_meanwhile_is_not_told(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, change: str
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    shards = await holding(pool)
    result = result_of((await watched_bots(pool))[bot], shards)
    await admin.execute(f"update bots set {change}")
    stored: list[Stored] = []
    recorder = Recorder(pool, shards._holder, stored.append)
    recorder.put(result)
    await recorder.flush()
    assert (await bot_row(admin, bot))["status"] in {"inactive", "error"}
    assert await events(admin, bot) == []
    # It is to be read anew, and looked at again.
    assert [one.bot.id for one in stored[0].untold] == [bot]


async def test_a_row_that_is_refused_costs_itself_alone(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await bots_at(factory, await factory.owner(), 5, status="connected", observed_generation=1)
    await admin.execute("alter table performance_snapshots add constraint small check (equity < 5000)")
    shards = await holding(pool)
    recorder, lost = recorder_of(pool, shards), _lost("refused")
    for bot, watched in (await watched_bots(pool)).items():
        rich = reading_with(equity=Decimal(9999))
        recorder.put(result_of(watched, shards, rich if bot == bots[2] else READING))
    await recorder.flush()
    assert [len(await snapshots(admin, bot)) for bot in bots] == [1, 1, 0, 1, 1]
    assert {(await health_row(admin, bot))["state"] for bot in bots} == {"healthy"}
    assert _lost("refused") > lost
    assert not recorder.behind


@pytest.mark.parametrize("status", ["inactive", "connected"])
async def test_a_bot_row_that_somebody_holds_delays_that_bot_only(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, status: str
) -> None:
    told = 1 if status == "connected" else -1
    bots = await bots_at(factory, await factory.owner(), 4, status=status, observed_generation=told)
    shards = await holding(pool)
    stored: list[Stored] = []
    recorder = Recorder(pool, shards._holder, stored.append)
    for watched in (await watched_bots(pool)).values():
        recorder.put(result_of(watched, shards))
    async with admin.transaction():
        await admin.execute("select from bots where id = $1 for no key update", bots[0])
        await recorder.flush()
        assert [(await bot_row(admin, bot))["status"] for bot in bots] == [status, *["connected"] * 3]
        assert [len(await snapshots(admin, bot)) for bot in bots] == [1, 1, 1, 1]
    assert (await health_row(admin, bots[0]))["state"] == "healthy"
    untold = [one.bot.id for part in stored for one in part.untold]
    assert untold == ([bots[0]] if status == "inactive" else [])
    assert not recorder.behind


async def test_every_health_update_is_hot_and_tells_nobody_of_what_is_unchanged(
    urls: Urls, factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await bots_at(factory, await factory.owner(), 40, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), await watched_bots(pool)
    heard: list[str] = []
    listener = await asyncpg.connect(urls.admin)
    try:
        for channel in ("tradewise_observed", "tradewise_health"):
            await listener.add_listener(channel, lambda _c, _p, _ch, payload: heard.append(str(payload)))
        for turn in range(6):
            for one in watched.values():
                failing = turn == 3
                reading = READING if not failing else Reading(reachable=False, credential_ok=None, full=False)
                reason = Reason.UNREACHABLE.value if failing else None
                after = timedelta(seconds=turn)
                recorder.put(result_of(one, shards, reading, after=after, reason=reason))
            await recorder.flush()
            counted = len(heard)
            await listener.execute("select pg_notify('tradewise_health', 'until here')")
            await until(lambda: "until here" in heard, what="everything told before")
            if turn in {1, 2, 5}:
                assert heard[counted:] == ["until here"]
            else:
                assert {str(bot) in repr(heard) for bot in bots} == {True}
            heard.clear()
    finally:
        await listener.close()
    await admin.execute("select pg_stat_clear_snapshot()")

    async def counts() -> tuple[int, int] | None:
        row = await admin.fetchrow(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'bot_health'"
        )
        return (row["n_tup_upd"], row["n_tup_hot_upd"]) if row["n_tup_upd"] >= 240 else None

    await pool.expire_connections()
    await pool.execute("select 1")
    told = await until(counts, what="the statistics")
    assert told is not None
    assert told[0] == told[1]


async def test_who_waits_for_a_look_that_changes_nothing_is_told(
    urls: Urls, factory: Factory, pool: asyncpg.Pool
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), (await watched_bots(pool))[bot]
    recorder.put(result_of(watched, shards))
    await recorder.flush()
    heard: list[str] = []
    listener = await asyncpg.connect(urls.admin)
    try:
        await listener.add_listener("tradewise_observed", lambda _c, _p, _ch, payload: heard.append(str(payload)))
        again = result_of(watched, shards, after=timedelta(seconds=1))
        recorder.put(msgspec.structs.replace(again, urgent=True))
        await recorder.flush()
        await until(lambda: any(str(bot) in payload for payload in heard), what="the notification")
        heard.clear()
        # So is who waits for one that fails as the one before did: no trigger looks at what is new then.
        failed = Reading(reachable=False, credential_ok=None, full=False)
        for seconds in (2, 3):
            result = result_of(watched, shards, failed, after=timedelta(seconds=seconds), reason="timeout")
            recorder.put(msgspec.structs.replace(result, urgent=True))
            heard.clear()
            await recorder.flush()
            await until(lambda: any(str(bot) in payload for payload in heard), what="the notification")
        heard.clear()
        # And so is who follows its figures, when they move.
        recorder.put(result_of(watched, shards, reading_with(equity=Decimal(1001)), after=timedelta(seconds=4)))
        await recorder.flush()
        await until(lambda: any(str(bot) in payload for payload in heard), what="the notification")
    finally:
        await listener.close()


async def test_changes_of_health_and_gaps_are_kept(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), (await watched_bots(pool))[bot]
    first = result_of(watched, shards)
    recorder.put(first)
    recorder.put(result_of(watched, shards, after=timedelta(seconds=15)))
    recorder.put(result_of(watched, shards, reading_with(trading_state="stopped"), after=timedelta(seconds=30)))
    await recorder.flush()
    assert await _changes(admin, bot) == [("healthy", None, None), ("healthy", None, "stopped")]
    # Nobody looked for a while: that is no health. It goes on afterwards, although nothing changed.
    recorder.put(result_of(watched, shards, reading_with(trading_state="stopped"), after=timedelta(seconds=100)))
    await recorder.flush()
    assert (await _changes(admin, bot))[2:] == [("unknown", None, None), ("healthy", None, "stopped")]
    at = await admin.fetchval("select at from bot_health_changes where state = 'unknown'")
    assert first.decision.health.observed_at is not None
    gap = (at - first.decision.health.observed_at).total_seconds()
    assert gap == pytest.approx(60, abs=5)


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


@pytest.mark.parametrize(("ready", "most"), [("now()", 200), ("'-infinity'", 1500)], ids=["rolled up", "not yet"])
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
    recorder = recorder_of(slow, shards)  # type: ignore[arg-type]
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


async def test_a_counter_that_began_anew_is_an_event_and_no_loss(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await bots_at(factory, await factory.owner(), 2)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), await watched_bots(pool)
    for step, (trades, identity) in enumerate([(7, "a@1"), (8, "a@1"), (0, "a@1"), (1, "a@2"), (2, None)]):
        for bot in bots:
            equity = Decimal(1000) if step in {0, 2} else Decimal(1100)
            reading = reading_with(equity=equity, closed_trades=trades, identity=identity)
            recorder.put(result_of(watched[bot], shards, reading, after=timedelta(seconds=15 * step)))
            await recorder.flush()
            # One of the two has its mark read from the rows each time, as after a change of hands.
            forgotten(watched[bots[1]])
    for bot in bots:
        told = [(row["kind"], row["cause"], row["actor"]) for row in await events(admin, bot)]
        assert told[1:] == [("counter_reset", "agent", "agent:poller")] * 2
        kept = await snapshots(admin, bot)
        assert [row["unit_value"] for row in kept] == [
            1,
            Decimal("1.1"),
            Decimal("1.1"),
            Decimal("1.1"),
            Decimal("1.1"),
        ]
        assert all(row["latency_ms"] is None for row in kept)


async def test_what_does_not_fit_is_lost_oldest_first_and_counted(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, lost = recorder_of(pool, shards, limit=5), _lost("overflow")
    watched = (await watched_bots(pool))[bot]
    results = [result_of(watched, shards, after=timedelta(seconds=15 * step)) for step in range(10)]
    for result in results:
        recorder.put(result)
    assert recorder.waiting == 5
    assert _lost("overflow") == lost + 6  # ten snapshots and one change of health, which goes last
    await recorder.flush()
    kept = [row["observed_at"] for row in await snapshots(admin, bot)]
    assert kept == [result.decision.health.observed_at for result in results[6:]]
    assert await _changes(admin, bot) == [("healthy", None, None)]
    assert (await health_row(admin, bot))["observed_at"] == kept[-1]


REFUSES_US = Reading(reachable=True, credential_ok=False, full=False, reason=Reason.AUTH)


async def test_a_change_that_was_lost_is_told_as_unknown_and_what_is_after_it_as_it_is(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    first, second = await bots_at(factory, await factory.owner(), 2, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched, lost = recorder_of(pool, shards, limit=1), await watched_bots(pool), _lost("overflow")
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
    assert _lost("overflow") == lost + 1
    await recorder.flush()
    rows = await admin.fetch("select at, state from bot_health_changes where bot_id = $1 order by at", first)
    assert [tuple(row) for row in rows[1:]] == [
        (looks[0].decision.health.observed_at, "unknown"),
        (looks[2].decision.health.observed_at, "unhealthy"),
    ]
    assert await _changes(admin, second) == [("healthy", None, None), ("unhealthy", "auth", None)]
    # That is all: what comes after it is nothing new.
    recorder.put(result_of(watched[first], shards, REFUSES_US, after=timedelta(seconds=45), reason="auth"))
    await recorder.flush()
    assert len(await _changes(admin, first)) == 3


async def test_a_row_that_is_refused_costs_no_other_of_its_bot_and_a_change_is_made_good(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    await admin.execute("alter table bot_health_changes add constraint picky check (trading_state <> 'paused')")
    shards = await holding(pool)
    recorder, watched, lost = recorder_of(pool, shards), (await watched_bots(pool))[bot], _lost("refused")
    looks = [
        result_of(watched, shards, reading_with(trading_state=state), after=timedelta(seconds=15 * step))
        for step, state in enumerate(("running", "paused", "stopped", "paused", "paused"))
    ]
    for look in looks[:4]:
        recorder.put(look)
    await recorder.flush()
    assert len(await snapshots(admin, bot)) == 4
    assert await _changes(admin, bot) == [("healthy", None, "running"), ("healthy", None, "stopped")]
    assert (await health_row(admin, bot))["trading_state"] == "paused"
    assert _lost("refused") == lost + 2
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
    assert _lost("refused") == lost + 2


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
    recorder, lost = recorder_of(pool, shards), _lost("refused")
    for watched in (await watched_bots(pool)).values():
        recorder.put(result_of(watched, shards, REFUSES_US, reason="auth"))
    await recorder.flush()
    assert _lost("refused") == lost
    told = "select at from bot_health_changes where bot_id = $1 and state = 'unknown'"
    assert await admin.fetchval(told, bots[0]) == begin
    assert begin + timedelta(days=9) < await admin.fetchval(told, bots[1]) < begin + timedelta(days=10)
    for bot in bots:
        assert await _changes(admin, bot) == [("unknown", None, None), ("unhealthy", "auth", None)]


async def test_what_an_ending_process_takes_with_it_is_counted_by_rows(factory: Factory, pool: asyncpg.Pool) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, lost, overflown = recorder_of(pool, shards, limit=5), _lost("shutdown"), _lost("overflow")
    watched = (await watched_bots(pool))[bot]
    for step in range(7):
        recorder.put(result_of(watched, shards, after=timedelta(seconds=15 * step)))
    recorder.give_up()
    # Seven snapshots and one change of health, of which five had room.
    assert (_lost("shutdown") - lost, _lost("overflow") - overflown) == (5, 3)


async def test_a_health_that_could_not_be_written_is_written_by_the_next_look(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), (await watched_bots(pool))[bot]
    recorder.put(result_of(watched, shards, reading_with(trading_state="running")))
    await recorder.flush()
    async with admin.transaction():
        await admin.execute("select from bot_health where id = $1 for update", bot)
        recorder.put(result_of(watched, shards, reading_with(trading_state="stopped"), after=timedelta(seconds=15)))
        await recorder.flush()
    assert (await health_row(admin, bot))["trading_state"] == "running"
    # By what is in memory nothing is new in this one.
    recorder.put(result_of(watched, shards, reading_with(trading_state="stopped"), after=timedelta(seconds=30)))
    await recorder.flush()
    assert (await health_row(admin, bot))["trading_state"] == "stopped"
    assert await _changes(admin, bot) == [("healthy", None, "running"), ("healthy", None, "stopped")]


async def test_the_poller_may_not_write_what_people_want(
    urls: Urls, factory: Factory, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    hosted = await factory.bot(owner, bot_type="platform")
    connection = await asyncpg.connect(urls["agent_poller"])
    try:
        for column in ("desired", "generation", "name", "api_url", "ping_requested_at", "deleted_at", "bot_type"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"update bots set {column} = {column}")
        for statement in (
            "update bot_secrets set last4 = '0000'",
            "update bot_instances set state = 'exited'",
            "update bot_health set engine_lost_at = now()",
            "delete from bots",
            "delete from performance_snapshots",
            "update performance_snapshots set equity = 0",
            "select * from users",
            "select * from subscriptions",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        # A hosted bot's status is the launcher's: the row is not there to be updated.
        assert await connection.execute("update bots set status = 'error' where id = $1", hosted) == "UPDATE 0"
    finally:
        await connection.close()
