"""Gives tenants new key pairs, moves what is sealed to them, destroys the older private halves. The scheduler's work.

Each step is found by looking at the rows, so that it may be cut off anywhere and run twice at once. Values are opened
and sealed in memory between two statements; each statement is short, and whoever reads finds a value beside its key.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from uuid_utils.compat import uuid7

from agents.keys import rotations
from agents.keys.rotations import Fault, Rotation
from agents.keys.tables import SEALED_BY_PLATFORM, SEALED_BY_TENANTS, SealedTable
from control_plane.security.sealing import Place, PublicKey, Sealed, seal
from control_plane.security.vault import KeyPair, KeyUnusableError, OpenError, Vault

#: How long an older private half outlives the newer one's making: a page may have fetched the old public key before.
GRACE_S: Final = 120.0
_BATCH: Final = 100
_BUDGET_S: Final = 1.0
_PAIRS: Final = 100
_DESTROYED_AT_ONCE: Final = 50
_BREATH: Final = 25
_FIRST: Final = UUID(int=0)

_DUE: Final = """
    select k.tenant_id as owner, max(k.version) as version from tenant_keys k
    join tenants t on t.id = k.tenant_id and t.status <> 'deleted'
    where $2::uuid is null or k.tenant_id = $2
    group by k.tenant_id having max(k.created_at) < $1 and bool_or(k.destroyed_at is null)
    order by k.tenant_id limit $3
"""
_PLATFORM_DUE: Final = """
    select i.id as owner, max(k.version) as version from platform_keys k cross join installation i
    group by i.id having max(k.created_at) < $1 and $2::uuid is null and $3 > 0
"""
# A tenant that was deleted since we looked gets no key pair any more.
_ADD: Final = """
    insert into tenant_keys (id, tenant_id, version, suite, public_key, wrapped_private_key, kek_id)
    select n.* from unnest($1::uuid[], $2::uuid[], $3::int[], $4::smallint[], $5::bytea[], $6::bytea[], $7::text[])
        as n (id, tenant_id, version, suite, public_key, wrapped_private_key, kek_id)
    join tenants t on t.id = n.tenant_id and t.status <> 'deleted'
    on conflict do nothing
"""
_ADD_PLATFORM: Final = """
    insert into platform_keys (id, version, suite, public_key, wrapped_private_key, kek_id)
    select n.id, n.version, n.suite, n.public_key, n.wrapped_private_key, n.kek_id
    from unnest($1::uuid[], $2::uuid[], $3::int[], $4::smallint[], $5::bytea[], $6::bytea[], $7::text[])
        as n (id, owner, version, suite, public_key, wrapped_private_key, kek_id)
    on conflict do nothing
"""
_NEWER: Final = "exists (select from tenant_keys n where n.tenant_id = k.tenant_id and n.version > k.version{})"
_PLATFORM_NEWER: Final = "exists (select from platform_keys n where n.version > k.version{})"
_OLD_ENOUGH: Final = " and n.created_at < now() - make_interval(secs => $3)"
_IN_SCOPE: Final = "exists (select from tenants t where t.id = k.tenant_id and t.status <> 'deleted')"
# A key that did not open a sound-looking value stays, until somebody has looked into it.
_BLOCKED: Final = """exists (
    select from key_rotation_failures f
    where f.rotation_id = $1 and not f.lost and f.key_version = k.version and f.of_tenant is not distinct from {}
)"""


def _unused(tables: tuple[SealedTable, ...]) -> str:
    return " and ".join(f"not {table.in_use}" for table in tables)


def _destroy(keys: str, conditions: str) -> str:
    return f"""
        update {keys} set wrapped_private_key = null, destroyed_at = now()
        where destroyed_at is null and id in (
            select k.id from {keys} k where k.destroyed_at is null and {conditions} limit {_DESTROYED_AT_ONCE}
        )
        returning id
    """  # noqa: S608 - constants


_DESTROY: Final = _destroy(
    "tenant_keys",
    f"($2::uuid is null or k.tenant_id = $2) and {_IN_SCOPE} and {_NEWER.format(_OLD_ENOUGH)}"
    f" and not {_BLOCKED.format('k.tenant_id')} and {_unused(SEALED_BY_TENANTS)}",
)
_DESTROY_PLATFORM: Final = _destroy(
    "platform_keys",
    f"$2::uuid is null and {_PLATFORM_NEWER.format(_OLD_ENOUGH)} and not {_BLOCKED.format('null')}"
    f" and {_unused(SEALED_BY_PLATFORM)}",
)
_WAITING: Final = f"""
    select count(*) from tenant_keys k
    where k.destroyed_at is null and ($2::uuid is null or k.tenant_id = $2) and {_IN_SCOPE} and {_NEWER.format("")}
        and not {_BLOCKED.format("k.tenant_id")}
"""  # noqa: S608 - constants
_WAITING_PLATFORM: Final = f"""
    select count(*) from platform_keys k
    where k.destroyed_at is null and $2::uuid is null and {_PLATFORM_NEWER.format("")} and not {_BLOCKED.format("null")}
"""  # noqa: S608 - constants


class Resealer:
    """Works on the rotation of key pairs that is running, a second or so at a time."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        vault: Vault,
        *,
        grace_s: float = GRACE_S,
        batch: int = _BATCH,
        budget_s: float = _BUDGET_S,
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._grace_s = grace_s
        self._batch = batch
        self._budget_s = budget_s
        self._cursors: dict[tuple[UUID, str], UUID] = {}
        self._log = structlog.get_logger("rotation")

    async def step(self) -> bool:
        """Do what a second allows; whether there is more to do at once. Nothing is half done when it is cut off."""
        rotation = await rotations.running(self._pool, "pairs")
        if rotation is None:
            self._cursors.clear()
            return False
        deadline = time.monotonic() + self._budget_s
        tables: tuple[SealedTable, ...] = ()
        if rotation.with_tenants:
            tables += SEALED_BY_TENANTS
            if await self._make_pairs(rotation, _DUE, _ADD, deadline):
                return True
        if rotation.with_platform:
            tables += SEALED_BY_PLATFORM
            if await self._make_pairs(rotation, _PLATFORM_DUE, _ADD_PLATFORM, deadline):
                return True
        if rotation.total is None:
            counts = [await self._pool.fetchval(table.count, rotation.only_tenant) for table in tables]
            await rotations.set_total(self._pool, rotation.id, sum(counts))
        for table in tables:
            if not await self._walk(rotation, table, deadline):
                return True
        return await self._end(rotation)

    async def _make_pairs(self, rotation: Rotation, due: str, add: str, deadline: float) -> bool:
        """A newer pair for whoever's newest is older than the rotation; whether some still wait for theirs."""
        while True:
            rows = await self._pool.fetch(due, rotation.started_at, rotation.only_tenant, _PAIRS)
            if not rows:
                return False
            if not await rotations.beat(self._pool, rotation.id):
                return True
            pairs = [await self._vault.generate(row["owner"], row["version"] + 1) for row in rows]
            await self._pool.execute(
                add,
                [uuid7() for _ in pairs],
                [pair.tenant_id for pair in pairs],
                [pair.version for pair in pairs],
                [pair.suite for pair in pairs],
                [pair.public_key for pair in pairs],
                [pair.wrapped_private_key for pair in pairs],
                [pair.kek_id for pair in pairs],
            )
            if time.monotonic() > deadline:
                return True

    async def _walk(self, rotation: Rotation, table: SealedTable, deadline: float) -> bool:
        """Move values until none is left; False where time is up or the rotation was stopped."""
        name = (rotation.id, table.name)
        while True:
            cursor = self._cursors.get(name, _FIRST)
            rows = await self._pool.fetch(table.look, rotation.only_tenant, cursor, rotation.id, self._batch)
            if not rows:
                if cursor == _FIRST:
                    return True
                self._cursors[name] = _FIRST  # once more from the beginning, for what came in meanwhile
                continue
            self._cursors[name] = max(row["tenant_id"] for row in rows) if len(rows) == self._batch else _FIRST
            if not await self._move(rotation.id, table, rows) or time.monotonic() > deadline:
                return False

    async def _move(self, rotation_id: UUID, table: SealedTable, rows: list[asyncpg.Record]) -> bool:
        moved: list[tuple[UUID, int, Sealed]] = []
        for number, row in enumerate(rows):
            if number % _BREATH == 0:
                await asyncio.sleep(0)  # heartbeats and new tenants go on between values
            try:
                moved.append((row["id"], row["version"], await self._resealed(table, row)))
            except OpenError as error:
                of_tenant = None if table.platform else row["tenant_id"]
                lost = not isinstance(error, KeyUnusableError)
                fault = Fault(table.name, row["id"], of_tenant, row["version"], lost, str(error))
                await rotations.fail(self._pool, rotation_id, fault)
                self._log.warning("value_not_moved", table=table.name, row=str(row["id"]), lost=lost, detail=str(error))
        state = await self._pool.fetchval(
            table.move,
            rotation_id,
            [row_id for row_id, _, _ in moved],
            [was for _, was, _ in moved],
            [sealed.value for _, _, sealed in moved],
            [sealed.key_version for _, _, sealed in moved],
            [sealed.suite for _, _, sealed in moved],
        )
        return bool(state == "running")

    async def _resealed(self, table: SealedTable, row: asyncpg.Record) -> Sealed:
        place = Place(row["tenant_id"], table.name, table.value, row["id"])
        pair = KeyPair(**{name: row[name] for name in KeyPair.__struct_fields__})
        secret = await self._vault.open(Sealed(row["value"], row["version"], row["value_suite"]), pair, place)
        newest = PublicKey(raw=row["new_public_key"], version=row["new_version"], suite=row["new_suite"])
        try:
            return seal(secret.reveal(), newest, place)
        except ValueError as error:
            raise KeyUnusableError(f"nothing can be sealed for the newest key: {error}") from None

    async def _end(self, rotation: Rotation) -> bool:
        """Destroy older private halves that nothing needs, and end once none is left; whether to go on at once."""
        await rotations.settle(self._pool, rotation.id)
        waiting = 0
        for wanted, destroy, count in (
            (rotation.with_tenants, _DESTROY, _WAITING),
            (rotation.with_platform, _DESTROY_PLATFORM, _WAITING_PLATFORM),
        ):
            if not wanted:
                continue
            gone = await self._pool.fetch(destroy, rotation.id, rotation.only_tenant, self._grace_s)
            if gone:
                self._log.info("private_halves_destroyed", count=len(gone))
                return await rotations.beat(self._pool, rotation.id)
            waiting += await self._pool.fetchval(count, rotation.id, rotation.only_tenant)
        if waiting:
            await rotations.beat(self._pool, rotation.id)
        else:
            await rotations.finish(self._pool, rotation.id)
            self._log.info("key_pairs_rotated", rotation=str(rotation.id))
        return False
