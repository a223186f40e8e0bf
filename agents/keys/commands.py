"""What `tradewise keys …` does, without the command line: asking, working, watching, telling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import asyncpg

from agents.agent import make_pool
from agents.keys import rewrap as wraps
from agents.keys import rotations
from agents.keys.providers import provider_for
from agents.keys.reseal import GRACE_S
from agents.keys.rotations import Rotation, Scope
from agents.keys.tables import SEALED
from control_plane.database.away import DATABASE_AWAY
from control_plane.database.visit import DatabaseUnreachableError
from control_plane.security.keyproviders import KeyProvider, KeyProviderError
from control_plane.settings import Settings

Tell = Callable[[str], None]

_LOOK_EVERY_S: Final = 0.5
_NOBODY_AFTER_S: Final = 15.0
_TENANTS: Final = "select count(distinct tenant_id) from tenant_keys where destroyed_at is null"
_TENANT: Final = "select count(*) from tenants where id = $1 and status <> 'deleted'"
_WAKE: Final = "select pg_notify('tradewise_keys', '')"


class NoSuchTenantError(RuntimeError):
    """The tenant that was named is not there, or was deleted."""

    code = "no_such_tenant"


class RotationFailedError(RuntimeError):
    """Some rows could not be moved; the message says how many and where to look."""

    code = "rotation_failed"


@asynccontextmanager
async def database(url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of the scheduler's role. Raises DatabaseUnreachableError."""
    try:
        pool = await make_pool(url, "keys", size=2)
    except DATABASE_AWAY as error:
        raise DatabaseUnreachableError(url, error) from error
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[KeyProvider]:
    """The provider that the settings name, tried before anything is changed."""
    provider = provider_for(settings)
    try:
        await provider.ready()
        yield provider
    finally:
        await provider.close()


async def rotate_wraps(settings: Settings, url: str, tell: Tell, *, dry_run: bool, batch: int = wraps.BATCH) -> None:
    """A new key-encryption key, and every private half under it; or on with what an earlier run left.

    Raises KeyProviderError, RotationRunsError and :class:`RotationFailedError`.
    """
    async with opened(settings) as provider, database(url) as pool:
        counts, current = await wraps.by_kek(pool), await provider.current_id()
        left = sum(count for kek_id, count in counts.items() if kek_id != current)
        if dry_run:
            if left:
                tell(f"would put {_pairs(left)} under the current key {current}")
            else:
                tell(f"would make a new key and put {_pairs(counts.get(current, 0))} under it")
            return
        if left:
            tell(f"{_pairs(left)} not under the current key {current}: going on with that")
        else:
            current = await provider.rotate(current)
            tell(f"the current key is {current} now; agents find it by themselves")
        ended = await wraps.rewrap(
            pool,
            provider,
            await rotations.begin(pool, "wraps", Scope(with_platform=True)),
            _progress(tell, "re-wrapped"),
            batch=batch,
        )
        _summary(ended, tell)
        for kek_id in sorted(await wraps.by_kek(pool)):
            if kek_id != await provider.current_id():
                tell(f"{kek_id} still wraps something; it stays")
        if not ended.failed:
            tell("older keys wrap nothing any more: `tradewise keys retire ID` takes one away")


async def rotate_pairs(url: str, scope: Scope, tell: Tell, *, dry_run: bool, wait: bool) -> None:
    """Ask the scheduler for new key pairs and re-sealing; watch it where ``wait``.

    Raises :class:`NoSuchTenantError`, RotationRunsError and :class:`RotationFailedError`.
    """
    async with database(url) as pool:
        if scope.only_tenant is not None and not await pool.fetchval(_TENANT, scope.only_tenant):
            raise NoSuchTenantError(f"there is no tenant {scope.only_tenant}")
        if dry_run:
            await _count(pool, scope, tell)
            return
        rotation = await rotations.begin(pool, "pairs", scope)
        await pool.execute(_WAKE)
        if wait:
            _summary(await _watch(pool, rotation.id, tell), tell)
        else:
            tell("asked for; `tradewise keys status` shows how far it is")


async def _count(pool: asyncpg.Pool, scope: Scope, tell: Tell) -> None:
    if scope.with_tenants:
        made = 1 if scope.only_tenant else await pool.fetchval(_TENANTS)
        tell(f"would make {_pairs(made)} for tenants")
    if scope.with_platform:
        tell("would make 1 key pair for the platform")
    for table in SEALED:
        if scope.with_platform if table.platform else scope.with_tenants:
            tell(f"would re-seal {await pool.fetchval(table.count_all, scope.only_tenant)} of {table.name}")


async def _watch(pool: asyncpg.Pool, rotation_id: UUID, tell: Tell) -> Rotation:
    progress, since, told = _progress(tell, "re-sealed"), time.monotonic(), False
    while True:
        rotation = await rotations.rotation(pool, rotation_id)
        if rotation.state != "running":
            return rotation
        progress(rotation)
        if rotation.worked_on:
            since = time.monotonic()
            if rotation.total is not None and rotation.done + rotation.failed >= rotation.total and not told:
                tell(f"all is sealed for the newest keys; older ones are destroyed {GRACE_S:g} s after those were made")
                told = True
        elif time.monotonic() - since > _NOBODY_AFTER_S:
            tell("no scheduler agent works on it: is one running? It goes on as soon as there is one")
            since = time.monotonic()
        await asyncio.sleep(_LOOK_EVERY_S)


async def stop(url: str, tell: Tell) -> None:
    """Stop what runs, after the batch under way. Running the same command again goes on."""
    async with database(url) as pool:
        count = await rotations.stop(pool)
        tell(f"{count} stopped; the same `tradewise keys rotate` goes on with it" if count else "nothing is running")


async def retire(settings: Settings, url: str, kek_id: str, tell: Tell) -> None:
    """Take a key away for good. Raises KeyProviderError while a row is under it."""
    async with opened(settings) as provider, database(url) as pool:
        count = (await wraps.by_kek(pool)).get(kek_id, 0)
        if count:
            raise KeyProviderError(f"{kek_id} still wraps {_pairs(count)}: run `tradewise keys rotate` first")
        await provider.retire(kek_id)
        tell(f"{kek_id} is retired; copies of it, and backups from before the rotation, are yours to destroy")


async def status(settings: Settings, url: str) -> list[str]:
    """Key pairs by key-encryption key, values by version of their key, and rotations that have not ended."""
    async with database(url) as pool:
        try:
            async with opened(settings) as provider:
                current: str | None = await provider.current_id()
        except KeyProviderError:
            current = None  # whoever asks need not hold the keys
        lines = [
            f"{kek_id}: {_pairs(count)}" + (" (current)" if kek_id == current else "")
            for kek_id, count in sorted((await wraps.by_kek(pool)).items())
        ]
        for table in SEALED:
            lines += [
                f"{table.name}: {row['values']} sealed for key version {row['version']}"
                for row in await pool.fetch(table.versions)
            ]
        for rotation in await rotations.unfinished(pool):
            lines.append(f"rotation of {rotation.kind}: {_state(rotation)}, {rotation.progress}")
        return lines


def _state(rotation: Rotation) -> str:
    if rotation.state == "running" and not rotation.worked_on:
        return "waiting for a scheduler agent" if rotation.kind == "pairs" else "cut off (run `tradewise keys rotate`)"
    return rotation.state


def _progress(tell: Tell, verb: str) -> Callable[[Rotation], None]:
    last = ""

    def show(rotation: Rotation) -> None:
        nonlocal last
        words = f"{verb} {rotation.progress}"
        if words != last and rotation.total != 0:
            last = words
            tell(words)

    return show


def _summary(rotation: Rotation, tell: Tell) -> None:
    if rotation.state == "stopped":
        tell(f"stopped at {rotation.progress}; the same command goes on")
    elif rotation.failed:
        raise RotationFailedError(
            f"done, but {rotation.failed} could not be moved and stay under their older keys: the tenants' audit logs"
            " (secret.unreadable) and the table key_rotation_failures name each"
        )
    else:
        tell(f"done: {rotation.done} moved")


def _pairs(count: int) -> str:
    return f"{count} key pair{'s' if count != 1 else ''}"
