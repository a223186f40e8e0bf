"""How an agent gets at a sealed value: the row, the tenant's key, the vault. Nothing is kept."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from control_plane.security.sealing import Place, Sealed
from control_plane.security.secret import Secret
from control_plane.security.vault import KeyPair, OpenError, Vault

_KEY = """
    select tenant_id, version, suite, public_key, wrapped_private_key, kek_id
    from tenant_keys where tenant_id = $1 and version = $2
"""


async def open_sealed(pool: asyncpg.Pool, vault: Vault, sealed: Sealed, place: Place) -> Secret:
    """Open ``sealed`` with its tenant's key. Raises :class:`OpenError`."""
    row = await pool.fetchrow(_KEY, place.tenant_id, sealed.key_version)
    if row is None:
        raise OpenError("the key that this value was sealed for is not in the database")
    return vault.open(sealed, KeyPair(**dict(row)), place)


async def open_bot_secret(pool: asyncpg.Pool, vault: Vault, tenant_id: UUID, bot_id: UUID, kind: str) -> Secret | None:
    """A bot's ``credentials`` or ``config``; None where it has none. Raises :class:`OpenError`."""
    row = await pool.fetchrow(
        "select id, sealed, key_version, suite from bot_secrets where tenant_id = $1 and bot_id = $2 and kind = $3",
        tenant_id,
        bot_id,
        kind,
    )
    if row is None:
        return None
    sealed = Sealed(value=row["sealed"], key_version=row["key_version"], suite=row["suite"])
    return await open_sealed(pool, vault, sealed, Place(tenant_id, "bot_secrets", "sealed", row["id"]))


async def open_template_config(pool: asyncpg.Pool, vault: Vault, tenant_id: UUID, version_id: UUID) -> Secret:
    """The private configuration of a template version, in its creator's tenant. Raises :class:`OpenError`."""
    row = await pool.fetchrow(
        "select config_sealed, config_key_version, config_suite from template_versions"
        " where tenant_id = $1 and id = $2",
        tenant_id,
        version_id,
    )
    if row is None:
        raise OpenError("the template version is not in the database")
    sealed = Sealed(value=row["config_sealed"], key_version=row["config_key_version"], suite=row["config_suite"])
    return await open_sealed(pool, vault, sealed, Place(tenant_id, "template_versions", "config_sealed", version_id))
