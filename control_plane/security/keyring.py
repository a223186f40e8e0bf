"""The web tier's view of tenants' keys: public halves only."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.database.sessions import Database
from control_plane.errors import UnavailableError
from control_plane.security.sealing import PublicKey

_WAIT_S = 5.0
_LOOK_EVERY_S = 0.05
_NEWEST = text(
    "select public_key, version, suite from tenant_keys"
    " where tenant_id = :tenant and destroyed_at is null order by version desc limit 1"
)
_PLATFORM = text("select installation, public_key, version, suite from platform_key()")


async def platform_key(session: AsyncSession) -> tuple[UUID, PublicKey]:
    """The installation's id, which stands where a tenant's would, and its newest public key. Works in any session.

    Raises :class:`UnavailableError` while no agent has made one, which takes a moment after the first migration.
    """
    row = (await session.execute(_PLATFORM)).one_or_none()
    if row is None:
        raise UnavailableError(
            "this installation has no key to seal mails with yet; is the scheduler agent running?",
            code="platform_key_pending",
        )
    return row.installation, PublicKey(raw=bytes(row.public_key), version=row.version, suite=row.suite)


async def wait_for_platform_key(database: Database) -> tuple[UUID, PublicKey]:
    """As :func:`platform_key`; waits a moment for an installation that was born just now. Raises UnavailableError."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            async with database.anonymous() as session:
                return await platform_key(session)
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_LOOK_EVERY_S)


async def public_key(session: AsyncSession, tenant_id: UUID) -> PublicKey | None:
    """The tenant's newest public key, or None while no agent has made one."""
    row = (await session.execute(_NEWEST, {"tenant": tenant_id})).one_or_none()
    return PublicKey(raw=bytes(row.public_key), version=row.version, suite=row.suite) if row else None


async def wait_for_public_key(database: Database, tenant_id: UUID) -> PublicKey:
    """The tenant's newest public key; waits a moment for a tenant that was born just now.

    The scheduler agent makes key pairs, because only agents may hold private halves. Raises
    :class:`UnavailableError` where none comes.
    """
    deadline = time.monotonic() + _WAIT_S
    while True:
        async with database.tenant(tenant_id) as session:
            found = await public_key(session, tenant_id)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise UnavailableError(
                "this tenant has no key to seal secrets with yet; is the scheduler agent running?",
                code="tenant_key_pending",
            )
        await asyncio.sleep(_LOOK_EVERY_S)
