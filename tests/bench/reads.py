"""What reads cost as history grows: the same questions to a small and to a large history, on one server, in turns.

Ten times the bots and ten times the readings of each: a hundred times the snapshots. The large one has
``TRADEWISE_BENCH_SNAPSHOTS`` of them, ten million where nothing is said. Both are rolled up by the scheduler's own job.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from math import ceil
from uuid import UUID

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from agents.scheduler.history import refresh_scores
from agents.scheduler.rollups import Rollups
from control_plane import cycles
from control_plane.database.connection import Binding
from control_plane.database.migrate import migrate
from control_plane.database.roles import LOGIN_ROLES
from control_plane.database.sessions import Database
from control_plane.database.urls import url_for_role
from control_plane.performance.health import bot_timeline
from control_plane.performance.series import bot_performance
from control_plane.templates.marketplace import browse
from tests.bench.harness import Row, row_of
from tests.factories import Urls

_BOUND = 1.5
_GROWTH = 10
_LISTINGS = 50  # a page of the marketplace, full in both
_APART = timedelta(minutes=1)
_DAY = timedelta(days=1)

_TENANT = "insert into tenants (id, name) values ($1, 'bench')"
_TEMPLATES = """
    with t as (
        insert into bot_templates (id, tenant_id, name, engine, strategy_type, risk_level, hosting, currency,
            minimum_allocation, status, latest_version, created_by)
        select gen_random_uuid(), $1, 'template', 'tradewise', 'dca', 'low', 'dedicated', 'USDT', 1, 'published', 1, $1
        from generate_series(1, $2::integer) n returning id, tenant_id
    ), v as (
        insert into template_versions (id, tenant_id, template_id, version, parameters, config_sealed,
            config_key_version, config_suite, config_fields, config_digest)
        select gen_random_uuid(), tenant_id, id, 1, '{}', '', 1, 1, '{}', '' from t returning id, tenant_id, template_id
    ), b as (
        insert into bots (id, tenant_id, bot_type, engine, name, template_tenant_id, template_version_id)
        select gen_random_uuid(), tenant_id, 'platform', 'tradewise', 'bot', tenant_id, id from v
    )
    insert into marketplace_listings (id, creator_tenant_id, creator_name, template_version_id, version, name, engine,
        strategy_type, risk_level, hosting, currency, minimum_allocation, parameters)
    select template_id, tenant_id, 'bench', id, 1, 'template', 'tradewise', 'dca', 'low', 'dedicated', 'USDT', 1, '{}'
    from v
"""
# In the order of time, as they would have come.
_READINGS = """
    insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, simulated, equity, capital_base,
        realized_profit, open_profit, unit_value, latency_ms, created_at)
    select b.tenant_id, b.id, t.at, 'USDT', false, 1000 * w.value, 1000, 10, 1, w.value, 5 + 20 * random(),
        t.at + interval '1 second'
    from generate_series($1::timestamptz, $2::timestamptz, $3::interval) as t (at) cross join bots b
    cross join lateral (select 1 + 0.2 * sin(extract(epoch from t.at) / 9000 + hashtext(b.id::text)) as value) w
"""
_CHANGES = """
    insert into bot_health_changes (tenant_id, bot_id, at, state, reason, created_at)
    select b.tenant_id, b.id, t.at,
        case when extract(hour from t.at)::integer % 8 < 4 then 'healthy' else 'unhealthy' end, 'timeout',
        t.at + interval '1 second'
    from generate_series($1::timestamptz, $2::timestamptz, interval '4 hours') as t (at) cross join bots b
"""


class Reads(msgspec.Struct, frozen=True):
    """How much there is to read, and how often."""

    snapshots: int = int(os.environ.get("TRADEWISE_BENCH_SNAPSHOTS", "10000000"))
    rounds: int = 5
    pieces: int = 100


class _History(msgspec.Struct, frozen=True):
    """One database with its history."""

    database: Database
    binding: Binding
    bots: list[UUID]
    begin: datetime
    snapshots: int


async def measure(urls: Urls) -> list[Row]:
    """What the environment asks for."""
    return await measure_reads(urls, Reads())


async def measure_reads(urls: Urls, wanted: Reads) -> list[Row]:
    """p99 of each question over the large history, against that over the small one."""
    bots = max(_LISTINGS, min(500, wanted.snapshots // 20_000))
    readings = max(wanted.snapshots // bots, _GROWTH)
    large = await _history(urls.admin, "reads_large", bots, readings)
    small = await _history(urls.admin, "reads_small", max(bots // _GROWTH, _LISTINGS), max(readings // _GROWTH, 1))
    # As the API does: one search through all that is loaded is longer than any of these questions.
    cycles.search_seldom()
    cycles.pass_over_what_is_there()
    try:
        return [await _compared(wanted, name, large, small) for name in _QUESTIONS]
    finally:
        await large.database.close()
        await small.database.close()


async def _history(admin: str, name: str, bots: int, readings: int) -> _History:
    head, _, query = admin.partition("?")
    url = f"{head.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")
    connection = await asyncpg.connect(admin)
    await connection.execute(f'create database "{name}"')
    await connection.close()
    await migrate(url)
    tenant, end = uuid7(), datetime.now(UTC)
    begin = end - readings * _APART
    began = time.monotonic()
    connection = await asyncpg.connect(url)
    try:
        # Foreign keys are not what is measured, and checking them takes longer than writing the rows.
        await connection.execute("set session_replication_role = replica; set synchronous_commit = off")
        for month in await connection.fetch(
            "select generate_series(date_trunc('month', $1::timestamptz), $2, interval '1 month') as at", begin, end
        ):
            for parent in ("performance_snapshots", "bot_health_changes"):
                await connection.execute("select ensure_partition($1, 'month', $2)", parent, month["at"])
        await connection.execute("select ensure_partitions(1)")
        await connection.execute(_TENANT, tenant)
        await connection.execute(_TEMPLATES, tenant, bots)
        at = begin
        while at < end:
            until = min(at + _DAY, end)
            await connection.execute(_READINGS, at, until - _APART, _APART)
            at = until
        await connection.execute(_CHANGES, begin, end)
        pool = await make_pool(url_for_role(url, LOGIN_ROLES["agent_scheduler"]), "scheduler", size=2)
        await Rollups(pool, lag=timedelta(0), at_once=True).catch_up()
        await refresh_scores(pool)
        await pool.close()
        await connection.execute("vacuum analyze")
        ids = [row["id"] for row in await connection.fetch("select id from bots order by id")]
        count = await connection.fetchval("select count(*) from performance_snapshots")
    finally:
        await connection.close()
    sys.stderr.write(f"{name}: {count:,} snapshots of {bots} bots in {time.monotonic() - began:.0f} s\n")
    database = Database(url_for_role(url, LOGIN_ROLES["api"]), pool_size=1)
    return _History(database, Binding(tenant_id=tenant, user_id=uuid7()), ids, begin, count)


async def _leaderboard(session: AsyncSession, history: _History, _bot: UUID) -> int:
    tenant = history.binding.tenant_id
    assert tenant is not None
    found = await browse(
        session, tenant, risk_level=None, strategy_type=None, q=None, sort="return", limit=_LISTINGS, offset=0
    )
    return len(found)


async def _day(session: AsyncSession, _history: _History, bot: UUID) -> int:
    return len((await bot_performance(session, bot, datetime.now(UTC) - _DAY, None, None, silence=3 * _APART)).points)


async def _all(session: AsyncSession, history: _History, bot: UUID) -> int:
    return len((await bot_performance(session, bot, history.begin, None, None, silence=3 * _APART)).points)


async def _health_day(session: AsyncSession, _history: _History, bot: UUID) -> int:
    return len((await bot_timeline(session, bot, None, None, seen_until=None, words=str)).spans)


async def _health_all(session: AsyncSession, history: _History, bot: UUID) -> int:
    return len((await bot_timeline(session, bot, history.begin, None, seen_until=None, words=str)).spans)


_Question = Callable[[AsyncSession, _History, UUID], Awaitable[int]]
_QUESTIONS: dict[str, _Question] = {
    "Leaderboard": _leaderboard,
    "Equity curve of a day": _day,
    "Equity curve of everything": _all,
    "Health of a day": _health_day,
    "Health of everything": _health_all,
}


async def _once(question: _Question, history: _History, number: int) -> float:
    began = time.perf_counter()
    async with history.database.transaction(history.binding) as session:
        answered = await question(session, history, history.bots[number * 7 % len(history.bots)])
    taken = time.perf_counter() - began
    if not answered:
        raise RuntimeError("a question had no answer: there is nothing to compare")
    return taken * 1e6


async def _compared(wanted: Reads, name: str, large: _History, small: _History) -> Row:
    pairs = []
    question = _QUESTIONS[name]
    for number in range(wanted.rounds + 1):
        taken: tuple[list[float], list[float]] = ([], [])
        for piece in range(wanted.pieces):
            # In turns, and either first: what slows the machine for a while slows both.
            order = (0, 1) if piece % 2 else (1, 0)
            for side in order:
                taken[side].append(await _once(question, (large, small)[side], number * wanted.pieces + piece))
            await asyncio.sleep(0)
        if number:  # the first warms up
            pairs.append((_p99(taken[0]), _p99(taken[1])))
    return row_of(f"{name}, p99 at {large.snapshots:,} / {small.snapshots:,} snapshots", pairs, _BOUND)


def _p99(values: list[float]) -> float:
    return sorted(values)[ceil(0.99 * len(values)) - 1]
