"""API keys: made with no more than the maker holds, shown once, revoked for good."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.errors import NotFoundError, unacceptable
from control_plane.identity.permissions import SCOPES
from control_plane.identity.principal import Principal
from control_plane.identity.schemas import KeyView, NewKey
from control_plane.security.tokens import new_api_key


async def create_key(session: AsyncSession, principal: Principal, data: NewKey) -> KeyView:
    """Make a key for the caller's tenant. Raises 422 for an unknown scope, one the caller lacks, or a past expiry."""
    principal.require("keys:write")
    for scope in data.scopes:
        if scope not in SCOPES:
            raise unacceptable(
                "scopes", f"{scope[:60]!r} is not a scope; choose from {', '.join(SCOPES)}", code="unknown_scope"
            )
        if scope not in principal.scopes:
            raise unacceptable("scopes", f"you do not hold {scope} yourself", code="scope_not_held")
    if data.expires_at is not None and (data.expires_at.tzinfo is None or data.expires_at <= datetime.now(UTC)):
        raise unacceptable("expires_at", "must be a time in the future, with its zone")
    key = new_api_key()
    row = (
        await session.execute(
            text(
                "insert into api_keys (id, created_by, name, prefix, key_hash, scopes, expires_at)"
                " values (:id, :user, :name, :prefix, :digest, :scopes, :expires_at)"
                " returning id, name, prefix, scopes, created_at, expires_at, last_used_at, revoked_at"
            ),
            {
                "id": uuid7(),
                "user": principal.user_id,
                "name": data.name.strip(),
                "prefix": key.prefix,
                "digest": key.digest,
                "scopes": sorted(set(data.scopes)),
                "expires_at": data.expires_at,
            },
        )
    ).one()
    return _view(row, key.text)


async def list_keys(session: AsyncSession, principal: Principal, before: UUID | None, limit: int) -> list[KeyView]:
    """The tenant's keys, newest first, revoked ones included: their history is worth seeing."""
    principal.require("keys:read")
    rows = await session.execute(
        text(
            "select id, name, prefix, scopes, created_at, expires_at, last_used_at, revoked_at from api_keys"
            " where cast(:before as uuid) is null or id < :before order by id desc limit :limit"
        ),
        {"before": before, "limit": limit},
    )
    return [_view(row, None) for row in rows]


async def revoke_key(session: AsyncSession, principal: Principal, key_id: UUID) -> None:
    """Revoke a key; doing it again changes nothing. Raises 404."""
    principal.require("keys:write")
    found = await session.scalar(
        text("update api_keys set revoked_at = coalesce(revoked_at, now()) where id = :id returning id"), {"id": key_id}
    )
    if found is None:
        raise NotFoundError("API key")


async def revoke_keys_of(session: AsyncSession, user_id: UUID) -> None:
    """Revoke what a person made in the bound tenant, for good: should they come back, their old keys do not."""
    await session.execute(
        text("update api_keys set revoked_at = now() where created_by = :user and revoked_at is null"),
        {"user": user_id},
    )


async def revoke_all(session: AsyncSession) -> None:
    """Revoke every key of the bound tenant."""
    await session.execute(text("update api_keys set revoked_at = now() where revoked_at is null"))


def without_key(view: KeyView) -> KeyView:
    """The same key as it may be stored and shown again."""
    return msgspec.structs.replace(view, key=None)


def _view(row: Row[Any], key: str | None) -> KeyView:
    return KeyView(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        key=key,
    )
