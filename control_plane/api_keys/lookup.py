"""Who a key acts as: its maker, as far as they may act now, and no further than the key itself goes."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import text

from control_plane.database.sessions import Database
from control_plane.errors import ForbiddenError
from control_plane.identity.permissions import granted
from control_plane.identity.principal import NotAMemberError, Principal
from control_plane.security.tokens import api_key_prefix, digest_of

_KEY: Final = text("select * from auth_api_key(:prefix, :digest, cast(cast(:address as text) as inet))")


async def key_principal(
    database: Database, token: str, tenant_id: UUID | None, address: str | None
) -> Principal | None:
    """The caller who holds the API key ``token``; None where it is not good.

    Raises :class:`ForbiddenError` for another tenant than the key's, and for an address that the key may not be used
    from: an unknown one, too, where it is restricted to some.
    """
    prefix = api_key_prefix(token)
    if prefix is None:
        return None
    async with database.anonymous() as session:
        values = {"prefix": prefix, "digest": digest_of(token), "address": address}
        row = (await session.execute(_KEY, values)).one_or_none()
    if row is None:
        return None
    if not row.address_allowed:
        raise ForbiddenError(
            f"this API key may not be used from {address or 'an unknown address'}: use it from one of its"
            " allowed_addresses, or make a key that allows this one",
            code="address_not_allowed",
        )
    if tenant_id is not None and tenant_id != row.tenant_id:
        raise NotAMemberError("this API key belongs to another tenant")
    return Principal(
        user_id=row.user_id,
        email=row.email,
        full_name=row.full_name,
        tenant=row.tenant_id,
        role=row.role,
        scopes=granted(row.role, row.scopes),
        key_id=row.key_id,
        bots=frozenset(row.bot_ids) if row.bot_ids is not None else None,
    )
