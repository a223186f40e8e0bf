"""SQL of the live view, as role ``tradewise_agent_launcher``. Each function is one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from agents.launcher.runtimes.base import Stats


class Followed(msgspec.Struct, frozen=True):
    """A bot that somebody watches."""

    tenant_id: UUID
    bot_id: UUID
    kind: str


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of a bot, as far as its output is concerned."""

    id: UUID
    container_id: str | None
    state: str
    live: bool
    #: The secrets of now are those that it was started with; else its lines cannot be cleaned, and are not shown.
    secrets_known: bool
    last_lines: tuple[str, ...]
    finished_ns: int


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that runs."""

    id: UUID
    tenant_id: UUID
    bot_id: UUID
    container_id: str
    age_s: float


class Cursor(msgspec.Struct, kw_only=True):
    """How far a bot's output has been written down."""

    position: int = 0
    chain: int = 0
    instance_id: UUID | None = None
    read_ns: int | None = None
    total_lines: int = 0
    total_bytes: int = 0
    ended: bool = True


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Lines as they are written down."""

    first: int
    position: int
    chain: int
    instance_id: UUID
    lines: Sequence[tuple[int, str, str]]
    read_ns: int | None
    total_lines: int
    total_bytes: int
    ended: bool = False


#: Kept of a bot for whoever comes a moment later, or reads slowly.
KEPT_LINES: Final = 4000
KEPT_BYTES: Final = 4 * 1024 * 1024

_FOLLOWED = "select tenant_id, bot_id, kind from bot_follows where wanted_until > now() order by asked_at"
_ANSWER = """
    update bot_follows set served_at = clock_timestamp(), problem = $4, instance_id = $5
    where tenant_id = $1 and bot_id = $2 and kind = $3
"""
_STILL_SERVED = """
    update bot_follows set served_at = clock_timestamp()
    where kind = 'logs' and bot_id = any($1) and problem is null and wanted_until > now()
"""
_SAMPLED = """
    update bot_follows set served_at = clock_timestamp(), problem = null, instance_id = $3, sample = $4::jsonb
    where tenant_id = $1 and bot_id = $2 and kind = 'stats'
"""
# A secret that was replaced has a new row. One that came a moment before its copy may still not be in it: the launch
# opens secrets before it takes its place.
_COPIES = """
    select i.id, i.container_id, i.state, i.released_at is null as live, i.last_lines,
        i.generation = b.generation or not exists (
            select from bot_secrets s where s.tenant_id = i.tenant_id and s.bot_id = i.bot_id
                and s.created_at > i.created_at - interval '1 minute') as secrets_known,
        coalesce(i.finished_at, now()) as finished_at
    from bot_instances i join bots b on b.tenant_id = i.tenant_id and b.id = i.bot_id
    where i.tenant_id = $1 and i.bot_id = $2 and ($3::uuid is null or i.id >= $3)
    order by i.id desc limit 5
"""
_RUNNING = """
    select id, tenant_id, bot_id, container_id, extract(epoch from now() - started_at)::float8 as age_s
    from bot_instances where state = 'running' and released_at is null and container_id is not null
"""
_CURSOR = """
    select position, chain, instance_id, read_ns, total_lines, total_bytes, ended from bot_log_lines
    where tenant_id = $1 and bot_id = $2 order by position desc limit 1
"""
_WRITE = """
    insert into bot_log_lines (tenant_id, bot_id, position, first, chain, instance_id, lines, read_ns, total_lines,
        total_bytes, ended)
    values ($1, $2, $3, $4, $5, $6, $7::jsonb, $8, $9, $10, $11)
"""
_TRIM = "delete from bot_log_lines where tenant_id = $1 and bot_id = $2 and (total_lines <= $3 or total_bytes <= $4)"
_FORGET_LINES = """
    delete from bot_log_lines l where l.created_at < now() - interval '30 minutes' and not exists (
        select from bot_follows f where f.tenant_id = l.tenant_id and f.bot_id = l.bot_id and f.kind = 'logs'
            and f.wanted_until > now())
"""
_FORGET_FOLLOWS = "delete from bot_follows where wanted_until < now() - interval '10 minutes'"
_KEEP_STATS = """
    insert into bot_stats (tenant_id, bot_id, observed_at, instance_id, cpu_seconds, memory_bytes, memory_limit_bytes,
        received_bytes, sent_bytes, processes)
    select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[], $5::float8[], $6::int8[], $7::int8[],
        $8::int8[], $9::int8[], $10::int4[])
    on conflict do nothing
"""


async def followed(pool: asyncpg.Pool) -> list[Followed]:
    """What is watched now, longest first."""
    return [Followed(*row) for row in await pool.fetch(_FOLLOWED)]


async def answer(pool: asyncpg.Pool, what: Followed, *, problem: str | None, instance_id: UUID | None) -> None:
    """Say that everything read so far is written down, or why there is nothing."""
    await pool.execute(_ANSWER, what.tenant_id, what.bot_id, what.kind, problem, instance_id)


async def still_served(pool: asyncpg.Pool, bots: Collection[UUID]) -> None:
    """Say of bots whose output is being read that it still is."""
    await pool.execute(_STILL_SERVED, list(bots))


async def sampled(pool: asyncpg.Pool, copy: Running, stats: Stats) -> None:
    """Show the present figures to whoever follows them."""
    await pool.execute(_SAMPLED, copy.tenant_id, copy.bot_id, copy.id, msgspec.json.encode(stats).decode())


async def copies(pool: asyncpg.Pool, what: Followed, since: UUID | None) -> list[Copy]:
    """A bot's newest copies from ``since`` on, oldest first; without it, the newest one alone."""
    rows = await pool.fetch(_COPIES, what.tenant_id, what.bot_id, since)
    found = [
        Copy(
            id=row["id"],
            container_id=row["container_id"],
            state=row["state"],
            live=row["live"],
            secrets_known=row["secrets_known"],
            last_lines=tuple(json.loads(row["last_lines"]) if row["last_lines"] else ()),
            finished_ns=_nanoseconds(row["finished_at"]),
        )
        for row in reversed(rows)
    ]
    return found if since is not None else found[-1:]


async def running(pool: asyncpg.Pool) -> list[Running]:
    """Every copy that runs."""
    return [Running(**row) for row in await pool.fetch(_RUNNING)]


async def cursor(pool: asyncpg.Pool, what: Followed) -> Cursor:
    """Where an earlier stream of this bot left off; at nothing where there is none that is remembered."""
    row = await pool.fetchrow(_CURSOR, what.tenant_id, what.bot_id)
    return Cursor(**row) if row is not None else Cursor()


async def write(pool: asyncpg.Pool, what: Followed, rows: Sequence[Row], *, trim: bool) -> None:
    """Write lines down for whoever follows."""
    values: list[tuple[Any, ...]] = [
        (
            what.tenant_id,
            what.bot_id,
            row.position,
            row.first,
            row.chain,
            row.instance_id,
            msgspec.json.encode(row.lines).decode(),
            row.read_ns,
            row.total_lines,
            row.total_bytes,
            row.ended,
        )
        for row in rows
    ]
    await pool.executemany(_WRITE, values)
    if trim:
        newest = rows[-1]
        kept = (newest.total_lines - KEPT_LINES, newest.total_bytes - KEPT_BYTES)
        await pool.execute(_TRIM, what.tenant_id, what.bot_id, *kept)


async def forget(pool: asyncpg.Pool) -> None:
    """Away with lines that nobody has followed for half an hour."""
    await pool.execute(_FORGET_LINES)
    await pool.execute(_FORGET_FOLLOWS)


async def keep_stats(pool: asyncpg.Pool, taken: Sequence[tuple[Running, Stats]]) -> None:
    """Write a round of samples down."""
    columns: list[list[Any]] = [[copy.tenant_id for copy, _ in taken], [copy.bot_id for copy, _ in taken]]
    columns += [[stats.at for _, stats in taken], [copy.id for copy, _ in taken]]
    columns += [[getattr(stats, name) for _, stats in taken] for name in _FIGURES]
    await pool.execute(_KEEP_STATS, *columns)


_FIGURES: Final = ("cpu_seconds", "memory_bytes", "memory_limit_bytes", "received_bytes", "sent_bytes", "processes")


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
