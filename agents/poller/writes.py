"""What waits, as the statements take it."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
from uuid_utils.compat import uuid7

from agents.poller import statements
from agents.poller.columns import Columns, packed
from agents.poller.waiting import Change, Snapshot, Waiting


def _healths(batch: Sequence[Waiting], columns: Columns) -> list[object]:
    healths = [one.result.decision.health for one in batch]
    values = ([getattr(health, name) for health in healths] for name in columns if name != "id")
    return packed(columns, [[one.result.bot.id for one in batch], *values])


def _snapshots(snapshots: Sequence[tuple[Waiting, Snapshot]]) -> list[object]:
    readings = [row.reading for _, row in snapshots]
    return packed(
        statements.SNAPSHOT_COLUMNS,
        [
            [one.result.bot.tenant_id for one, _ in snapshots],
            [one.result.bot.id for one, _ in snapshots],
            [row.at for _, row in snapshots],
            [row.value for _, row in snapshots],
            *([getattr(reading, name) for reading in readings] for name in statements.READING_COLUMNS),
        ],
    )


async def write_healths(connection: asyncpg.Connection, batch: Sequence[Waiting]) -> None:
    """What the bots are like now: whole, or where nothing else is new the time of the look."""
    changed: list[Waiting] = []
    seen: list[Waiting] = []
    for one in batch:
        (changed if one.changed else seen).append(one)
    if changed:
        await connection.execute(statements.CHANGED, *_healths(changed, statements.CHANGED_COLUMNS))
    if seen:
        await connection.execute(statements.SEEN, *_healths(seen, statements.SEEN_COLUMNS))


async def write_changes(connection: asyncpg.Connection, rows: Sequence[tuple[Waiting, Change]]) -> None:
    """What a history tells of health."""
    await connection.execute(
        statements.CHANGES,
        [one.result.bot.tenant_id for one, _ in rows],
        [one.result.bot.id for one, _ in rows],
        *([getattr(row, name) for _, row in rows] for name in ("at", "state", "reason", "trading_state")),
    )


async def write_snapshots(connection: asyncpg.Connection, rows: Sequence[tuple[Waiting, Snapshot]]) -> None:
    """What it tells of figures, and where counters began anew."""
    await connection.execute(statements.SNAPSHOTS, *_snapshots(rows))
    await _note_resets(connection, rows)


async def tell_followers(connection: asyncpg.Connection, ours: Sequence[Waiting]) -> None:
    """Whoever waits for a look is told of it, whatever became new by it: of most changes no trigger tells. So is who
    follows figures that moved."""
    followed = [one for one in ours if one.urgent or (one.snapshots and any(row.told for row in one.snapshots))]
    if followed:
        await connection.execute(
            statements.TELL_FOLLOWERS,
            [one.result.bot.tenant_id for one in followed],
            [one.result.bot.id for one in followed],
        )


async def _note_resets(connection: asyncpg.Connection, snapshots: Sequence[tuple[Waiting, Snapshot]]) -> None:
    resets = [(one, row) for one, row in snapshots if row.reset is not None]
    if resets:
        await connection.execute(
            statements.RESETS,
            [uuid7() for _ in resets],
            [one.result.bot.tenant_id for one, _ in resets],
            [one.result.bot.id for one, _ in resets],
            [row.reset for _, row in resets],
        )
