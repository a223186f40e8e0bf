"""API keys: made with no more than the maker holds, shown once, replaced with an overlap, revoked for good."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.api_keys.powers import Powers, checked_networks, checked_scopes, excess, shown
from control_plane.api_keys.schemas import KeyView, NewKey
from control_plane.audit.notes import note
from control_plane.errors import ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError, unacceptable
from control_plane.identity.principal import Principal
from control_plane.security.tokens import new_api_key

_SELECT: Final = (
    "select id, name, prefix, scopes, bot_ids, cast(allowed_addresses as text[]) as networks, created_at, created_by,"
    " expires_at, coalesce(expires_at <= now(), false) as expired, revoked_at,"
    " last_used_at, host(last_used_from) as last_used_from, replaced_by, made_with from api_keys"
)
_ADD: Final = text(
    "insert into api_keys (id, created_by, name, prefix, key_hash, scopes, bot_ids, allowed_addresses, expires_at,"
    " made_with) values (:id, :user, :name, :prefix, :digest, :scopes, cast(:bots as uuid[]),"
    " cast(cast(:networks as text[]) as cidr[]), :expires_at, :made_with)"
)
_ONE: Final = text(_SELECT + " where id = :id")
_MANY: Final = text(_SELECT + " where cast(:before as uuid) is null or id < :before order by id desc limit :limit")
_LOCKED: Final = text(_SELECT + " where id = :id for update")
_BOTS: Final = text("select id from bots where id = any(cast(:bots as uuid[])) and deleted_at is null")
_REPLACE: Final = text(
    "update api_keys set replaced_by = :successor, expires_at ="
    " least(expires_at, now() + make_interval(secs => :overlap)) where id = :id"
)
# What a key made is its successor's from then on: it need not end with the overlap.
_HAND_ON: Final = text("update api_keys set made_with = :successor where made_with = :id")
_REVOKE: Final = text("""
    with recursive line as (
        select id from api_keys where id = :id
        union
        select k.id from api_keys k join line on k.made_with = line.id
    )
    update api_keys set revoked_at = now() where id in (select id from line) and revoked_at is null
    returning id
""")
_REVOKE_OF: Final = text("update api_keys set revoked_at = now() where created_by = :user and revoked_at is null")
_REVOKE_ALL: Final = text("update api_keys set revoked_at = now() where revoked_at is null")


async def create_key(session: AsyncSession, principal: Principal, data: NewKey) -> KeyView:
    """Make a key for the caller's tenant. Raises 422 for what is unknown, past, or more than the caller holds."""
    principal.require("keys:write")
    wanted = Powers(
        scopes=checked_scopes(data.scopes, restricted=data.bot_ids is not None),
        expires_at=data.expires_at,
        bots=frozenset(data.bot_ids) if data.bot_ids is not None else None,
        networks=checked_networks(data.allowed_addresses),
    )
    if data.expires_at is not None and (data.expires_at.tzinfo is None or data.expires_at <= datetime.now(UTC)):
        raise unacceptable("expires_at", "must be a time in the future, with its zone")
    if beyond := excess(wanted, await _held(session, principal)):
        raise unacceptable(beyond.field, beyond.message, code=beyond.code)
    await _require_bots(session, wanted.bots or ())
    return await _add(session, principal, data.name.strip(), wanted, made_with=principal.key_id)


async def rotate_key(session: AsyncSession, principal: Principal, key_id: UUID, overlap_seconds: int) -> KeyView:
    """Make the successor of a key: the same name, scopes, restrictions and end. The old one ends after the overlap.

    The successor acts as the caller, who must be one who could make such a key: raises 403 otherwise, 404, and 409 for
    a key that has ended or has a successor.
    """
    principal.require("keys:write")
    row = await _locked(session, key_id)
    if row.replaced_by is not None:
        raise ConflictError(
            f"this key was rotated already: rotate its successor {row.replaced_by}", code="already_rotated"
        )
    if row.revoked_at is not None or row.expired:
        raise ConflictError("this key has ended: make a new one", code="key_ended")
    wanted = _powers(row)
    if beyond := excess(wanted, await _held(session, principal)):
        raise ForbiddenError(f"you could not make such a key: {beyond.message}", code=beyond.code)
    # A key that replaces itself stays whose it was; one that replaces another answers for it.
    made_with = row.made_with if principal.key_id == key_id else principal.key_id
    successor = await _add(session, principal, row.name, wanted, made_with=made_with)
    await session.execute(_REPLACE, {"id": key_id, "successor": successor.id, "overlap": float(overlap_seconds)})
    await session.execute(_HAND_ON, {"id": key_id, "successor": successor.id})
    detail = {"replaced_by": str(successor.id), "overlap_seconds": overlap_seconds}
    await note(session, "key.rotated", resource="key", resource_id=key_id, detail=detail)
    return successor


async def list_keys(session: AsyncSession, principal: Principal, before: UUID | None, limit: int) -> list[KeyView]:
    """The tenant's keys, newest first, revoked ones included: their history is worth seeing."""
    principal.require("keys:read")
    rows = await session.execute(_MANY, {"before": before, "limit": limit})
    return [_view(row, None) for row in rows]


async def revoke_key(session: AsyncSession, principal: Principal, key_id: UUID) -> None:
    """Revoke a key, and with it what it made; doing it again changes nothing. Raises 404."""
    principal.require("keys:write")
    await _locked(session, key_id)
    # Once more after each: what a key of the line was making meanwhile is there to be seen by the next look.
    while (await session.execute(_REVOKE, {"id": key_id})).first() is not None:
        continue


def without_key(view: KeyView) -> KeyView:
    """The same key as it may be stored and shown again."""
    return msgspec.structs.replace(view, key=None)


async def _held(session: AsyncSession, principal: Principal) -> Powers:
    """What the caller may do, and so may hand on. Raises 401 for a key that has ended since it was let in."""
    if principal.key_id is None:
        return Powers(scopes=principal.scopes)
    row = await _locked(session, principal.key_id)
    if row.revoked_at is not None or row.expired:
        raise UnauthenticatedError("this API key is no longer good")
    return msgspec.structs.replace(_powers(row), scopes=principal.scopes)


def _powers(row: Row[Any]) -> Powers:
    return Powers(
        scopes=frozenset(row.scopes),
        expires_at=row.expires_at,
        bots=frozenset(row.bot_ids) if row.bot_ids is not None else None,
        networks=tuple(ip_network(network) for network in row.networks) if row.networks is not None else None,
    )


async def _locked(session: AsyncSession, key_id: UUID) -> Row[Any]:
    """The key's row, held until the transaction ends, so that no two callers replace it. Raises 404."""
    row = (await session.execute(_LOCKED, {"id": key_id})).one_or_none()
    if row is None:
        raise NotFoundError("API key")
    return row


async def _require_bots(session: AsyncSession, bots: Iterable[UUID]) -> None:
    wanted = sorted(bots)
    if not wanted:
        return
    known = set((await session.execute(_BOTS, {"bots": wanted})).scalars())
    for bot in wanted:
        if bot not in known:
            raise unacceptable("bot_ids", f"there is no such bot: {bot}", code="unknown_bot")


async def _add(
    session: AsyncSession, principal: Principal, name: str, powers: Powers, *, made_with: UUID | None
) -> KeyView:
    key = new_api_key()
    values = {
        "id": uuid7(),
        "user": principal.user_id,
        "name": name,
        "prefix": key.prefix,
        "digest": key.digest,
        "scopes": sorted(powers.scopes),
        "bots": sorted(powers.bots) if powers.bots is not None else None,
        "networks": [str(network) for network in powers.networks] if powers.networks is not None else None,
        "expires_at": powers.expires_at,
        "made_with": made_with,
    }
    await session.execute(_ADD, values)
    return _view((await session.execute(_ONE, values)).one(), key.text)


def _view(row: Row[Any], key: str | None) -> KeyView:
    return KeyView(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        bot_ids=row.bot_ids,
        allowed_addresses=[shown(ip_network(item)) for item in row.networks] if row.networks is not None else None,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        last_used_from=row.last_used_from,
        revoked_at=row.revoked_at,
        replaced_by=row.replaced_by,
        key=key,
    )


async def revoke_keys_of(session: AsyncSession, user_id: UUID) -> None:
    """Revoke what a person made in the bound tenant, for good: should they come back, their old keys do not."""
    await session.execute(_REVOKE_OF, {"user": user_id})


async def revoke_all(session: AsyncSession) -> None:
    """Revoke every key of the bound tenant."""
    await session.execute(_REVOKE_ALL)
