"""Puts every private half under the current key-encryption key. What is sealed does not change, and nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

import asyncpg

from agents.keys import rotations
from agents.keys.rotations import Fault, Rotation
from agents.keys.tables import WRAPPED, WrappedTable
from control_plane.security.keyproviders import (
    KeyProvider,
    KeyProviderError,
    KeyProviderUnavailableError,
    Wrapped,
)
from control_plane.security.vault import wrap_context

BATCH: Final = 100
"""Private halves that are moved together, and told of."""
_AT_ONCE: Final = 8
_FIRST: Final = UUID(int=0)


async def tables(pool: asyncpg.Pool) -> list[WrappedTable]:
    """The tables of wrapped keys that this database has."""
    return [table for table in WRAPPED if await pool.fetchval("select to_regclass($1) is not null", table.name)]


async def by_kek(pool: asyncpg.Pool) -> dict[str, int]:
    """How many private halves each key-encryption key wraps."""
    found: dict[str, int] = {}
    for table in await tables(pool):
        for row in await pool.fetch(table.count):
            found[row["kek_id"]] = found.get(row["kek_id"], 0) + row["pairs"]
    return found


async def rewrap(
    pool: asyncpg.Pool,
    provider: KeyProvider,
    rotation: Rotation,
    tell: Callable[[Rotation], None],
    *,
    batch: int = BATCH,
) -> Rotation:
    """Re-wrap until nothing is left or somebody stops it; the rotation as it is then.

    Any number of these may run, be killed, and be started again: what is left is whatever row is not under the current
    key. Raises KeyProviderUnavailableError where the provider goes away; then nothing is lost and a new run goes on.
    """
    current = await provider.current_id()
    left = sum(count for kek_id, count in (await by_kek(pool)).items() if kek_id != current)
    await rotations.set_total(pool, rotation.id, left)
    found = await tables(pool)
    while True:
        for table in found:
            if not await _whole(pool, provider, rotation.id, table, tell, batch):
                return await rotations.rotation(pool, rotation.id)
        # Once more from the beginning, until a whole look finds nothing: somebody may have wrapped under an older key
        # that was the current one a moment ago.
        if not await _anything(pool, provider, rotation.id, found):
            break
    await rotations.settle(pool, rotation.id)
    await rotations.finish(pool, rotation.id)
    return await rotations.rotation(pool, rotation.id)


async def _anything(pool: asyncpg.Pool, provider: KeyProvider, rotation_id: UUID, found: list[WrappedTable]) -> bool:
    current = await provider.current_id()
    for table in found:
        if await pool.fetchrow(table.look, current, _FIRST, rotation_id, 1) is not None:
            return True
    return False


async def _whole(
    pool: asyncpg.Pool,
    provider: KeyProvider,
    rotation_id: UUID,
    table: WrappedTable,
    tell: Callable[[Rotation], None],
    batch: int,
) -> bool:
    """One walk over a table; False where the rotation was stopped."""
    after = _FIRST
    while True:
        rows = await pool.fetch(table.look, await provider.current_id(), after, rotation_id, batch)
        if not rows:
            return await rotations.beat(pool, rotation_id)
        after = rows[-1]["id"]
        turns = asyncio.Semaphore(_AT_ONCE)
        moved = await asyncio.gather(*(_one(provider, row, turns) for row in rows), return_exceptions=True)
        done: list[tuple[UUID, str, Wrapped]] = []
        for row, result in zip(rows, moved, strict=True):
            if isinstance(result, Wrapped):
                done.append((row["id"], row["kek_id"], result))
            elif isinstance(result, KeyProviderError) and not isinstance(result, KeyProviderUnavailableError):
                await rotations.fail(
                    pool,
                    rotation_id,
                    Fault(table.name, row["id"], row["of_tenant"], row["version"], lost=False, reason=str(result)),
                )
            else:
                raise result
        state = await pool.fetchval(
            table.move,
            rotation_id,
            [row_id for row_id, _, _ in done],
            [was for _, was, _ in done],
            [wrapped.value for _, _, wrapped in done],
            [wrapped.kek_id for _, _, wrapped in done],
        )
        tell(await rotations.rotation(pool, rotation_id))
        if state != "running":
            return False


async def _one(provider: KeyProvider, row: asyncpg.Record, turns: asyncio.Semaphore) -> Wrapped:
    async with turns:
        return await provider.rewrap(row["wrapped"], row["kek_id"], wrap_context(row["owner"], row["version"]))
