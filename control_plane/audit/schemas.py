"""What the audit log is told as."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class ActorView(msgspec.Struct, frozen=True):
    """Who did it. ``id`` is a person's or a key's id, an agent's kind, or the database role of a change by hand."""

    kind: str
    id: str
    #: The person who acted, or whose key did.
    user_id: UUID | None


class EventView(msgspec.Struct, frozen=True):
    """One event. ``changes`` holds ``before`` and ``after`` of each field; of a secret, that it changed."""

    seq: int
    id: UUID
    at: datetime
    actor: ActorView
    address: str | None
    request_id: UUID | None
    action: str
    resource: str | None
    resource_id: UUID | None
    outcome: str
    changes: dict[str, Any]
    detail: dict[str, Any]
    prev_hash: str
    hash: str


class ChainFault(msgspec.Struct, frozen=True):
    """The first place where the chain is not as it was told."""

    seq: int
    kind: str
    detail: str


class VerifyView(msgspec.Struct, frozen=True):
    """What walking the tenant's chain gave. ``head_hash`` may be written down elsewhere and compared later."""

    ok: bool
    events: int
    first_seq: int | None
    last_seq: int
    head_hash: str | None
    checkpoints: int
    last_checkpoint_at: datetime | None
    fault: ChainFault | None
