"""How an agent gets at a sealed value: the row with its key in one statement, then the vault. Nothing is kept.

One statement, because keys are rotated while we read: a value and the key that it is sealed for are of one moment.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import asyncpg

from control_plane.security.sealing import Place, Sealed
from control_plane.security.secret import Secret
from control_plane.security.vault import KeyPair, OpenError, Vault

_STORED: Final = """
    select s.bot_id, s.id, s.sealed as value, s.key_version, s.suite as sealed_suite, k.tenant_id, k.version, k.suite,
        k.public_key, k.wrapped_private_key, k.kek_id
    from bot_secrets s
    left join tenant_keys k on k.tenant_id = s.tenant_id and k.version = s.key_version
"""
_OF_BOT: Final = _STORED + " where s.tenant_id = $1 and s.bot_id = $2 and s.kind = $3"
_OF_TEMPLATE: Final = """
    select v.id, v.config_sealed as value, v.config_key_version as key_version, v.config_suite as sealed_suite,
        k.tenant_id, k.version, k.suite, k.public_key, k.wrapped_private_key, k.kek_id
    from template_versions v
    left join tenant_keys k on k.tenant_id = v.tenant_id and k.version = v.config_key_version
    where v.tenant_id = $1 and v.id = $2
"""


class NotOpenedError(OpenError):
    """An :class:`OpenError` that knows which stored value it is about, for the audit log."""

    def __init__(self, words: str, place: Place) -> None:
        super().__init__(words)
        self.place = place


async def open_row(vault: Vault, row: asyncpg.Record, place: Place) -> Secret:
    """Open a row that holds a sealed value beside its key. Raises :class:`NotOpenedError`."""
    if row["version"] is None:
        raise NotOpenedError("the key that this value was sealed for is not in the database", place)
    sealed = Sealed(value=row["value"], key_version=row["key_version"], suite=row["sealed_suite"])
    try:
        return await vault.open(sealed, KeyPair(**{name: row[name] for name in KeyPair.__struct_fields__}), place)
    except OpenError as error:
        raise NotOpenedError(str(error), place) from None


async def open_bot_secret(pool: asyncpg.Pool, vault: Vault, tenant_id: UUID, bot_id: UUID, kind: str) -> Secret | None:
    """A bot's ``credentials`` or ``config``; None where it has none. Raises :class:`OpenError`."""
    row = await pool.fetchrow(_OF_BOT, tenant_id, bot_id, kind)
    return None if row is None else await open_secret_row(vault, row, tenant_id)


async def open_secret_row(vault: Vault, row: asyncpg.Record, tenant_id: UUID) -> Secret:
    """Open what is stored of one of a tenant's bots. Raises :class:`NotOpenedError`."""
    return await open_row(vault, row, Place(tenant_id, "bot_secrets", "sealed", row["id"]))


async def open_template_config(pool: asyncpg.Pool, vault: Vault, tenant_id: UUID, version_id: UUID) -> Secret:
    """The private configuration of a template version, in its creator's tenant. Raises :class:`OpenError`."""
    row = await pool.fetchrow(_OF_TEMPLATE, tenant_id, version_id)
    if row is None:
        raise OpenError("the template version is not in the database")
    return await open_row(vault, row, Place(tenant_id, "template_versions", "config_sealed", version_id))
