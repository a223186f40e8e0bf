"""Rows of ``key_rotations``: who asked for what, how far it is, and what could not be moved."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.audit import note

_COLUMNS: Final = """id, kind, state, with_tenants, with_platform, only_tenant, total, done, failed, requested_by,
    started_at, beat_at, finished_at, beat_at > now() - interval '15 seconds' as worked_on"""
_RUNNING: Final = f"select {_COLUMNS} from key_rotations where kind = $1 and state = 'running'"  # noqa: S608 - a constant
_ONE: Final = f"select {_COLUMNS} from key_rotations where id = $1"  # noqa: S608 - a constant
_OPEN: Final = f"""
    select {_COLUMNS} from key_rotations where state <> 'done' order by started_at
"""  # noqa: S608 - a constant
_RESUME: Final = f"""
    update key_rotations set state = 'running' where id = (
        select id from key_rotations
        where kind = $1 and state <> 'done' and (with_tenants, with_platform) = ($2, $3)
            and only_tenant is not distinct from $4
        order by started_at desc limit 1
    ) returning {_COLUMNS}
"""  # noqa: S608 - a constant
_BEGIN: Final = f"""
    insert into key_rotations (id, kind, with_tenants, with_platform, only_tenant, requested_by)
    values ($5, $1, $2, $3, $4, $6) on conflict do nothing returning {_COLUMNS}
"""  # noqa: S608 - a constant
_STOP: Final = "update key_rotations set state = 'stopped' where state = 'running' returning id"
_FAIL: Final = """
    insert into key_rotation_failures (rotation_id, relation, row_id, of_tenant, key_version, lost, reason)
    values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing returning 1
"""
_COUNT_FAILURE: Final = "update key_rotations set failed = failed + 1, beat_at = now() where id = $1"
_TOTAL: Final = "update key_rotations set total = $2, beat_at = now() where id = $1 and total is null"
_BEAT: Final = "update key_rotations set beat_at = now() where id = $1 returning state"
# What was to be moved and was deleted by its owner meanwhile is not waited for.
_SETTLE: Final = "update key_rotations set total = done + failed where id = $1 and total <> done + failed"
_FINISH: Final = """
    update key_rotations set state = 'done', finished_at = now(), beat_at = now() where id = $1 and state = 'running'
"""


class RotationRunsError(RuntimeError):
    """Another rotation of the same kind has to end, or be stopped, first."""

    code = "rotation_runs"


class Rotation(msgspec.Struct, frozen=True):
    """One row of ``key_rotations``."""

    id: UUID
    kind: str
    state: str
    with_tenants: bool
    with_platform: bool
    only_tenant: UUID | None
    total: int | None
    done: int
    failed: int
    requested_by: str
    started_at: datetime
    beat_at: datetime | None
    finished_at: datetime | None
    worked_on: bool | None

    @property
    def progress(self) -> str:
        """How far it is, for people."""
        if self.total is None:
            return "counting"
        # What was sealed for an older key after the count is moved as well.
        whole = max(self.total, self.done + self.failed)
        share = 100 * (self.done + self.failed) // whole if whole else 100
        return f"{self.done} of {whole} ({share} %), {self.failed} failed"


class Scope(msgspec.Struct, frozen=True):
    """What a rotation covers."""

    with_tenants: bool = True
    with_platform: bool = False
    only_tenant: UUID | None = None


class Fault(msgspec.Struct, frozen=True):
    """A row that cannot be moved. ``lost``: its value does not open with its own key and never will."""

    relation: str
    row_id: UUID
    of_tenant: UUID | None
    key_version: int
    lost: bool
    reason: str


def _rotation(row: asyncpg.Record | None) -> Rotation | None:
    return Rotation(**dict(row)) if row is not None else None


async def begin(pool: asyncpg.Pool, kind: str, scope: Scope) -> Rotation:
    """Go on with the latest rotation of this kind and scope that has not ended, or begin one."""
    covers = (kind, scope.with_tenants, scope.with_platform, scope.only_tenant)
    try:
        found = _rotation(await pool.fetchrow(_RESUME, *covers))
        if found is None:
            found = _rotation(await pool.fetchrow(_BEGIN, *covers, uuid7(), _operator()))
    except asyncpg.UniqueViolationError:
        found = None
    if found is None:
        raise RotationRunsError(
            "another rotation of this kind is running: wait for it (`tradewise keys status`), or stop it first"
            " (`tradewise keys rotate --stop`)"
        )
    return found


def _operator() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


async def stop(pool: asyncpg.Pool) -> int:
    """Ask every running rotation to stop after the batch under way; how many there were."""
    return len(await pool.fetch(_STOP))


async def running(pool: asyncpg.Pool, kind: str) -> Rotation | None:
    """The rotation of this kind that is to be worked on."""
    return _rotation(await pool.fetchrow(_RUNNING, kind))


async def rotation(pool: asyncpg.Pool, rotation_id: UUID) -> Rotation:
    """One rotation as it is now."""
    found = _rotation(await pool.fetchrow(_ONE, rotation_id))
    if found is None:
        raise LookupError("this rotation is not in the database any more")
    return found


async def unfinished(pool: asyncpg.Pool) -> list[Rotation]:
    """Every rotation that has not ended."""
    return [Rotation(**dict(row)) for row in await pool.fetch(_OPEN)]


async def beat(pool: asyncpg.Pool, rotation_id: UUID) -> bool:
    """Say that somebody works on it; whether to go on."""
    return bool(await pool.fetchval(_BEAT, rotation_id) == "running")


async def set_total(pool: asyncpg.Pool, rotation_id: UUID, total: int) -> None:
    """What there is to move, counted once."""
    await pool.execute(_TOTAL, rotation_id, total)


async def settle(pool: asyncpg.Pool, rotation_id: UUID) -> None:
    """A whole look has found nothing more to move."""
    await pool.execute(_SETTLE, rotation_id)


async def finish(pool: asyncpg.Pool, rotation_id: UUID) -> None:
    """Nothing is left to do."""
    await pool.execute(_FINISH, rotation_id)


async def fail(pool: asyncpg.Pool, rotation_id: UUID, fault: Fault) -> None:
    """Count a row that cannot be moved and tell its tenant's audit log, once, however often it is met."""
    async with pool.acquire() as connection, connection.transaction():
        row: tuple[Any, ...] = msgspec.structs.astuple(fault)
        if not await connection.fetchval(_FAIL, rotation_id, *row):
            return
        await connection.execute(_COUNT_FAILURE, rotation_id)
        if fault.of_tenant is not None:
            detail = {"key_version": fault.key_version, "lost": fault.lost, "reason": fault.reason}
            await note(
                connection,
                "secret.unreadable",
                tenant_id=fault.of_tenant,
                resource=fault.relation,
                resource_id=fault.row_id,
                detail=detail,
            )
