"""Recording ten thousand results, health and snapshot of each, beside a raw binary COPY of the rows that came of it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from agents.engines.base import Reading
from agents.poller.decide import decide
from agents.poller.facts import Outcome
from agents.poller.intervals import Intervals
from agents.poller.record import Recorder
from agents.poller.shards import SHARDS, Shards
from agents.poller.waiting import Result
from agents.poller.watched import Fleet, Watched, load_shards
from control_plane import cycles
from control_plane.security.keyproviders import create_kek_file
from control_plane.settings import load_settings
from tests.bench.harness import Row, row_of
from tests.bench.population import populate, updates
from tests.bench.processes import family_cpu_s, postmaster_of
from tests.factories import Urls
from tests.waiting import until

_INTERVAL: Final = timedelta(seconds=60)


class Recording(msgspec.Struct, frozen=True):
    """How much is recorded, and how often."""

    results: int = int(os.environ.get("BENCH_RESULTS", "10000"))
    rounds: int = int(os.environ.get("BENCH_RESULTS_ROUNDS", "7"))
    batches: int = 3
    """Of each round: the kernel counts CPU in hundredths of a second."""


class Writer:
    """The poller's recorder, as the poller uses it. The one place here that knows its form."""

    def __init__(self, admin: asyncpg.Connection, pool: asyncpg.Pool, bots: Sequence[tuple[UUID, UUID]]) -> None:
        self._admin = admin
        self._pool = pool
        self._bots = bots
        self._shards = Shards(pool, uuid7())
        self._recorder = Recorder(pool, self._shards._holder, lambda _stored: None)
        self._watched: dict[UUID, Watched] = {}
        self._began: datetime

    async def open(self) -> None:
        """Make the bots ours to record."""
        self._began = await self._admin.fetchval("select now()")
        await self._shards.beat()
        found, _ = Fleet(Intervals(load_settings({}))).learn(await load_shards(self._pool, range(SHARDS)))
        self._watched = {watched.bot.id: watched for watched in found}

    async def results(self, number: int) -> list[Any]:
        """One result of each bot, each look a minute after the last. Not counted."""
        await self._shards.beat()
        await self._admin.execute("vacuum bot_health")
        at = self.moment(number)
        return [self._result(place, number, at, bot) for place, (_, bot) in enumerate(self._bots)]

    def moment(self, number: int) -> datetime:
        """When a batch of looks was taken."""
        return self._began + number * _INTERVAL

    def _result(self, place: int, number: int, at: datetime, bot_id: UUID) -> Result:
        watched = self._watched[bot_id]
        moved = Decimal((place * 7919 + number * 104729) % 20000 - 10000) / 100
        reading = Reading(
            reachable=True, credential_ok=True, full=True, latency_ms=1.0 + place % 50, trading_state="running",
            loop_age_s=0.5, simulated=True, version="1.4.0", identity=f"tradewise:{place}", currency="USDT",
            equity=Decimal("10125.5") + moved, capital_base=Decimal(10000), realized_profit=Decimal("125.5"),
            open_profit=moved, win_rate=Decimal("0.625"), max_drawdown=Decimal("0.031"), closed_trades=8,
            open_positions=1,
        )  # fmt: skip
        previous = watched.health
        decision = decide(watched.bot, previous, Outcome(reading=reading, observed_at=at), _INTERVAL)
        watched.health = decision.health
        return Result(
            watched, self._shards.held[watched.shard], watched.bot, previous, decision, reading, full=reading.full
        )

    async def record(self, results: list[Any]) -> None:
        """What is measured: from results in memory to rows that are committed."""
        for result in results:
            self._recorder.put(result)
        await self._recorder.flush()


async def measure_recording(urls: Urls, wanted: Recording) -> list[Row]:
    """Ours, then COPY of exactly what ours has written, in each round."""
    admin = await asyncpg.connect(urls.admin)
    pool = await make_pool(urls["agent_poller"], "poller", size=2)
    try:
        with tempfile.TemporaryDirectory(prefix="tw-bench-recording-") as folder:
            kek_file = Path(folder) / "kek.json"
            create_kek_file(kek_file)
            bots = await populate(admin, kek_file, [f"http://127.0.0.1:{1 + n}" for n in range(wanted.results)])
        for statement in _PREPARED:
            await admin.execute(statement)
        writer = Writer(admin, pool, bots)
        await writer.open()
        # As the agent does, for whoever is measured.
        cycles.search_seldom()
        cycles.pass_over_what_is_there()
        taken = [await _round(admin, pool, writer, wanted, number) for number in range(wanted.rounds + 1)][1:]
    finally:
        await pool.close()
        await admin.execute("drop table if exists bare_snapshots, bare_health")
        await admin.execute("alter system reset autovacuum")
        await admin.execute("select pg_reload_conf()")
        await admin.close()
    what = f"Recording {wanted.results} results (health and snapshot)"
    return [
        row_of(f"{what} / COPY of the same rows into bare tables (CPU, client and server)",
               [(each.ours, each.copied) for each in taken], 5.0, unit="ms"),
        row_of(f"{what} / COPY of the snapshots alone", [(each.ours, each.snapshots) for each in taken], None,
               unit="ms"),
        row_of(f"{what}: updates of health rows / those that were HOT",
               [(each.changed, max(each.hot, 1)) for each in taken], 1.0, unit="rows"),
    ]  # fmt: skip


class Taken(msgspec.Struct):
    """One round: milliseconds of CPU for one batch, and updates of health rows in all of them."""

    ours: float = 0.0
    copied: float = 0.0
    snapshots: float = 0.0
    changed: int = 0
    hot: int = 0


#: A vacuum that comes by itself would fall on whoever is being measured.
_PREPARED: Final = (
    "create table bare_snapshots (like performance_snapshots)",
    "create table bare_health (like bot_health)",
    "alter system set autovacuum = off",
    "select pg_reload_conf()",
)
_WRITTEN: Final = {
    "bare_snapshots": "select * from performance_snapshots where observed_at >= $1 order by bot_id, observed_at",
    "bare_health": "select * from bot_health where observed_at >= $1 order by id",
}


async def _round(
    admin: asyncpg.Connection, pool: asyncpg.Pool, writer: Writer, wanted: Recording, number: int
) -> Taken:
    postmaster = await postmaster_of(admin)
    await admin.execute("truncate bare_snapshots, bare_health")
    taken, share = Taken(), 1e3 / wanted.batches
    for batch in range(wanted.batches):
        results = await writer.results(number * wanted.batches + batch)
        before = await updates(admin)
        began = _cpu_s(postmaster)
        await writer.record(results)
        taken.ours += (_cpu_s(postmaster) - began) * share
        changed, hot = await _settled(admin, pool, before[0] + wanted.results)
        taken.changed += changed - before[0]
        taken.hot += hot - before[1]
    since = writer.moment(number * wanted.batches)
    rows = {table: [tuple(row) for row in await admin.fetch(query, since)] for table, query in _WRITTEN.items()}
    if len(rows["bare_snapshots"]) != wanted.results * wanted.batches:
        raise RuntimeError(f"of {wanted.results * wanted.batches} snapshots {len(rows['bare_snapshots'])} were written")
    for table, records in rows.items():
        began = _cpu_s(postmaster)
        # Of health there is one row a bot, and each batch wrote all of them.
        for _ in range(wanted.batches if table == "bare_health" else 1):
            await admin.copy_records_to_table(table, records=records)
        used = (_cpu_s(postmaster) - began) * share
        taken.copied += used
        if table == "bare_snapshots":
            taken.snapshots = used
    return taken


def _cpu_s(postmaster: int) -> float:
    return time.process_time() + family_cpu_s(postmaster)


async def _settled(admin: asyncpg.Connection, pool: asyncpg.Pool, least: int) -> tuple[int, int]:
    """Counters of updates, once those who made them have told."""

    async def told() -> tuple[int, int]:
        async with pool.acquire() as one, pool.acquire() as other:
            for connection in (one, other):
                await connection.execute("select pg_stat_force_next_flush()")
        return await updates(admin)

    async def all_told() -> bool:
        return (await told())[0] >= least

    await until(all_told, deadline_s=30.0, every_s=0.1, what="counters of updates")
    return await told()
