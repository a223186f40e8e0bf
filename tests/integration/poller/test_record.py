"""What is written of a result, by whom, and what it may not hold up."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest

from agents.engines.base import Reading, Reason
from agents.poller.record import Recorder, Stored
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
from tests.integration.poller.rows import bot_row, changes_of_health, events, health_row, lost_rows, snapshots
from tests.waiting import until


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
    recorder, lost = recorder_of(pool, late), lost_rows("overtaken")
    recorder.put(result)
    await recorder.flush()
    # Its change of health, and its snapshot.
    assert lost_rows("overtaken") == lost + 2
    assert (await health_row(admin, bot))["observed_at"] is None
    assert (await bot_row(admin, bot))["status"] == "inactive"
    assert await snapshots(admin, bot) == []
    # The holder itself, were it to come back to what it saw under an earlier epoch.
    recorder = recorder_of(pool, holder)
    recorder.put(msgspec.structs.replace(result, epoch=result.epoch))
    await recorder.flush()
    assert lost_rows("overtaken") == lost + 4
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
    recorder, lost = recorder_of(pool, shards), lost_rows("refused")
    for bot, watched in (await watched_bots(pool)).items():
        rich = reading_with(equity=Decimal(9999))
        recorder.put(result_of(watched, shards, rich if bot == bots[2] else READING))
    await recorder.flush()
    assert [len(await snapshots(admin, bot)) for bot in bots] == [1, 1, 0, 1, 1]
    assert {(await health_row(admin, bot))["state"] for bot in bots} == {"healthy"}
    assert lost_rows("refused") > lost
    assert not recorder.behind


@pytest.mark.parametrize(
    "figures",
    [
        {"equity": 10.5},
        {"equity": "10.5"},
        {"closed_trades": "7"},
        {"equity": Decimal("sNaN")},
        {"latency_ms": object()},
    ],
)
async def test_a_row_that_cannot_even_be_made_costs_itself_alone(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, figures: dict[str, Any]
) -> None:
    bots = await bots_at(factory, await factory.owner(), 3, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, lost = recorder_of(pool, shards), lost_rows("refused")
    watched = await watched_bots(pool)
    for step in range(2):
        # A figure is compared with the one before.
        for bot, one in watched.items():
            odd = bot == bots[1] and step
            reading = reading_with(closed_trades=3)
            after = timedelta(seconds=15 * step)
            recorder.put(
                result_of(one, shards, msgspec.structs.replace(reading, **figures) if odd else reading, after=after)
            )
        await recorder.flush()
    assert [len(await snapshots(admin, bot)) for bot in bots] == [2, 1, 2]
    assert lost_rows("refused") == lost + 1
    assert (recorder.behind, recorder.waiting) == (False, 0)
    # And what comes next of that bot is written.
    recorder.put(result_of(watched[bots[1]], shards, reading_with(closed_trades=4), after=timedelta(seconds=30)))
    await recorder.flush()
    assert len(await snapshots(admin, bots[1])) == 2


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
    assert await changes_of_health(admin, bot) == [("healthy", None, None), ("healthy", None, "stopped")]
    # Nobody looked for a while: that is no health. It goes on afterwards, although nothing changed.
    recorder.put(result_of(watched, shards, reading_with(trading_state="stopped"), after=timedelta(seconds=100)))
    await recorder.flush()
    assert (await changes_of_health(admin, bot))[2:] == [("unknown", None, None), ("healthy", None, "stopped")]
    at = await admin.fetchval("select at from bot_health_changes where state = 'unknown'")
    assert first.decision.health.observed_at is not None
    gap = (at - first.decision.health.observed_at).total_seconds()
    assert gap == pytest.approx(60, abs=5)


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


@pytest.mark.parametrize("why", ["held", "odd"])
async def test_a_health_that_could_not_be_written_or_even_made_is_written_by_the_next_look(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, why: str
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    shards = await holding(pool)
    recorder, watched = recorder_of(pool, shards), (await watched_bots(pool))[bot]
    recorder.put(result_of(watched, shards, reading_with(trading_state="running")))
    await recorder.flush()
    stopped = reading_with(trading_state="stopped")
    async with admin.transaction():
        if why == "held":
            await admin.execute("select from bot_health where id = $1 for update", bot)
            missed = stopped
        else:
            odd: Any = object()
            missed = msgspec.structs.replace(stopped, latency_ms=odd)
        recorder.put(result_of(watched, shards, missed, after=timedelta(seconds=15)))
        await recorder.flush()
    assert (await health_row(admin, bot))["trading_state"] == "running"
    # By what is in memory nothing is new in this one.
    recorder.put(result_of(watched, shards, stopped, after=timedelta(seconds=30)))
    await recorder.flush()
    assert (await health_row(admin, bot))["trading_state"] == "stopped"
    assert await changes_of_health(admin, bot) == [("healthy", None, "running"), ("healthy", None, "stopped")]


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
