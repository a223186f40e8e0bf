"""Bodies of API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec

from control_plane.identity.schemas import Name

LONGEST_OVERLAP_S: Final = 7 * 24 * 3600
DEFAULT_OVERLAP_S: Final = 24 * 3600


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """An API key to be made. ``scopes`` must be ones that the caller holds.

    With ``bot_ids`` it reaches those bots and nothing else; with ``allowed_addresses`` (IP addresses, or networks such
    as ``203.0.113.0/24``) it works from there alone.
    """

    name: Name
    scopes: Annotated[list[str], msgspec.Meta(min_length=1, max_length=50)]
    expires_at: datetime | None = None
    bot_ids: Annotated[list[UUID], msgspec.Meta(min_length=1, max_length=100)] | None = None
    allowed_addresses: (
        Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(min_length=1, max_length=50)] | None
    ) = None


class RotateKey(msgspec.Struct, forbid_unknown_fields=True):
    """For how many seconds the old key works beside the new one: a day unless told otherwise, 0 ends it at once."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=LONGEST_OVERLAP_S)] = DEFAULT_OVERLAP_S


class KeyView(msgspec.Struct, frozen=True):
    """An API key. ``key`` is there once, in the answer that makes it, and null ever after.

    ``created_by`` is the person whom it acts as. Null ``bot_ids``: every bot of the tenant; null ``allowed_addresses``:
    from everywhere. ``last_used_at`` is exact to a minute. A key that has been rotated names its successor in
    ``replaced_by`` and ends with its overlap, at ``expires_at``.
    """

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    bot_ids: list[UUID] | None
    allowed_addresses: list[str] | None
    created_at: datetime
    created_by: UUID
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None
    revoked_at: datetime | None
    replaced_by: UUID | None
    key: str | None
