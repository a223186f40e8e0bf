"""The web tier's half of the vault: it can seal a value for agents and can open nothing.

HPKE (RFC 9180) in base mode, in the suite of the key (see ``suites.py``). The ``info`` string binds a sealed value to
its tenant, table, column, row and key version: a value copied to another place does not open.
"""

from __future__ import annotations

from uuid import UUID

import msgspec

from control_plane.security.suites import UnknownSuiteError, suite

__all__ = ["Place", "PublicKey", "Sealed", "UnknownSuiteError", "info_for", "seal"]

_FORMAT = b"tradewise-seal-v1"


class Place(msgspec.Struct, frozen=True):
    """Where a sealed value lives. Opening it anywhere else fails."""

    tenant_id: UUID
    table: str
    column: str
    row_id: UUID


class PublicKey(msgspec.Struct, frozen=True):
    """One version of a tenant's public key: its raw bytes, the version and the suite it is for."""

    raw: bytes
    version: int
    suite: int


class Sealed(msgspec.Struct, frozen=True):
    """A sealed value and what an agent needs to find the key for it."""

    value: bytes
    key_version: int
    suite: int


def info_for(place: Place, key_version: int) -> bytes:
    """The HPKE ``info``: every part length-prefixed, so that no two places share one spelling."""
    parts = (
        _FORMAT,
        place.tenant_id.bytes,
        place.table.encode(),
        place.column.encode(),
        place.row_id.bytes,
        key_version.to_bytes(4, "big"),
    )
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def seal(plaintext: bytes, key: PublicKey, place: Place) -> Sealed:
    """Seal ``plaintext`` for the agents at ``place``."""
    cipher = suite(key.suite)
    value = cipher.hpke.encrypt(plaintext, cipher.public_key(key.raw), info=info_for(place, key.version))
    return Sealed(value=value, key_version=key.version, suite=key.suite)
