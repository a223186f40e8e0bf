"""Signed heads of chains: what is signed, and whether a signature holds. Making one is an agent's (see signing.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

#: How heads are signed (`suite` of an audit key).
SIGNATURE_ED25519: Final = 1

_FORMAT: Final = b"tradewise-audit-checkpoint-v1"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: What a chain may be found to be, and in words.
FAULTS: Final[Mapping[str, str]] = {
    "missing": "the event is not there",
    "out_of_order": "the event does not follow from the one before it",
    "altered": "the event is not what its hash was made of",
    "truncated": "the chain ends before the event that was its last one",
    "head_differs": "the chain's end is not what its head says",
    "checkpoint_differs": "the event is not the one that was signed here",
    "signature_invalid": "the signature on this event was not made by a key of this installation",
}

Kind = Literal["checkpoint", "anchor"]


class Signed(msgspec.Struct, frozen=True):
    """A row of ``audit_checkpoints`` or ``audit_anchors``: a place in a chain, vouched for by a key of ours."""

    kind: Kind
    tenant_id: UUID
    seq: int
    hash: bytes
    at: datetime
    key_version: int
    signature: bytes


def message(kind: Kind, tenant_id: UUID, seq: int, digest: bytes, at: datetime, key_version: int) -> bytes:
    """What is signed: every part length-prefixed, so that no two places share one spelling."""
    parts = (
        _FORMAT,
        kind.encode(),
        tenant_id.bytes,
        seq.to_bytes(8, "big"),
        digest,
        ((at - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big", signed=True),
        key_version.to_bytes(4, "big"),
    )
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def is_genuine(signed: Signed, public_keys: Mapping[int, bytes]) -> bool:
    """Whether the key that ``signed`` names is known and made its signature."""
    raw = public_keys.get(signed.key_version)
    if raw is None:
        return False
    said = message(signed.kind, signed.tenant_id, signed.seq, signed.hash, signed.at, signed.key_version)
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signed.signature, said)
    except (InvalidSignature, ValueError):
        return False
    return True


def first_forged(rows: Iterable[Signed], public_keys: Mapping[int, bytes]) -> Signed | None:
    """The first of ``rows`` along the chain whose signature does not hold; None where all do."""
    return next((row for row in sorted(rows, key=lambda row: row.seq) if not is_genuine(row, public_keys)), None)
