"""Bodies of API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from control_plane.identity.schemas import Name


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """An API key to be made. ``scopes`` must be ones that the caller holds."""

    name: Name
    scopes: Annotated[list[str], msgspec.Meta(min_length=1, max_length=50)]
    expires_at: datetime | None = None


class KeyView(msgspec.Struct, frozen=True):
    """An API key. ``key`` is there once, in the answer that makes it, and null ever after."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    key: str | None
