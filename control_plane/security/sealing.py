"""The web tier's half of the vault: it can seal a value for agents and can open nothing.

HPKE (RFC 9180) in base mode with X25519, HKDF-SHA-256 and AES-256-GCM. The ``info`` string binds a sealed value to its
tenant, table, column, row and key version: a value copied to another place does not open.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from control_plane.security.models import SUITE_X25519_SHA256_AES256GCM

_FORMAT = b"tradewise-seal-v1"
_SUITES = {SUITE_X25519_SHA256_AES256GCM: Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)}


class UnknownSuiteError(ValueError):
    """A sealed value or key names a cipher suite that this program does not have."""

    code = "unknown_suite"


class Place(msgspec.Struct, frozen=True):
    """Where a sealed value lives. Opening it anywhere else fails."""

    tenant_id: UUID
    table: str
    column: str
    row_id: UUID


class PublicKey(msgspec.Struct, frozen=True):
    """One version of a tenant's public key: 32 raw bytes, the version and the suite it is for."""

    raw: bytes
    version: int
    suite: int


class Sealed(msgspec.Struct, frozen=True):
    """A sealed value and what an agent needs to find the key for it."""

    value: bytes
    key_version: int
    suite: int


def suite(number: int) -> Suite:
    """The HPKE suite stored as ``number``. Raises :class:`UnknownSuiteError`."""
    try:
        return _SUITES[number]
    except KeyError:
        raise UnknownSuiteError(
            f"cipher suite {number} is not known to this version of tradewise; upgrade it"
        ) from None


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
    value = suite(key.suite).encrypt(
        plaintext, X25519PublicKey.from_public_bytes(key.raw), info=info_for(place, key.version)
    )
    return Sealed(value=value, key_version=key.version, suite=key.suite)
